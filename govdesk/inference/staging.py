"""Where imported models lie: hidden while they are copied, then published by one rename.

    models/.NAME-VERSION.partial/   the manifest, and FILE.partial for each file; nothing looks in here
    models/NAME-VERSION/            the same folder under its own name, once everything in it was verified

The last step is one rename. A variant that is added to a version already here is renamed file by file:
until its last file is there, it counts as missing. Removing is a rename to a hidden name, then the deleting.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from govdesk.errors import DiskFullError, ModelError
from govdesk.inference.floors import sync_folder, write_whole
from govdesk.inference.manifest import SIGNATURE_SUFFIX, SUFFIX, ModelFile
from govdesk.inference.media import SignedManifest

PARTIAL = ".partial"
GOES_ON = "What was copied is kept: the same import goes on from there."
_REMOVED = ".removed"


class Staging:
    """The hidden folder of one import.

    Args:
        models: the profile's models folder; made if it is not there.
        signed: the manifest to import.

    Raises:
        ModelError: this version is here already with another manifest.
        DiskFullError: nothing can be written.
    """

    def __init__(self, models: Path, signed: SignedManifest) -> None:
        manifest = signed.manifest
        self.models = models
        self.final = models / f"{manifest.name}-{manifest.version}"
        self.folder = models / f".{self.final.name}{PARTIAL}"
        self._names = (manifest.name + SUFFIX, manifest.name + SUFFIX + SIGNATURE_SUFFIX)
        if self.final.exists() and _content(self.final / self._names[0]) != signed.signed:
            raise ModelError(
                f"Version {manifest.version} of {manifest.title} is here already, with another manifest.",
                code="model.same-version",
                kept="The one that is here is unchanged.",
                todo="Ask whoever gave you the model for a package with a version of its own.",
            )
        try:
            models.mkdir(mode=0o700, parents=True, exist_ok=True)
            if os.path.lexists(self.folder) and _content(self.folder / self._names[0]) != signed.signed:
                _remove(self.folder)  # of another package: nothing of it would be used
            self.folder.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error) from error
        write_whole(self.folder / self._names[0], signed.signed)
        write_whole(self.folder / self._names[1], signed.signature)

    def partial(self, part: ModelFile) -> Path:
        """Where a file is copied to."""
        return self.folder / (part.file + PARTIAL)

    def needed_bytes(self, parts: tuple[ModelFile, ...]) -> int:
        """What is still to be written."""
        return sum(max(part.bytes - size_of(self.partial(part)), 0) for part in parts)

    def publish(self, parts: tuple[ModelFile, ...]) -> None:
        """Give everything its name.

        Raises:
            DiskFullError: the disk refuses; the next import goes on from here.
        """
        wanted = {*self._names, *(part.file + PARTIAL for part in parts)}
        try:
            for item in self.folder.iterdir():
                if item.name not in wanted:
                    _remove(item)
            for part in parts:
                self.partial(part).rename(self.folder / part.file)
            sync_folder(self.folder)
            if self.final.exists():
                for part in parts:
                    (self.folder / part.file).replace(self.final / part.file)
                sync_folder(self.final)
                shutil.rmtree(self.folder)
            else:
                self.folder.rename(self.final)
            sync_folder(self.models)
        except OSError as error:
            raise cannot_write(self.final, error) from error

    def discard(self) -> None:
        """Remove everything of it: what was copied is not what was signed, or not fit to be used."""
        shutil.rmtree(self.folder, ignore_errors=True)


def sweep(models: Path) -> None:
    """Finish what a removal left.

    Raises:
        DiskFullError: the disk refuses.
    """
    try:
        for item in models.glob(f".*{_REMOVED}"):
            _remove(item)
    except OSError as error:
        raise cannot_write(models, error) from error


def remove_folder(folder: Path) -> None:
    """Remove an imported version: at once out of sight, then its bytes.

    Raises:
        DiskFullError: the folder cannot be changed.
    """
    hidden = folder.with_name(f".{folder.name}{_REMOVED}")
    try:
        _remove(hidden)
        folder.rename(hidden)
        sync_folder(folder.parent)
    except OSError as error:
        raise cannot_write(folder, error) from error
    shutil.rmtree(hidden, ignore_errors=True)


def cannot_write(path: Path, error: OSError) -> DiskFullError:
    """What to raise when the disk refuses."""
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    return DiskFullError(
        f"The disk of {path.parent} is full." if full else f"{path} cannot be written: {error.strerror}.",
        code="model.disk-full" if full else "model.not-writable",
        kept=GOES_ON,
        todo="Make room, then import again." if full else "Check the folder's owner and the disk.",
    )


def _remove(item: Path) -> None:
    if item.is_dir() and not item.is_symlink():
        shutil.rmtree(item)
    else:
        item.unlink(missing_ok=True)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def size_of(path: Path) -> int:
    """Size in bytes; 0 when it is not there."""
    try:
        return path.lstat().st_size
    except OSError:
        return 0
