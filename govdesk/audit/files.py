"""The file operations of the writer, behind one small seam so that each of them can be made to fail."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

_MAX_INTERRUPTIONS = 1000


class Files:
    """The operating system's own operations, one system call each; tests inherit and inject faults."""

    def make_folder(self, path: Path) -> None:
        """Make a folder for its owner only; one that is there is fine."""
        path.mkdir(mode=0o700, exist_ok=True)

    def open(self, path: Path, flags: int) -> int:
        """Open a file, for its owner only when it is made; never through a link."""
        return os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def close(self, descriptor: int) -> None:
        """Close."""
        os.close(descriptor)

    def lock(self, descriptor: int) -> None:
        """Hold a file for as long as it is open.

        Raises:
            BlockingIOError: somebody else holds it.
        """
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def status(self, where: int | Path) -> os.stat_result:
        """Status of an open file, or of a name (a link is not followed)."""
        return os.fstat(where) if isinstance(where, int) else os.lstat(where)

    def read_at(self, descriptor: int, count: int, offset: int) -> bytearray:
        """Up to `count` bytes at an offset; they may be a key, so they can be overwritten."""
        part = bytearray(count)
        del part[os.preadv(descriptor, [part], offset) :]
        return part

    def write_at(self, descriptor: int, part: memoryview, offset: int) -> int:
        """Write some of the bytes at an offset; how many."""
        return os.pwrite(descriptor, part, offset)

    def sync(self, descriptor: int) -> None:
        """Bytes and length to the disk."""
        os.fdatasync(descriptor)

    def sync_folder(self, path: Path) -> None:
        """Names to the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def truncate(self, descriptor: int, length: int) -> None:
        """Cut a file."""
        os.ftruncate(descriptor, length)

    def allocate(self, descriptor: int, length: int) -> None:
        """Make the disk set the bytes aside."""
        os.posix_fallocate(descriptor, 0, length)

    def remove(self, path: Path) -> None:
        """Remove a file; one that is not there is fine."""
        path.unlink(missing_ok=True)


def write_all(files: Files, descriptor: int, content: bytes | bytearray, offset: int) -> None:
    """Write every byte; no copy is made of them. An interrupted or short write goes on where it stopped.

    Going on after a short write is how the reason is learned: a full disk gives the short write
    first and ENOSPC next.

    Raises:
        OSError: not every byte could be written.
    """
    whole = memoryview(content)
    done = 0
    interruptions = 0
    while done < len(whole):
        try:
            written = files.write_at(descriptor, whole[done:], offset + done)
        except InterruptedError:
            interruptions += 1
            if interruptions > _MAX_INTERRUPTIONS:
                raise
            continue
        if written <= 0:
            raise OSError(errno.EIO, "nothing was written")
        done += written


def read_all(files: Files, descriptor: int, count: int, offset: int) -> bytearray:
    """Exactly `count` bytes at an offset, fewer only at the end of the file.

    Raises:
        OSError: they cannot be read.
    """
    whole = files.read_at(descriptor, count, offset)
    while len(whole) < count:
        part = files.read_at(descriptor, count - len(whole), offset + len(whole))
        if not part:
            break
        whole += part
    return whole
