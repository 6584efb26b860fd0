"""Why a history file cannot be used: missing, empty, cut, damaged, something else, or another key's.

SQLCipher says the same of all of them ("file is not a database"); a person needs to know which.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import sqlcipher3.dbapi2 as driver
import sqlite_utils

from govdesk.errors import CorruptDatabaseError
from govdesk.storage import faults
from govdesk.storage.connection import PAGE_BYTES, connect

APPLICATION_ID = 0x474F5644
"""`GOVD` (PRAGMA application_id)."""
_PLAIN_HEADER = b"SQLite format 3\x00"


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


def check_file(path: Path) -> None:
    """What the file system knows, before any byte is read.

    Raises:
        CorruptDatabaseError, HomeError
    """
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
        raise faults.no_file(error) from error
    if not stat.S_ISREG(status.st_mode):
        raise faults.not_a_database()
    if not os.access(path, os.R_OK | os.W_OK):
        raise faults.no_access()
    if status.st_size == 0:
        raise faults.damaged("it is empty", code="storage.empty")


def version_of(connection: driver.Connection, path: Path, key: bytearray) -> int:
    """The format number, the first thing read with the key.

    Raises:
        CorruptDatabaseError: closed `connection` on the way when the first page does not open.
    """
    try:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except driver.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF != faults.SQLITE_NOTADB:
            raise
        connection.close()
        raise _why_unreadable(path, key) from None
    if connection.execute("PRAGMA application_id").fetchone() != (APPLICATION_ID,):
        raise faults.not_a_database()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _why_unreadable(path: Path, key: bytearray) -> CorruptDatabaseError:
    """The first page does not open: tell another file, a cut file, a damaged page and another key apart."""
    size = path.stat().st_size
    with path.open("rb") as file:
        plain = file.read(len(_PLAIN_HEADER)) == _PLAIN_HEADER
    if plain or size < PAGE_BYTES:
        return faults.not_a_database()
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
