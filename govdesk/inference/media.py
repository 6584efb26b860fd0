"""A model package on removable media: whatever lies there, only a signed manifest and regular files are read.

Every name is opened inside the one folder that was opened first, and is no link; nothing is believed of
a file but the bytes that were read of it.
"""

from __future__ import annotations

import itertools
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from govdesk import crypto
from govdesk.domain.models import Place
from govdesk.errors import ModelError, UnreadableError
from govdesk.inference.manifest import (
    SIGNATURE_SUFFIX,
    SUFFIX,
    Manifest,
    ModelFile,
    decode,
    read_bounded,
    signer,
)

MAX_ENTRIES = 10_000
MAX_SHOWN = 1_000
_KEPT = "Nothing was imported. Your conversations are unchanged."


@dataclass(frozen=True, slots=True)
class SignedManifest:
    """A manifest with the bytes that were signed."""

    manifest: Manifest
    signed: bytes
    signature: bytes
    signer: str
    """SHA-384 of the public key (DER), in hexadecimal."""


class Package:
    """An opened folder with one manifest in it; close it.

    Args:
        place: a folder, or a manifest in one.
        trust_roots: ML-DSA-87 public keys (PEM).

    Raises:
        UnreadableError: there is no such place.
        ModelError: no manifest, several, or one that is not to be believed.
    """

    def __init__(self, place: Path, trust_roots: tuple[str, ...]) -> None:
        try:
            whole = place.is_dir()
            folder = place if whole else place.parent
            self.folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no name"
            raise _unreadable(place, why) from error
        try:
            name = self._only_manifest(folder) if whole else place.name
            self.signed = read_signed(Path(name), self.folder, trust_roots)
        except BaseException:
            self.close()
            raise

    @property
    def manifest(self) -> Manifest:
        """What it holds."""
        return self.signed.manifest

    def __enter__(self) -> Package:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the folder."""
        os.close(self.folder)

    def holds(self, part: ModelFile) -> bool:
        """Whether something of this name lies there."""
        try:
            os.stat(part.file, dir_fd=self.folder, follow_symlinks=False)
        except OSError:
            return False
        return True

    def open(self, part: ModelFile) -> int:
        """A regular file of the signed size, for reading.

        Raises:
            ModelError: it is not.
        """
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(part.file, flags, dir_fd=self.folder)
        except OSError as error:
            raise refused(part.file, f"cannot be opened: {error.strerror}", "model.missing") from error
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise refused(part.file, "is not a regular file", "model.not-a-file")
        if status.st_size != part.bytes:
            os.close(descriptor)
            word = "cut short" if status.st_size < part.bytes else "too long"
            raise refused(
                part.file, f"is {word}: {status.st_size:,} bytes instead of {part.bytes:,}", "model.size"
            )
        return descriptor

    def _only_manifest(self, folder: Path) -> str:
        try:
            with os.scandir(self.folder) as entries:
                names = [entry.name for entry in itertools.islice(entries, MAX_ENTRIES + 1)]
        except OSError as error:
            raise _unreadable(folder, error.strerror) from error
        if len(names) > MAX_ENTRIES:
            raise ModelError(
                f"The folder {folder} has more than {MAX_ENTRIES:,} entries.",
                code="model.place",
                kept=_KEPT,
                todo="Name the manifest itself.",
            )
        found = [name for name in names if name.endswith(SUFFIX) and not name.startswith(".")]
        if len(found) == 1:
            return found[0]
        if not found:
            raise ModelError(
                f"There is no model manifest (a file NAME{SUFFIX}) in {folder}.",
                code="model.manifest",
                kept=_KEPT,
                todo="Name the folder that holds the manifest, its signature and the model's files.",
            )
        raise ModelError(
            f"There are {len(found)} manifests in {folder}.",
            code="model.several",
            kept=_KEPT,
            todo="Name one of them: " + ", ".join(sorted(found)[:10]),
        )


def look_into(place: str) -> Place:
    """The names in a folder: other folders, and what may be a manifest. Nothing is opened but the folder.

    Args:
        place: a folder; where it is none, the nearest one above it that is.

    Raises:
        UnreadableError: it cannot be read.
    """
    folders: list[str] = []
    manifests: list[str] = []
    left_out = 0
    folder = Path(place.replace("\0", "") or "/").absolute()
    try:
        while not folder.is_dir() and folder != folder.parent:
            folder = folder.parent
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= MAX_ENTRIES:
                    left_out += 1  # and those behind it: a folder may be endless
                    break
                if entry.name.startswith("."):
                    continue
                if _is_no_text(entry.name):
                    left_out += 1
                elif entry.is_dir():
                    folders.append(entry.name)
                elif entry.name.endswith(SUFFIX):
                    manifests.append(entry.name)
    except OSError as error:
        raise _unreadable(folder, error.strerror) from error
    left_out += max(len(folders) - MAX_SHOWN, 0) + max(len(manifests) - MAX_SHOWN, 0)
    return Place(
        folder=str(folder),
        parent="" if folder == folder.parent else str(folder.parent),
        folders=tuple(sorted(folders)[:MAX_SHOWN]),
        manifests=tuple(sorted(manifests)[:MAX_SHOWN]),
        left_out=left_out,
    )


def _is_no_text(name: str) -> bool:
    """Bytes that are no UTF-8: the window could not give such a name back."""
    return any("\ud800" <= character <= "\udfff" for character in name)


def _unreadable(place: Path, why: str | None) -> UnreadableError:
    return UnreadableError(
        f"{place} cannot be opened: {why}.",
        code="model.place",
        kept=_KEPT,
        todo="Check that the medium is connected, and the name.",
    )


def read_signed(path: Path, folder: int | None, trust_roots: tuple[str, ...]) -> SignedManifest:
    """A manifest with its bytes and who signed it; see `manifest.read_manifest`."""
    signed = read_bounded(path, folder)
    signature = read_bounded(path.with_name(path.name + SIGNATURE_SUFFIX), folder)
    manifest = decode(path.name, signed, signature, trust_roots)
    key = signer(signed, signature, trust_roots)
    return SignedManifest(manifest, signed, signature, crypto.fingerprint(key).hex() if key else "")


def refused(file: str, why: str, code: str) -> ModelError:
    """A file that is not imported."""
    return ModelError(
        f"The model file {file} {why}.",
        code=code,
        kept=_KEPT,
        todo="Ask whoever gave you the model for a sound copy of the package.",
    )
