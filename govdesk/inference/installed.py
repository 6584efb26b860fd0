"""The imported versions as folders: what lies there can be removed, whether it may be used or not."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from govdesk.errors import ModelError
from govdesk.inference import staging

_VERSION = re.compile(r"[1-9][0-9]{0,9}")


@dataclass(frozen=True, slots=True)
class Installed:
    """The folder of one version."""

    folder: Path
    name: str
    version: int


def versions(models: Path, name: str) -> tuple[Installed, ...]:
    """The folders of a model's versions, in order; its name is compared, not looked for as a pattern.

    Args:
        models: the profile's models.
        name: of the manifest.

    Raises:
        ModelError: the models' folder cannot be read.
    """
    found = []
    try:
        folders = list(models.iterdir()) if models.is_dir() else []
    except OSError as error:
        raise ModelError(
            f"The folder {models} cannot be read: {error.strerror}.",
            code="model.unreadable",
            kept="Nothing was removed.",
            todo="Check the folder's owner and the disk.",
        ) from error
    for folder in folders:
        stem, _, version = folder.name.rpartition("-")
        if stem == name and _VERSION.fullmatch(version) and folder.is_dir() and not folder.is_symlink():
            found.append(Installed(folder, name, int(version)))
    return tuple(sorted(found, key=lambda one: one.version))


def remove(one: Installed) -> int:
    """Remove a version; its bytes.

    Raises:
        DiskFullError: the folder cannot be changed.
    """
    try:
        size = sum(item.lstat().st_size for item in one.folder.iterdir())
    except OSError as error:
        raise staging.cannot_write(one.folder, error) from error
    staging.remove_folder(one.folder)
    return size
