"""Reads a log that may be hostile, or be growing: regular files only, bounded memory, never a write."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from govdesk.audit import canonical, state
from govdesk.audit.state import State
from govdesk.audit.store import SEGMENT_NAME
from govdesk.errors import AuditUnreadableError

_READ_BYTES = canonical.MAX_LINE_BYTES + 2


@dataclass(frozen=True, slots=True)
class Line:
    """One line without its line feed. `whole` is False for bytes at the end that have none (or too many)."""

    offset: int
    untrusted: bytes
    whole: bool

    @property
    def end(self) -> int:
        """Offset of the next line."""
        return self.offset + len(self.untrusted) + int(self.whole)


@dataclass(frozen=True, slots=True)
class Source:
    """Where the parts of a log are: a whole folder, or one segment's file copied alone."""

    segment: Path
    state: Path | None
    strangers: tuple[str, ...] = ()
    """Names of segments that this format does not have."""
    torn: int = 0


def locate(path: Path) -> Source:
    """Find the parts of a log.

    Raises:
        AuditUnreadableError: there is nothing there, or it cannot be read.
    """
    try:
        if not path.is_dir():
            return Source(segment=path, state=None)
        names = sorted(entry.name for entry in path.iterdir())
    except OSError as error:
        raise unreadable(path, error) from error
    if SEGMENT_NAME not in names and state.NAME not in names:
        raise AuditUnreadableError(
            f"There is no audit log in {path}.", todo="Name the log's folder or a copy of a segment."
        )
    return Source(
        segment=path / SEGMENT_NAME,
        state=path / state.NAME if state.NAME in names else None,
        strangers=tuple(name for name in names if name.startswith("segment-") and name != SEGMENT_NAME),
        torn=sum(name.startswith("torn-") for name in names),
    )


def open_read_only(path: Path) -> BinaryIO:
    """Open a regular file for reading; a pipe or device is refused and not waited for.

    Raises:
        AuditUnreadableError: it cannot be read.
        FileNotFoundError: it is not there.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise unreadable(path, error) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise AuditUnreadableError(f"{path} is not a file.", todo="Name the log's folder or a segment.")
    return open(descriptor, "rb")  # noqa: PTH123 - a descriptor, not a path


def lines(file: BinaryIO, offset: int = 0) -> Iterator[Line]:
    """The lines from an offset on. A line too long comes in parts, each not `whole`."""
    file.seek(offset)
    while untrusted := file.readline(_READ_BYTES):
        whole = untrusted.endswith(b"\n")
        yield Line(offset, untrusted[:-1] if whole else untrusted, whole)
        offset += len(untrusted)


def read_state(path: Path) -> State | None:
    """The state in a file of two slots; None when the file is gone or neither slot is whole.

    Raises:
        AuditUnreadableError: it cannot be read.
    """
    try:
        with open_read_only(path) as file:
            return state.newest(file.read(state.FILE_BYTES))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> AuditUnreadableError:
    """The error for a part that cannot be read."""
    return AuditUnreadableError(
        f"{path} cannot be read: {error.strerror}.",
        kept="Nothing was changed.",
        todo="Check the path and that you may read it.",
    )
