"""Database files beside each other: for their owner only, durable, checked before anyone relies on them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import sqlcipher3.dbapi2 as driver
import sqlite_utils

from govdesk.storage.connection import connect
from govdesk.storage.faults import translated

FILE_MODE = 0o600


def remove_database(path: Path) -> None:
    """Remove a database file with its write-ahead and shared-memory files, when they are there."""
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def sync_file(path: Path) -> None:
    """Make a closed file's content durable."""
    _sync(path, os.O_RDONLY)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    _sync(path, os.O_RDONLY | os.O_DIRECTORY)


def copy_out(
    source: driver.Connection, target: Path, key: bytearray, check: Callable[[sqlite_utils.Database], None]
) -> None:
    """Copy an open database to a new file under the same key, check the copy, and only then give it its name.

    Args:
        source: an open connection.
        target: the copy's name; an older copy of that name is replaced.
        key: 32 raw bytes of both.
        check: raises when the copy is not sound.

    Raises:
        OSError, DiskFullError, CorruptDatabaseError
    """
    draft = target.with_name(target.name + ".new")
    remove_database(draft)
    os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, FILE_MODE))
    try:
        with translated(writing=True):
            copy = connect(draft, key)
            try:
                # SQLite's own backup: takes the write-ahead file in; the copy gets its own salt and IVs.
                source.backup(copy)
            finally:
                copy.close()
            again = connect(draft, key)
            try:
                check(sqlite_utils.Database(again, execute_plugins=False, recursive_triggers=False))
            finally:
                again.close()
        sync_file(draft)
        draft.rename(target)
        sync_folder(target.parent)
    except BaseException:
        remove_database(draft)
        raise


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
