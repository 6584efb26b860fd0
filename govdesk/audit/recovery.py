"""At the start two pictures are accepted: the log as long as its state says, or one record longer.

A crash can leave a whole record that was never acknowledged (it is adopted) or part of one (the
bytes are kept aside). Anything else was not a crash, and the log stays closed.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from govdesk import crypto
from govdesk.audit import canonical, chain, record, state
from govdesk.audit.failures import closed, code_of
from govdesk.audit.files import Files, read_all, write_all
from govdesk.audit.state import State
from govdesk.audit.store import LOCK_NAME, SEGMENT_NAME, Store
from govdesk.errors import AuditClosedError

_LOG_ID_BYTES = 16
_MAX_TORN_FILES = 1000
_MAX_TAIL_BYTES = canonical.MAX_LINE_BYTES + 1


@dataclass(frozen=True, slots=True)
class Recovery:
    """What the last writer left: a record that nobody was told of, or part of one."""

    adopted: bool = False
    torn_bytes: int = 0

    @property
    def happened(self) -> bool:
        """True when the log was not as the state says."""
        return self.adopted or self.torn_bytes > 0


def open_store(folder: Path, files: Files) -> tuple[Store, Recovery]:
    """Take the folder's lock; open the log in it, or make a new one that has no record yet.

    Raises:
        AuditClosedError: held by another writer, unusable, or not what the last writer left.
    """
    opened: list[int] = []
    try:
        return _Opening(folder, files, opened).run()
    except OSError as error:
        _close(files, opened)
        raise closed(code_of(error)) from error
    except AuditClosedError:
        _close(files, opened)
        raise


def _close(files: Files, descriptors: list[int]) -> None:
    for descriptor in reversed(descriptors):
        with contextlib.suppress(OSError):
            files.close(descriptor)


class _Opening:
    """One attempt; `opened` collects the descriptors for the caller to close when it fails."""

    def __init__(self, folder: Path, files: Files, opened: list[int]) -> None:
        self._folder = folder
        self._files = files
        self._opened = opened

    def run(self) -> tuple[Store, Recovery]:
        self._use_folder()
        lock = self._open(LOCK_NAME, os.O_RDWR | os.O_CREAT)
        try:
            self._files.lock(lock)
        except BlockingIOError as error:
            raise closed("audit.held") from error
        slots = self._open(state.NAME, os.O_RDWR | os.O_CREAT)
        at, key = state.take(read_all(self._files, slots, state.FILE_BYTES, 0)) or (None, bytearray())
        segment, size = self._existing_segment()
        if at is not None and at.format != chain.FORMAT:
            raise closed("audit.newer")
        if at is None:
            if size > 0:
                raise closed("audit.state")
            at, key = self._new_state(slots)
        if segment is None:
            if at.seq > 0:
                raise closed("audit.cut")
            segment = self._open(SEGMENT_NAME, os.O_RDWR | os.O_CREAT)
            self._files.sync_folder(self._folder)
        self._require_head(segment, at, size)
        store = Store(self._files, self._folder, lock=lock, segment=segment, slots=slots, at=at, key=key)
        store.forget_past_key(at)
        tail = bytes(read_all(self._files, segment, _MAX_TAIL_BYTES + 1, at.length))
        return store, self._recover(store, segment, tail)

    def _use_folder(self) -> None:
        try:
            self._files.make_folder(self._folder)
            status = self._files.status(self._folder)
        except (FileNotFoundError, NotADirectoryError, FileExistsError, PermissionError) as error:
            raise closed("audit.folder") from error
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise closed("audit.folder")
        if status.st_mode & 0o077:
            self._folder.chmod(0o700)

    def _open(self, name: str, flags: int) -> int:
        descriptor = self._files.open(self._folder / name, flags)
        self._opened.append(descriptor)
        if not stat.S_ISREG(self._files.status(descriptor).st_mode):
            raise closed("audit.folder")
        return descriptor

    def _existing_segment(self) -> tuple[int | None, int]:
        try:
            segment = self._open(SEGMENT_NAME, os.O_RDWR)
        except FileNotFoundError:
            return None, 0
        return segment, self._files.status(segment).st_size

    def _new_state(self, slots: int) -> tuple[State, bytearray]:
        """State before segment: a log with bytes in it always had a state once."""
        at = State(
            format=chain.FORMAT,
            log=crypto.random_bytes(_LOG_ID_BYTES).hex(),
            seq=0,
            length=0,
            head=chain.NO_PREVIOUS,
            key=state.NO_KEY,
        )
        key = chain.first_key()
        both = bytearray(state.FILE_BYTES)
        slot = state.slot_of(at, key)
        both[: state.SLOT_BYTES] = slot
        try:
            write_all(self._files, slots, both, 0)
        finally:
            crypto.wipe(both)
            crypto.wipe(slot)
        self._files.sync(slots)
        self._files.sync_folder(self._folder)
        return at, key

    def _require_head(self, segment: int, at: State, size: int) -> None:
        """The last acknowledged line is there, where the state says and as the state says."""
        if size < at.length:
            raise closed("audit.cut")
        if at.seq == 0:
            return
        start = max(0, at.length - _MAX_TAIL_BYTES - 1)
        end = bytes(read_all(self._files, segment, at.length - start, start))
        line = end[:-1].rpartition(b"\n")[2]
        if not end.endswith(b"\n") or chain.line_hash(line) != at.head:
            raise closed("audit.tampered")

    def _recover(self, store: Store, segment: int, tail: bytes) -> Recovery:
        if not tail:
            return Recovery()
        if len(tail) > _MAX_TAIL_BYTES:
            raise closed("audit.tampered")
        line, feed, more = tail.partition(b"\n")
        if feed and not more and self._is_next(store, line):
            # Written again: after a sync that failed the bytes may be in memory only, and clean.
            store.write(line)
            store.sync()
            store.advance(line)
            return Recovery(adopted=True)
        # A crash leaves a line without its end, or (when the length reached the disk before the bytes)
        # one with zeros in it. A whole line that is not the next record, or more than one, is no crash.
        if more or (feed and b"\0" not in line):
            raise closed("audit.tampered")
        self._keep_aside(store.seq, tail)
        store.drop_unwritten()
        store.sync()
        return Recovery(torn_bytes=len(tail))

    @staticmethod
    def _is_next(store: Store, line: bytes) -> bool:
        try:
            found, unsigned = record.decode(line)
        except canonical.NotCanonicalError:
            return False
        return (
            found.log == store.log_id
            and found.seq == store.seq
            and found.prev == store.head
            and chain.mac_fits(found.mac, unsigned, store.key)
        )

    def _keep_aside(self, seq: int, tail: bytes) -> None:
        for number in range(_MAX_TORN_FILES):
            name = f"torn-{seq:09d}-{number:03d}.bin"
            try:
                aside = self._open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            except FileExistsError:
                continue
            write_all(self._files, aside, tail, 0)
            self._files.sync(aside)
            self._files.sync_folder(self._folder)
            self._files.close(aside)
            self._opened.remove(aside)
            return
        raise closed("audit.folder")
