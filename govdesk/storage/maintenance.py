"""A connection of its own for what rewrites the whole file: no reader waits for it, a writer 1 or 2 s.

`VACUUM` attaches a nameless file of its own, which the working connection may not do. Reading goes on
beside it (write-ahead mode). Its first half, where the new file is made, ends as soon as anybody wants
to write or close. In its second half SQLite copies the pages back in one step that nothing ends: whoever
comes then waits for the rest (1.3 s with 146 MB at worst). So it is started only while nobody is at work.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import sqlcipher3.dbapi2 as driver

from govdesk.storage import faults

_LOOK_EVERY = 100
"""Steps of SQLite's machine between two looks whether somebody waits: well under a millisecond."""


class Maintenance:
    """Rewrites the file while nobody writes.

    Args:
        connection: keyed, confined to VACUUM; taken over.
    """

    def __init__(self, connection: driver.Connection) -> None:
        self._connection = connection
        self._running = threading.Lock()
        self._counting = threading.Lock()
        self._waiting = 0
        connection.set_progress_handler(self._must_stop, _LOOK_EVERY)

    @contextmanager
    def kept_out(self) -> Iterator[None]:
        """Within this block nothing is rewritten; what is under way ends first (its second half by itself).

        To be taken before the lock of the working connection: whoever waits here keeps no reader out.
        """
        with self._counting:
            self._waiting += 1
        try:
            with self._running:
                yield
        finally:
            with self._counting:
                self._waiting -= 1

    def vacuum(self) -> bool:
        """Write every page anew, in the write-ahead file; False when it gave way, and nothing was changed.

        Raises:
            MachineError: `memory.full`, the whole file is in memory meanwhile.
            DiskFullError, CorruptDatabaseError, InstanceRunningError
        """
        with self._running, faults.translated(writing=True):
            try:
                self._connection.execute("VACUUM")
            except driver.Error as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF == faults.SQLITE_INTERRUPT:
                    return False
                raise
        return True

    def close(self) -> None:
        """Close the connection; within `kept_out`."""
        self._connection.close()

    def _must_stop(self) -> int:
        return int(self._waiting > 0)
