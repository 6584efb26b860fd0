"""What a person chose for this profile: one small file, strict; damaged, it is as none. Loosens no policy."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from govdesk.errors import HomeError
from govdesk.inference.fit import Kv

SCHEMA = 1
_MAX_FILE_BYTES = 4096


class Choices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All of them, as they are when nobody chose."""

    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)] = SCHEMA
    halve_context: bool = False
    """Keys and values of the context in a format of half the size."""


class Preferences:
    """Reads them whenever one is asked for, so that another process's change counts.

    Args:
        path: the file in the profile; made with the first choice.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def choices(self) -> Choices:
        """What is chosen now."""
        try:
            with self._path.open("rb") as file:
                return msgspec.json.decode(file.read(_MAX_FILE_BYTES), type=Choices)
        except (OSError, msgspec.DecodeError, ValueError):
            return Choices()

    @property
    def kv(self) -> Kv:
        """How keys and values are wanted."""
        return "q8_0" if self.choices.halve_context else "f16"

    def halve_context(self, *, halve: bool) -> None:
        """Choose; whole or not at all.

        Raises:
            HomeError: the profile's folder cannot be written.
        """
        content = msgspec.json.encode(msgspec.structs.replace(self.choices, halve_context=halve))
        try:
            descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=".preferences-")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(content)
                Path(name).replace(self._path)
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise HomeError(
                f"What you chose cannot be kept in {self._path.parent}: {error.strerror}.",
                kept="Everything is as it was.",
                todo="Make room on the disk, or give yourself access to the folder, and choose again.",
            ) from error
