"""The highest version of each model that was used here: an older one does not come back.

Kept in the profile, so a person who owns the files can put it back; that is said in the threat model.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from govdesk.errors import DiskFullError, ModelError
from govdesk.inference.manifest import Name, Version

_FILE = "versions.json"
_MAX_BYTES = 1024 * 1024


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    versions: dict[Name, Version] = {}


class Floors:
    """The floors of one profile.

    Args:
        folder: the profile's models.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / _FILE

    def read(self) -> Mapping[str, int]:
        """By model name; empty before the first.

        Raises:
            ModelError: the file is there and cannot be understood: nothing loads then.
        """
        try:
            descriptor = os.open(self._file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
            with os.fdopen(descriptor, "rb") as file:
                return msgspec.json.decode(file.read(_MAX_BYTES), type=_Kept).versions
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ModelError(
                f"The file {self._file} says which model versions were used, and cannot be read.",
                code="model.versions",
                kept="No model was loaded. Your conversations are unchanged.",
                todo="Put it back from a backup of the profile, or ask your administrator; without it "
                "GovDesk forgets which versions are too old.",
            ) from error

    def raise_to(self, name: str, version: int) -> None:
        """Remember a version that is used now; a lower one changes nothing.

        Raises:
            DiskFullError: it cannot be written.
        """
        kept = dict(self.read())
        if kept.get(name, 0) >= version:
            return
        kept[name] = version
        write_whole(self._file, msgspec.json.encode(_Kept(kept), order="sorted"))


def write_whole(path: Path, content: bytes) -> None:
    """A file that is there whole and durable, or as it was.

    Raises:
        DiskFullError: it cannot be written.
    """
    partial = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            partial.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(partial, flags, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
        sync_folder(path.parent)
    except OSError as error:
        raise DiskFullError(
            f"The file {path} cannot be written: {error.strerror}.",
            kept="What was there before is unchanged.",
            todo="Make room on the disk, or check the folder's owner, then try again.",
        ) from error


def sync_folder(folder: Path) -> None:
    """Make names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
