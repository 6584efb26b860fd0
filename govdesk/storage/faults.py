"""The one place where the driver's errors become GovDesk's: each says what happened and what was kept.

`sqlite-utils` catches the standard library's sqlite errors, not SQLCipher's driver's, so nothing in
this package relies on it for that. The driver's own words are dropped: a full-text error can quote
what a person typed.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import sqlcipher3.dbapi2 as driver

from govdesk.errors import (
    BugError,
    CorruptDatabaseError,
    DiskFullError,
    GovDeskError,
    HomeError,
    InstanceRunningError,
    MachineError,
    UnreadableError,
)

SQLITE_PERM, SQLITE_BUSY, SQLITE_LOCKED, SQLITE_READONLY, SQLITE_INTERRUPT = 3, 5, 6, 8, 9
SQLITE_IOERR, SQLITE_CORRUPT, SQLITE_FULL, SQLITE_CANTOPEN, SQLITE_NOTADB = 10, 11, 13, 14, 26
"""Primary result codes (sqlite.org/rescode.html)."""

SHARED_MEMORY_CODES = frozenset({4618, 4874, 5386})
"""SQLITE_IOERR_SHMOPEN, _SHMSIZE, _SHMMAP: even reading needs room for the write-ahead file's index."""

FULL_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What the kernel says when there is no room: disk, quota, file-size limit."""

_KEPT = "What was already stored is unchanged; the last change was not made."


def damaged(found: str, *, code: str = "storage.corrupt") -> CorruptDatabaseError:
    """The error for a damaged history; `found` is a sentence without content."""
    return CorruptDatabaseError(
        f"The history file is damaged: {found}.",
        code=code,
        kept="The file was left as it is.",
        todo="Keep a copy of it, and ask your administrator to restore the last backup.",
    )


def translate(error: driver.Error, *, writing: bool) -> GovDeskError:
    """The GovDesk error for one of the driver's."""
    extended = getattr(error, "sqlite_errorcode", 0)
    code = extended & 0xFF
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    if code == SQLITE_FULL:
        return DiskFullError(
            "There is no space left to store the history.",
            kept=_KEPT,
            todo="Free some space on the disk that holds the profile, then try again.",
        )
    if code == SQLITE_IOERR and (writing or extended in SHARED_MEMORY_CODES):
        # A quota or a file-size limit arrives as a plain I/O error, not as SQLITE_FULL.
        return DiskFullError(
            "The disk refused to store a change: it is full, over its quota, failing, or gone.",
            code="disk.write-failed",
            kept=_KEPT,
            todo="Check the disk that holds the profile and its free space, then try again.",
        )
    if code == SQLITE_IOERR:
        return MachineError(
            "The disk refused to read the history: it is failing, or gone.",
            code="disk.read-failed",
            kept="The file was left as it is.",
            todo="Check the disk that holds the profile.",
        )
    if code == SQLITE_NOTADB:
        return damaged("it cannot be read with this profile's key")
    if code == SQLITE_CORRUPT:
        return damaged("a part of it fails its integrity check")
    if code in (SQLITE_BUSY, SQLITE_LOCKED):
        return busy()
    if code in (SQLITE_PERM, SQLITE_READONLY, SQLITE_CANTOPEN):
        return no_access()
    if isinstance(error, driver.ProgrammingError) and "closed" in str(error):
        return closed()
    return BugError(f"The history refused a statement ({name}).", code="bug.storage", kept=_KEPT)


def busy() -> InstanceRunningError:
    """The error for a file that another program works on."""
    return InstanceRunningError(
        "Another program holds the history file.",
        code="storage.busy",
        kept=_KEPT,
        todo="Close the other GovDesk or backup program, then try again.",
    )


def no_memory() -> MachineError:
    """The error for what does not fit in memory: SQLite says so in Python's own `MemoryError`."""
    return MachineError(
        "There is not enough memory left to work on the history.",
        code="memory.full",
        kept=_KEPT,
        todo="Close other programs, then try again.",
    )


def closed() -> UnreadableError:
    """The error for any use of a history that was closed."""
    return UnreadableError(
        "The history is locked.",
        code="storage.closed",
        kept="What was already stored is unchanged.",
        todo="Unlock GovDesk and try again.",
    )


@contextmanager
def translated(*, writing: bool) -> Iterator[None]:
    """Let no driver error out, nor a lack of memory.

    Raises:
        CorruptDatabaseError, DiskFullError, InstanceRunningError, HomeError, MachineError,
        UnreadableError (closed), BugError
    """
    try:
        yield
    except driver.Error as error:
        raise translate(error, writing=writing) from None
    except MemoryError:
        raise no_memory() from None


def not_a_database() -> CorruptDatabaseError:
    """The error for a file that is something else."""
    return CorruptDatabaseError(
        "The history file is not a GovDesk history.",
        code="storage.not-a-database",
        kept="It was left as it is.",
        todo="Put the right file in its place, or restore a backup.",
    )


def no_access() -> HomeError:
    """The error for a file that the account cannot use."""
    return HomeError(
        "The history file cannot be opened for reading and writing.",
        code="storage.no-access",
        kept="Nothing was changed.",
        todo="Check the owner and the permissions of the profile's folder.",
    )


def no_file(error: OSError) -> HomeError | DiskFullError:
    """The GovDesk error for what the operating system refused beside the database."""
    if error.errno in FULL_ERRNOS:
        return DiskFullError(
            "There is no space left in the profile's folder.",
            kept="What was already stored is unchanged.",
            todo="Free some space on the disk that holds the profile, then try again.",
        )
    return no_access()
