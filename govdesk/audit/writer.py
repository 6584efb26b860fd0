"""An acknowledged record is never lost; when a record cannot be made durable, the log closes for good.

Order: record → sync → state → acknowledge. One writer holds the folder's lock for life. After any
failure nothing more is taken; when the disk was full, a reserve takes the `audit.failure` record.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from govdesk.audit import chain, record
from govdesk.audit.canonical import NotCanonicalError
from govdesk.audit.failures import closed, code_of
from govdesk.audit.files import Files
from govdesk.audit.recovery import Recovery, open_store
from govdesk.audit.stamp import Stamp
from govdesk.audit.store import Store
from govdesk.crypto import CryptoError
from govdesk.domain.ids import RecordSeq
from govdesk.domain.record import Entry, Event
from govdesk.errors import AuditClosedError

MAX_LOG_BYTES = 1 << 30
RESERVE_NAME = "reserve"
RESERVE_BYTES = 256 * 1024
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Written:
    """A record that is durable."""

    seq: RecordSeq
    line_sha384: str


class Writer:
    """The one writer of a log. Not for several threads.

    Args:
        folder: the log's folder, made when it is missing (its parent is not).
        stamp: who, where and when.
        officers: PEM keys that a new log's first key is sealed to; an existing log has its own.
        max_bytes: the size the log may reach, reserve included.
        files: the seam.

    Raises:
        AuditClosedError: it cannot be opened, or is not what the last writer left.
    """

    def __init__(
        self,
        folder: Path,
        stamp: Stamp,
        officers: Sequence[str] = (),
        *,
        max_bytes: int = MAX_LOG_BYTES,
        files: Files | None = None,
    ) -> None:
        self._folder = folder
        self._stamp = stamp
        self._max_bytes = max_bytes
        self._files = files or Files()
        self._code = ""
        store, self._recovery = open_store(folder, self._files)
        self._store: Store = store
        try:
            self._set_reserve_aside()
            if store.seq == 0:
                self._append(self._genesis(), self._seals(officers))
            if self._recovery.happened:
                self._append(self._recovered(self._recovery))
        except OSError as error:
            self._close_for_good(code_of(error))
            raise closed(code_of(error)) from error
        except (AuditClosedError, record.EntryError) as error:
            self._close_for_good(error.code)
            raise

    @property
    def log_id(self) -> str:
        """32 hexadecimal digits."""
        return self._store.log_id

    @property
    def next_seq(self) -> int:
        """The number that the next record will have."""
        return self._store.seq

    @property
    def recovered(self) -> bool:
        """True when the last writer did not end well."""
        return self._recovery.happened

    def append(self, entry: Entry) -> Written:
        """Record durably.

        Raises:
            EntryError: a record may not say this; the log is as before and stays open.
            AuditClosedError: it is not durable, and the log is closed for good.
        """
        if self._code:
            raise closed(self._code)
        return self._append(entry)

    def close(self) -> None:
        """Let the log go. Records taken so far are durable already."""
        if not self._code:
            self._close_for_good("audit.closed")

    def _append(self, entry: Entry, seal: dict[str, str] | None = None) -> Written:
        line = self._line(entry, seal)
        if self._store.length + len(line) + 1 > self._max_bytes - RESERVE_BYTES:
            raise self._failed("audit.quota", leave_record=True)
        try:
            self._store.require_unchanged()
            self._store.write(line)
        except OSError as error:
            raise self._failed(code_of(error), leave_record=error.errno in _NO_SPACE) from error
        except AuditClosedError as error:
            raise self._failed(error.code, leave_record=False) from error
        try:
            self._store.sync()
            self._store.advance(line)
        except OSError as error:
            # A sync that failed is never tried again on its descriptor: whatever of the record
            # reached the disk, the next start finds it and says so.
            raise self._failed(code_of(error), leave_record=False) from error
        return Written(RecordSeq(self._store.seq - 1), self._store.head)

    def _line(self, entry: Entry, seal: dict[str, str] | None = None) -> bytes:
        unsigned = record.unsigned(
            entry,
            log=self._store.log_id,
            seq=self._store.seq,
            prev=self._store.head,
            when=self._stamp.when(),
            where=self._stamp.where,
            who=self._stamp.who,
            seal=seal,
        )
        try:
            line = chain.line_of(unsigned, self._store.key)
            record.decode(line)  # what cannot be read back is never written
        except NotCanonicalError as error:
            raise record.EntryError(f"A record of {entry.event.value} cannot be written: {error}.") from error
        return line

    def _failed(self, code: str, *, leave_record: bool) -> AuditClosedError:
        """Close for good; where the reserve can still take it, the last record says why."""
        if leave_record and self._store.seq > 0:  # before the first record there is nothing to follow
            with contextlib.suppress(OSError):
                self._files.remove(self._folder / RESERVE_NAME)
                self._store.drop_unwritten()
                line = self._line(Entry(Event.AUDIT_FAILURE, "failure", fields={"code": code}))
                self._store.write(line)
                self._store.sync()
                self._store.advance(line)
        self._close_for_good(code)
        return closed(code)

    def _close_for_good(self, code: str) -> None:
        self._code = code
        self._store.close()

    def _genesis(self) -> Entry:
        fields: dict[str, str | bool | int | dict[str, int] | None] = {
            "format": chain.FORMAT,
            "segment": 0,
            "sealed": "HPKE ML-KEM-1024 HKDF-SHA384 AES-256-GCM",
        }
        return Entry(Event.LOG_START, "success", object=self._store.log_id, fields=fields)

    def _seals(self, officers: Sequence[str]) -> dict[str, str]:
        if len(officers) > chain.MAX_OFFICERS:
            raise closed("audit.officer-key")
        try:
            return {
                chain.officer_id(pem): chain.seal_first_key(pem, self._store.key, self._store.log_id)
                for pem in officers
            }
        except CryptoError as error:
            raise closed("audit.officer-key") from error

    @staticmethod
    def _recovered(recovery: Recovery) -> Entry:
        return Entry(
            Event.LOG_RECOVERED,
            "success",
            fields={"adopted": int(recovery.adopted), "torn_bytes": recovery.torn_bytes},
        )

    def _set_reserve_aside(self) -> None:
        path = self._folder / RESERVE_NAME
        descriptor = self._files.open(path, os.O_WRONLY | os.O_CREAT)
        try:
            if self._files.status(descriptor).st_size < RESERVE_BYTES:
                self._files.allocate(descriptor, RESERVE_BYTES)
        finally:
            self._files.close(descriptor)
