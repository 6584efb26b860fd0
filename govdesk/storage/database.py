"""The encrypted history file: opened whole or refused with the reason, every write one durable transaction.

A missing or empty file is never replaced by a new one behind a person's back: creating and opening
are two calls, and a new file takes its name only once it is complete. The file can be used from any
thread, one at a time.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlcipher3.dbapi2 as driver
import sqlite_utils

from govdesk.errors import CorruptDatabaseError, DiskFullError, HomeError, NewerDatabaseError
from govdesk.storage import faults, migrations
from govdesk.storage.connection import PAGE_BYTES, confine, connect
from govdesk.storage.files import FILE_MODE, copy_out, remove_database, sync_file, sync_folder
from govdesk.storage.migrations import Migration

APPLICATION_ID = 0x474F5644
"""`GOVD` (PRAGMA application_id)."""
_PLAIN_HEADER = b"SQLite format 3\x00"


class Database:
    """An open history file.

    Made by `create` or `open`. `reading` and `writing` give the one connection to one thread at a time.
    """

    def __init__(self, path: Path, connection: driver.Connection) -> None:
        self.path = path
        self._connection = connection
        self._sql = sqlite_utils.Database(connection, execute_plugins=False, recursive_triggers=False)
        self._lock = threading.RLock()
        self._open = True

    @classmethod
    def create(
        cls, path: Path, key: bytearray, steps: tuple[Migration, ...] = migrations.MIGRATIONS
    ) -> Database:
        """Make a new, empty history and open it. A crash on the way leaves no file under `path`.

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
        except OSError as error:
            raise _no_file(error) from error
        try:
            with faults.translated(writing=True):
                connection = connect(draft, key)
                try:
                    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                    connection.execute("PRAGMA journal_mode = WAL")
                    connection.execute("PRAGMA synchronous = FULL")
                    sql = sqlite_utils.Database(connection, execute_plugins=False, recursive_triggers=False)
                    migrations.apply(sql, 0, steps)
                finally:
                    connection.close()
            sync_file(draft)
            draft.rename(path)
            sync_folder(path.parent)
        except OSError as error:
            raise _no_file(error) from error
        return cls.open(path, key, steps)

    @classmethod
    def open(
        cls, path: Path, key: bytearray, steps: tuple[Migration, ...] = migrations.MIGRATIONS
    ) -> Database:
        """Open an existing history; bring an older one up to date after a verified backup.

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
        """
        _check_file(path)
        with faults.translated(writing=False):
            connection = connect(path, key)
            try:
                version = _version(connection, path, key)
                if version > len(steps):
                    raise NewerDatabaseError(
                        f"The history was written by a newer GovDesk: format {version},"
                        f" this one knows {len(steps)}.",
                        kept="The file was not touched.",
                        todo="Start the newer GovDesk, or ask your administrator for it.",
                    )
                path.chmod(FILE_MODE)
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                database = cls(path, connection)
                database._migrate(version, steps, key)
                database.scrub()  # a crash may have come between a deletion and its scrubbing
                confine(connection)
            except BaseException:
                connection.close()
                raise
        return database

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

        Raises:
            DiskFullError: nothing of this transaction was stored, everything before it was.
            CorruptDatabaseError, InstanceRunningError, UnreadableError (closed)
        """
        with self._lock, faults.translated(writing=True):
            if not self._open:
                raise faults.closed()
            with migrations.transaction(self._sql):
                yield self._sql

    def scrub(self) -> None:
        """After a deletion: write the zeroed pages home and empty the write-ahead file, which has the old ones.

        Raises:
            DiskFullError, CorruptDatabaseError, UnreadableError (closed)
        """
        with self._lock, faults.translated(writing=True):
            if not self._open:
                raise faults.closed()
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def forget_backups(self) -> None:
        """Remove the copies made before migrations: they hold what is now deleted.

        Raises:
            HomeError: one cannot be removed.
        """
        try:
            for backup in self.backups():
                remove_database(backup)
        except OSError as error:
            raise _no_file(error) from error

    def backups(self) -> tuple[Path, ...]:
        """The copies made before migrations."""
        return tuple(sorted(self.path.parent.glob(self.path.name + ".before-[0-9][0-9][0-9]")))

    def check(self) -> None:
        """Read everything: each page's MAC, the tables, the references, the full-text index.

        Raises:
            CorruptDatabaseError: something does not agree.
        """
        self.scrub()  # the page check looks at the main file only
        with self.reading() as sql:
            check_all(sql)

    def close(self) -> None:
        """Close; later calls raise `UnreadableError`. Waits for a statement in progress."""
        with self._lock, faults.translated(writing=True):
            self._open = False
            self._connection.close()

    def _migrate(self, version: int, steps: tuple[Migration, ...], key: bytearray) -> None:
        for number in range(version, len(steps)):
            backup = self.path.with_name(f"{self.path.name}.before-{number + 1:03d}")
            try:
                copy_out(self._connection, backup, key, check_all)
            except OSError as error:
                raise _no_file(error) from error
            with faults.translated(writing=True):
                migrations.apply(self._sql, number, steps[: number + 1])


def check_all(sql: sqlite_utils.Database) -> None:
    """Every check that SQLCipher, SQLite and FTS5 have, over one connection.

    Raises:
        CorruptDatabaseError: one of them found something.
    """
    bad_pages = sum(1 for _ in sql.execute("PRAGMA cipher_integrity_check"))
    if bad_pages:
        raise faults.damaged(f"{bad_pages} of its pages were changed from outside")
    if sql.execute("PRAGMA integrity_check(1)").fetchall() != [("ok",)]:
        raise faults.damaged("its tables do not agree with each other")
    if sql.execute("PRAGMA foreign_key_check").fetchone() is not None:
        raise faults.damaged("a row belongs to nothing")
    for index in sql.table_names(fts5=True):
        # rank 1: compare with the indexed rows too, not only inside the index (sqlite.org/fts5.html 6.4)
        sql.execute(f'INSERT INTO "{index}"("{index}", rank) VALUES (\'integrity-check\', 1)')  # noqa: S608


def _check_file(path: Path) -> None:
    # No descriptor is opened here: closing one would drop SQLite's own locks on the file (POSIX fcntl).
    try:
        status = path.lstat()
    except FileNotFoundError:
        raise CorruptDatabaseError(
            "The history file is missing.",
            code="storage.missing",
            kept="The keys are still there; no new history was made.",
            todo="Put the file back from a backup, or start a new profile.",
        ) from None
    except OSError as error:
        raise _no_file(error) from error
    if not stat.S_ISREG(status.st_mode):
        raise _not_a_database()
    if not os.access(path, os.R_OK | os.W_OK):
        raise _no_access()
    if status.st_size == 0:
        raise faults.damaged("it is empty", code="storage.empty")


def _version(connection: driver.Connection, path: Path, key: bytearray) -> int:
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except driver.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != faults.SQLITE_NOTADB:
            raise
        connection.close()
        raise _why_unreadable(path, key) from None
    if connection.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
        raise _not_a_database()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _why_unreadable(path: Path, key: bytearray) -> CorruptDatabaseError:
    """The first page does not open: tell another file, a cut file, a damaged page and another key apart."""
    size = path.stat().st_size
    with path.open("rb") as file:
        plain = file.read(len(_PLAIN_HEADER)) == _PLAIN_HEADER
    if plain or size < PAGE_BYTES:
        return _not_a_database()
    pages = -(-size // PAGE_BYTES)
    probe = connect(path, key)
    try:
        # Each page carries its own HMAC under the key: one that checks proves the key, and so the damage.
        bad = sum(1 for _ in probe.execute("PRAGMA cipher_integrity_check"))
    finally:
        probe.close()
    if bad < pages:
        return faults.damaged(f"its first page and {bad - 1} others of {pages} fail their integrity check")
    return CorruptDatabaseError(
        "The history file does not belong to this profile's keys, or all of it is damaged.",
        code="storage.wrong-key",
        kept="The file was left as it is.",
        todo="Put the history and keys.json of the same profile together again, or restore a backup of both.",
    )


def _not_a_database() -> CorruptDatabaseError:
    return CorruptDatabaseError(
        "The history file is not a GovDesk history.",
        code="storage.not-a-database",
        kept="It was left as it is.",
        todo="Put the right file in its place, or restore a backup.",
    )


def _no_access() -> HomeError:
    return HomeError(
        "The history file cannot be opened for reading and writing.",
        code="storage.no-access",
        kept="Nothing was changed.",
        todo="Check the owner and the permissions of the profile's folder.",
    )


def _no_file(error: OSError) -> HomeError | DiskFullError:
    if error.errno in faults.FULL_ERRNOS:
        return DiskFullError(
            "There is no space left in the profile's folder.",
            kept="What was already stored is unchanged.",
            todo="Free some space on the disk that holds the profile, then try again.",
        )
    return _no_access()
