"""A line counts only when it is on the disk and the state says so: write, sync, state, sync, forget the key.

Between the steps a crash leaves one of two accepted pictures: the log as long as the state says, or
one record longer.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from govdesk import crypto
from govdesk.audit import chain, state
from govdesk.audit.failures import closed
from govdesk.audit.files import Files, write_all
from govdesk.audit.state import State

SEGMENT_NAME = "segment-000000.jsonl"
LOCK_NAME = "lock"


class Store:
    """The open files of one log, and where in them the writer is.

    Args:
        files: the seam.
        folder: the log's folder.
        lock: held, kept open for life.
        segment: the segment's descriptor.
        slots: the state file's descriptor.
        at: the state on the disk, without its key.
        key: the key of the next record; taken over.
    """

    def __init__(
        self,
        files: Files,
        folder: Path,
        *,
        lock: int,
        segment: int,
        slots: int,
        at: State,
        key: bytearray,
    ) -> None:
        self._files = files
        self._folder = folder
        self._descriptors = [lock, segment, slots]
        self._lock, self._segment, self._slots = lock, segment, slots
        self.log_id = at.log
        self.seq = at.seq
        self.length = at.length
        self.head = at.head
        self.key = key

    def require_unchanged(self) -> None:
        """Refuse to go on when another hand replaced, cut or grew the log, or took the lock's file away.

        Raises:
            AuditClosedError: it did.
            OSError: that cannot be found out.
        """
        size = self._files.status(self._segment).st_size
        for name, descriptor in ((SEGMENT_NAME, self._segment), (LOCK_NAME, self._lock)):
            try:
                named = self._files.status(self._folder / name)
            except FileNotFoundError:
                raise closed("audit.changed") from None
            if not os.path.samestat(named, self._files.status(descriptor)):
                raise closed("audit.changed")
        if size != self.length:
            raise closed("audit.changed")

    def write(self, line: bytes) -> None:
        """Write the next line after the last one; not durable yet.

        Raises:
            OSError: not all of it could be written.
        """
        write_all(self._files, self._segment, line + b"\n", self.length)

    def sync(self) -> None:
        """Make what was written durable.

        Raises:
            OSError: it may or may not be durable: nothing more may be written through this descriptor.
        """
        self._files.sync(self._segment)

    def drop_unwritten(self) -> None:
        """Cut off what a failed `write` left.

        Raises:
            OSError: it cannot be cut.
        """
        self._files.truncate(self._segment, self.length)

    def advance(self, line: bytes) -> None:
        """The line is durable: say so in the state, durably, and overwrite the key that made it.

        Raises:
            OSError: the state may be the old or the new one; both are accepted at the next start.
        """
        following = State(
            format=chain.FORMAT,
            log=self.log_id,
            seq=self.seq + 1,
            length=self.length + len(line) + 1,
            head=chain.line_hash(line),
            key=state.NO_KEY,
        )
        key = chain.evolved(self.key, self.log_id)
        slot = state.slot_of(following, key)
        try:
            write_all(self._files, self._slots, slot, following.slot * state.SLOT_BYTES)
            self._files.sync(self._slots)
            self.forget_past_key(following)
            self.seq, self.length, self.head = following.seq, following.length, following.head
            self.key[:] = key
        finally:
            crypto.wipe(slot)
            crypto.wipe(key)

    def forget_past_key(self, current: State) -> None:
        """Overwrite the slot of the state before this one. The next sync of the file makes that durable.

        Raises:
            OSError: it cannot be overwritten.
        """
        past = 1 - current.slot
        write_all(self._files, self._slots, bytes(state.SLOT_BYTES), past * state.SLOT_BYTES)

    def close(self) -> None:
        """Close the files, let the lock go, overwrite the key."""
        crypto.wipe(self.key)
        for descriptor in reversed(self._descriptors):
            with contextlib.suppress(OSError):
                self._files.close(descriptor)
        self._descriptors = []
