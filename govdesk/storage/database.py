"""The encrypted history file: opened whole or refused with the reason, every write one durable transaction.

A missing or empty file is never replaced by a new one behind a person's back: creating and opening
are two calls, and a new file takes its name only once it is complete. The file can be used from any
thread, one at a time; only maintenance runs beside them, on a connection of its own.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlcipher3.dbapi2 as driver
import sqlite_utils

from govdesk.errors import (
    DiskFullError,
    GovDeskError,
    HomeError,
    MachineError,
    NewerDatabaseError,
)
from govdesk.storage import diagnosis, faults, migrations
from govdesk.storage.connection import confine, confine_to_vacuum, connect
from govdesk.storage.files import FILE_MODE, copy_out, remove_database, sync_file, sync_folder
from govdesk.storage.maintenance import Maintenance
from govdesk.storage.migrations import Migration

_DUE = "compact_due"
"""A table that is there, with one row a deletion, for as long as the file still has to be written anew."""


class Database:
    """An open history file.

    Made by `create` or `open`. `reading` and `writing` give the one connection to one thread at a time.
    """

    def __init__(self, path: Path, connection: driver.Connection, maintenance: Maintenance) -> None:
        self.path = path
        self._connection = connection
        self._sql = sqlite_utils.Database(connection, execute_plugins=False, recursive_triggers=False)
        self._maintenance = maintenance
        self._lock = threading.RLock()
        self._open = True
        self._wanted = False

    @classmethod
    def create(
        cls, path: Path, key: bytearray, steps: tuple[Migration, ...] = migrations.MIGRATIONS
    ) -> Database:
        """Make a new, empty history and open it; arguments and errors as for `make`."""
        cls.make(path, key, steps)
        try:
            return cls.open(path, key, steps)
        except GovDeskError:
            remove_database(path)  # made a moment ago by this call: nothing was ever stored in it
            raise

    @staticmethod
    def make(path: Path, key: bytearray, steps: tuple[Migration, ...] = migrations.MIGRATIONS) -> None:
        """Make a new, empty history. A crash or an error on the way leaves no file under `path`.

        Args:
            path: where; its folder exists.
            key: 32 raw bytes, not kept.
            steps: the migrations; other than the program's own in tests only.

        Raises:
            HomeError: there is a file already, or none can be made here.
            DiskFullError
        """
        if os.path.lexists(path):
            raise HomeError(
                "There is a history file in this profile already.",
                code="storage.exists",
                kept="It was not touched.",
                todo="Unlock it, or choose another profile folder.",
            )
        draft = path.with_name(path.name + ".new")
        try:
            remove_database(draft)
            os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, FILE_MODE))
            with faults.translated(writing=True):
                connection = connect(draft, key)
                try:
                    # A rollback journal, not a write-ahead file: each commit is in the main file or an
                    # error, whereas a checkpoint that finds no room as the file closes says nothing.
                    connection.execute("PRAGMA journal_mode = DELETE")
                    connection.execute("PRAGMA synchronous = FULL")
                    connection.execute(f"PRAGMA application_id = {diagnosis.APPLICATION_ID}")
                    sql = sqlite_utils.Database(connection, execute_plugins=False, recursive_triggers=False)
                    migrations.apply(sql, 0, steps)
                finally:
                    connection.close()
            sync_file(draft)
            draft.rename(path)
            sync_folder(path.parent)
        except OSError as error:
            _discard(draft)
            raise faults.no_file(error) from error
        except BaseException:
            _discard(draft)
            raise

    @classmethod
    def open(
        cls, path: Path, key: bytearray, steps: tuple[Migration, ...] = migrations.MIGRATIONS
    ) -> Database:
        """Open an existing history; bring an older one up to date after a verified backup.

        What an earlier deletion left to clean is not done here, only wanted (`compact_wanted`): it takes
        time and memory like the whole file, and nothing of it may keep anybody out.

        Args:
            path: the file.
            key: 32 raw bytes, not kept.
            steps: the migrations; other than the program's own in tests only.

        Raises:
            CorruptDatabaseError: missing, empty, cut, damaged, not a database, or another key's;
                `code` says which.
            NewerDatabaseError: written by a newer GovDesk; not touched.
            HomeError: it cannot be opened for reading and writing.
            InstanceRunningError: another program holds it.
            DiskFullError: no room for the backup or the migration.
            MachineError: no memory to open it.
        """
        diagnosis.check_file(path)
        with faults.translated(writing=False):
            connection = connect(path, key)
            try:
                version = diagnosis.version_of(connection, path, key)
                if version > len(steps):
                    raise NewerDatabaseError(
                        f"The history was written by a newer GovDesk: format {version},"
                        f" this one knows {len(steps)}.",
                        kept="The file was not touched.",
                        todo="Start the newer GovDesk, or ask your administrator for it.",
                    )
                database = cls._set_up(path, key, connection)
            except BaseException:
                connection.close()
                raise
        try:
            database._migrate(version, steps, key)
            with contextlib.suppress(MachineError):  # no room, no memory: reading needs neither
                database.scrub()  # a crash may have come between a deletion and its scrubbing
            database._wanted = database.compact_due > 0
        except BaseException:
            database.close()
            raise
        confine(connection)
        return database

    @classmethod
    def _set_up(cls, path: Path, key: bytearray, connection: driver.Connection) -> Database:
        """Ready for writing, with the connection of maintenance beside the working one."""
        try:
            path.chmod(FILE_MODE)
        except OSError as error:
            raise faults.no_file(error) from error
        with faults.translated(writing=True):
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            maintenance = connect(path, key)
            try:
                maintenance.execute("PRAGMA synchronous = FULL")
                confine_to_vacuum(maintenance)
            except BaseException:
                maintenance.close()
                raise
        return cls(path, connection, Maintenance(maintenance))

    @contextmanager
    def reading(self) -> Iterator[sqlite_utils.Database]:
        """The connection, to this thread alone, for statements that change nothing.

        Raises:
            CorruptDatabaseError, MachineError, UnreadableError (closed)
        """
        with self._lock, faults.translated(writing=False):
            if not self._open:
                raise faults.closed()
            yield self._sql

    @contextmanager
    def writing(self) -> Iterator[sqlite_utils.Database]:
        """One transaction: durable when the block ends, undone when it raises.

        Waits a second or two when it comes in the second half of `compact_if_due` (`storage.maintenance`).

        Raises:
            DiskFullError: nothing of this transaction was stored, everything before it was.
            CorruptDatabaseError, InstanceRunningError, MachineError, UnreadableError (closed)
        """
        with self._maintenance.kept_out(), self._lock, faults.translated(writing=True):
            if not self._open:
                raise faults.closed()
            with migrations.transaction(self._sql):
                yield self._sql

    def scrub(self) -> bool:
        """After a deletion: write the zeroed pages home and empty the write-ahead file of the old ones.

        Returns:
            False when another program reads the file just now, so that old pages stay; the next opening
            tries again.

        Raises:
            DiskFullError, CorruptDatabaseError, MachineError, UnreadableError (closed)
        """
        with self._maintenance.kept_out(), self._lock, faults.translated(writing=True):
            if not self._open:
                raise faults.closed()
            busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy

    def compact_later(self, sql: sqlite_utils.Database) -> None:
        """Mark, in the transaction of a deletion, that the file has to be written anew (`compact_if_due`)."""
        self._wanted = True
        sql.execute(f"CREATE TABLE IF NOT EXISTS {_DUE} (deletion INTEGER PRIMARY KEY) STRICT")
        sql.execute(f"INSERT INTO {_DUE} DEFAULT VALUES")

    @property
    def compact_due(self) -> int:
        """How many deletions wait for `compact_if_due`."""
        with self.reading() as sql:
            return _deletions(sql)

    @property
    def compact_wanted(self) -> bool:
        """Whether to try `compact_if_due` once nobody is at work; asks no file.

        After a try that failed, not before the next deletion or opening: the next one would fail as well.
        """
        return self._wanted

    def compact_if_due(self) -> bool:
        """Where a deletion asked for it, write every page anew, so that nothing deleted is left in any.

        To be called on a thread that nobody waits for, while nobody is at work.

        `secure_delete` zeroes what a deletion frees, but not the copies that SQLite's balancing of its
        trees left in the unused room of pages long before (measured: 1 of 4,320 deleted words found
        without this, 0 with it). Takes time and memory like the whole file; reading goes on beside it.
        Copies made before migrations are removed first: they hold what is now deleted.

        Returns:
            False when nothing was due, or somebody wanted to write or close (then it is still wanted).

        Raises:
            DiskFullError: `disk.full.compact`; what was deleted is deleted, traces may be in the file.
            MachineError: `memory.full`; the same.
            InstanceRunningError: another program reads the file, so that old pages stay.
            HomeError: a copy cannot be removed.
            CorruptDatabaseError, UnreadableError (closed)
        """
        self._wanted = False  # first: a deletion that comes meanwhile wants it again
        due = self.compact_due
        if not due:
            return False
        try:
            self.forget_backups()
            if not self._maintenance.vacuum():
                self._wanted = True
                return False
            if not self.scrub():
                raise faults.busy()
            with self.writing() as sql:
                if _deletions(sql) == due:  # else another one came meanwhile
                    sql.execute(f"DROP TABLE {_DUE}")
        except DiskFullError:
            raise DiskFullError(
                "There is no space left to clean the history file after a deletion.",
                code="disk.full.compact",
                kept="What you deleted is deleted; traces of it may still be in the encrypted file.",
                todo="Free some space; the file is cleaned after the next unlocking or deletion.",
            ) from None
        return True

    def forget_backups(self) -> None:
        """Remove the copies made before migrations: they hold what is now deleted.

        Raises:
            HomeError: one cannot be removed.
        """
        try:
            for backup in self.backups():
                remove_database(backup)
        except OSError as error:
            raise faults.no_file(error) from error

    def backups(self) -> tuple[Path, ...]:
        """The copies made before migrations."""
        return tuple(sorted(self.path.parent.glob(self.path.name + ".before-[0-9][0-9][0-9]")))

    def check(self) -> None:
        """Read everything: each page's MAC, the tables, the references, the full-text index.

        Raises:
            CorruptDatabaseError: something does not agree.
        """
        if not self.scrub():  # the page check looks at the main file only
            raise faults.busy()
        with self.reading() as sql:
            diagnosis.check_all(sql)

    def close(self) -> None:
        """Close; later calls raise `UnreadableError`. Waits for a statement, and as a writer does."""
        with self._maintenance.kept_out(), self._lock, faults.translated(writing=True):
            self._open = False
            self._maintenance.close()
            self._connection.close()

    def _migrate(self, version: int, steps: tuple[Migration, ...], key: bytearray) -> None:
        for number in range(version, len(steps)):
            backup = self.path.with_name(f"{self.path.name}.before-{number + 1:03d}")
            try:
                copy_out(self._connection, backup, key, diagnosis.check_all)
            except OSError as error:
                raise faults.no_file(error) from error
            with faults.translated(writing=True):
                migrations.apply(self._sql, number, steps[: number + 1])


def _deletions(sql: sqlite_utils.Database) -> int:
    if not sql.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (_DUE,)).fetchone():
        return 0
    return int(sql.execute(f"SELECT count(*) FROM {_DUE}").fetchone()[0])  # noqa: S608


def _discard(draft: Path) -> None:
    with contextlib.suppress(OSError):
        remove_database(draft)
