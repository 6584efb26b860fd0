"""An import is there whole or not at all: whatever stops it, what was copied is hashed again and used.

See `staging` for the names. Of a file on the medium only the bytes that were read of it count.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

from govdesk import crypto
from govdesk.domain.models import ImportProgress, Watch
from govdesk.errors import DiskFullError, KnownError, ModelError
from govdesk.inference.gguf import GgufFacts, examine
from govdesk.inference.manifest import Manifest, ModelFile, Variant
from govdesk.inference.media import Package, refused
from govdesk.inference.staging import GOES_ON, PARTIAL, Staging, cannot_write, size_of, sweep

PIECE_BYTES = 4 * 1024 * 1024
_SPARE_BYTES = 16 * 1024 * 1024
_TELL_SECONDS = 0.2


class ImportStopped(KnownError):
    """The person stopped it."""

    code = "model.import-stopped"
    exit_code = 130


class Progress:
    """Tells how far it is, a few times a second, and hears whether it is to stop.

    Args:
        watch: is told.
        stopped: says whether to stop.
        total_bytes: of everything.
        kept: what a stop leaves, for the words.
    """

    def __init__(
        self, watch: Watch, stopped: Callable[[], bool], total_bytes: int, kept: str = GOES_ON
    ) -> None:
        self._watch = watch
        self._stopped = stopped
        self._total = total_bytes
        self._kept = kept
        self._done = 0
        self._started = time.monotonic()
        self._told = 0.0

    def add(self, doing: str, file: str, count: int) -> None:
        """So many bytes more.

        Raises:
            ImportStopped: it is to stop.
        """
        self._done += count
        now = time.monotonic()
        if now - self._told >= _TELL_SECONDS or self._done >= self._total:
            self._told = now
            done = min(self._done, self._total)
            self._watch(ImportProgress(doing, file, done, self._total, now - self._started))
        if self._stopped():
            raise ImportStopped("It was stopped.", kept=self._kept, todo="")

    def back(self, count: int) -> None:
        """So many bytes were in vain."""
        self._done -= count


def import_package(
    package: Package,
    models: Path,
    variants: tuple[Variant, ...],
    watch: Watch,
    stopped: Callable[[], bool],
) -> int:
    """Copy, verify and publish; whether it may be imported was decided before.

    Args:
        package: on the medium.
        models: the profile's models folder.
        variants: which of the manifest's.
        watch: is told how far it is.
        stopped: says whether to stop.

    Returns:
        Bytes that were copied now.

    Raises:
        ModelError: a file is not what was signed, or changes while it is read, or no model for GovDesk.
        DiskFullError: the disk is full.
        ImportStopped: it was stopped.
    """
    sweep(models)
    staging = Staging(models, package.signed)
    files = tuple(part for variant in variants for part in variant.files)
    progress = Progress(watch, stopped, sum(part.bytes for part in files))
    here = tuple(part for part in files if _sound(staging.final / part.file, part, progress))
    wanted = tuple(part for part in files if part not in here)
    _recover(staging, wanted)
    _require_room(staging, wanted)
    copied = sum(_copy(package, staging, part, progress) for part in wanted)
    try:
        for variant in variants:
            paths = [
                staging.final / part.file if part in here else staging.partial(part) for part in variant.files
            ]
            require_fit(package.manifest, variant, facts(paths))
    except ModelError:
        staging.discard()
        raise
    if wanted:
        staging.publish(wanted)
    else:
        staging.discard()
    return copied


def facts(paths: list[Path] | tuple[Path, ...]) -> GgufFacts:
    """What the validator says of a model's files, in order.

    Raises:
        ModelError: they are no model that GovDesk runs, or cannot be opened.
    """
    opened: list[int] = []
    try:
        for path in paths:
            opened.append(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK))
        return examine(opened, paths[0].name.removesuffix(PARTIAL))
    except OSError as error:
        raise refused(paths[0].name, f"cannot be read: {error.strerror}", "model.unreadable") from error
    finally:
        for descriptor in opened:
            os.close(descriptor)


def require_fit(manifest: Manifest, variant: Variant, found: GgufFacts) -> None:
    """The files of a variant are the model that the manifest describes.

    Raises:
        ModelError: another architecture, or another chat template.
    """
    file = variant.files[0].file
    if found.architecture != manifest.architecture:
        raise refused(
            file,
            f"is of the architecture {found.architecture}; the manifest says {manifest.architecture}",
            "model.architecture",
        )
    if not manifest.template and found.template_sha384 != manifest.template_sha384:
        raise refused(file, "has another chat template than the manifest names", "model.template")


def _recover(staging: Staging, parts: tuple[ModelFile, ...]) -> None:
    """Files that had their name when a publishing was cut off are looked at again like all others."""
    for part in parts:
        named = staging.folder / part.file
        try:
            if os.path.lexists(named):
                named.replace(staging.partial(part))
        except OSError as error:
            raise cannot_write(named, error) from error


def _require_room(staging: Staging, parts: tuple[ModelFile, ...]) -> None:
    needed = staging.needed_bytes(parts)
    try:
        room = os.statvfs(staging.models)
    except OSError as error:
        raise cannot_write(staging.models, error) from error
    free = room.f_bavail * room.f_frsize
    if needed and needed + _SPARE_BYTES > free:
        raise DiskFullError(
            f"The model needs {_megabytes(needed)} more on the disk of {staging.models}, and "
            f"{_megabytes(free)} are free.",
            code="model.disk-full",
            kept=GOES_ON,
            todo=f"Make {_megabytes(needed + _SPARE_BYTES - free)} of room, then import again.",
        )


def _copy(package: Package, staging: Staging, part: ModelFile, progress: Progress) -> int:
    """Copy one file, going on behind what is there; bytes that were copied.

    When the whole is wrong, what was there before may be why: then once more from the beginning.
    """
    target = staging.partial(part)
    source = package.open(part)
    try:
        before, sound = _copy_behind(source, target, part, progress)
        if not sound and before:
            progress.back(part.bytes)
            try:
                target.unlink()
            except OSError as error:
                raise cannot_write(target, error) from error
            os.lseek(source, 0, os.SEEK_SET)
            before, sound = _copy_behind(source, target, part, progress)
        if not sound:
            staging.discard()
            raise refused(part.file, "does not have the bytes that were signed", "model.digest")
    finally:
        os.close(source)
    return part.bytes - before


def _copy_behind(source: int, path: Path, part: ModelFile, progress: Progress) -> tuple[int, bool]:
    """Bytes that were there before, and whether the whole has the signed digest, durable on the disk."""
    try:
        target = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        before, digest = _hash_again(target, path, part, progress)
        os.lseek(source, before, os.SEEK_SET)
        done = before
        while done < part.bytes:
            piece = _read(source, min(PIECE_BYTES, part.bytes - done), part)
            if not piece:
                raise _changed(part)
            _write(target, piece, path)
            digest.update(piece)
            done += len(piece)
            progress.add("copying", part.file, len(piece))
        if _read(source, 1, part):
            raise _changed(part)
        try:
            os.fsync(target)
        except OSError as error:
            raise cannot_write(path, error) from error
    finally:
        os.close(target)
    return before, crypto.same(digest.hexdigest().encode(), part.sha384.encode())


def _hash_again(target: int, path: Path, part: ModelFile, progress: Progress) -> tuple[int, crypto.Sha384]:
    """Hash what was copied before; nothing is believed of it. Its length, and the digest so far.

    What the disk does not give back is copied from the beginning: kept, it would stop every import.
    """
    try:
        status = os.fstat(target)
        if not stat.S_ISREG(status.st_mode) or status.st_size > part.bytes:
            os.ftruncate(target, 0)
            return 0, crypto.Sha384()
        done, digest = _hash(target, "checking what was copied before", part, progress)
        if digest is None:
            progress.back(done)
            os.lseek(target, 0, os.SEEK_SET)
            os.ftruncate(target, 0)
            return 0, crypto.Sha384()
    except OSError as error:
        raise cannot_write(path, error) from error
    return done, digest


def _hash(
    descriptor: int, doing: str, part: ModelFile, progress: Progress
) -> tuple[int, crypto.Sha384 | None]:
    """Bytes that were read, and their digest; None when the disk did not give all of them."""
    digest = crypto.Sha384()
    done = 0
    while True:
        try:
            piece = os.read(descriptor, PIECE_BYTES)
        except OSError:
            return done, None
        if not piece:
            return done, digest
        digest.update(piece)
        done += len(piece)
        progress.add(doing, part.file, len(piece))


def _sound(path: Path, part: ModelFile, progress: Progress) -> bool:
    """Whether this very file is installed already; one that the disk does not give is not."""
    if size_of(path) != part.bytes:
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        done, digest = _hash(descriptor, "checking what is here", part, progress)
    finally:
        os.close(descriptor)
    if digest is not None and digest.hexdigest() == part.sha384:
        return True
    progress.back(done)
    return False


def _read(source: int, count: int, part: ModelFile) -> bytes:
    try:
        return os.read(source, count)
    except OSError as error:
        raise ModelError(
            f"The medium stopped giving {part.file}: {error.strerror}.",
            code="model.medium",
            kept=GOES_ON,
            todo="Connect it again, then import again.",
        ) from error


def _write(target: int, piece: bytes, path: Path) -> None:
    view = memoryview(piece)
    try:
        while view:
            view = view[os.write(target, view) :]
    except OSError as error:
        raise cannot_write(path, error) from error


def _changed(part: ModelFile) -> ModelError:
    return refused(part.file, "changed while it was read", "model.changed")


def _megabytes(count: int) -> str:
    return f"{-(-count // 1_000_000):,} MB"
