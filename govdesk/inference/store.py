"""What is verified is what is used: a file is copied into a sealed memfd while it is hashed.

The worker gets that descriptor. A file that was only hashed could change under its mapping. And what was
signed may still be malformed: `gguf.examine` reads it before native code does.
"""

from __future__ import annotations

import fcntl
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from govdesk import config, crypto
from govdesk.domain.ids import ModelDigest
from govdesk.domain.turn import ModelInfo
from govdesk.errors import ModelError
from govdesk.inference import fit, gguf, machine_memory, plan
from govdesk.inference.gguf import GgufFacts
from govdesk.inference.manifest import Manifest, ModelFile, Variant

_COPY_BYTES = 4 * 1024 * 1024
_MAGIC = b"GGUF"
_KEPT = "Your conversations are unchanged."


@dataclass(frozen=True, slots=True)
class Model:
    """One variant of a manifest whose signature checked, and where its first file should be.

    The further parts of a split GGUF lie beside it.
    """

    manifest: Manifest
    path: Path
    number: int = 0
    """Which of the manifest's variants."""

    @property
    def variant(self) -> Variant:
        """The variant."""
        return self.manifest.variants[self.number]

    @property
    def paths(self) -> tuple[Path, ...]:
        """Its files, in order."""
        return (self.path, *(self.path.with_name(part.file) for part in self.variant.files[1:]))

    @property
    def digest(self) -> ModelDigest:
        """What the policy approves."""
        return self.variant.digest

    @property
    def info(self) -> ModelInfo:
        """The model as conversations name it."""
        return ModelInfo(self.manifest.title, self.digest, self.manifest.context_tokens)

    @property
    def missing(self) -> tuple[Path, ...]:
        """Its files that are not there."""
        return tuple(path for path in self.paths if not path.exists())


def models_of(manifest: Manifest, folder: Path) -> tuple[Model, ...]:
    """Every variant of a manifest, with its files in a folder."""
    return tuple(
        Model(manifest, folder / variant.files[0].file, number)
        for number, variant in enumerate(manifest.variants)
    )


@dataclass(frozen=True, slots=True)
class Opened:
    """A model that may go to the worker: its files, in order, as sealed memfds, and what they hold."""

    descriptors: tuple[int, ...]
    facts: GgufFacts


def open_verified(model: Model) -> Opened:
    """The model's files, as sealed memfds: the bytes that were signed, sound, and nobody can change them.

    The caller owns the descriptors. Costs the model's size in memory, and one reading.

    Raises:
        ModelError: missing, cut, oversized, not the bytes that were signed, or a GGUF that native code must
            not see.
    """
    _require_memory(model)
    opened: list[int] = []
    try:
        for path, part in zip(model.paths, model.variant.files, strict=True):
            opened.append(_open_verified(path, part))
        facts = gguf.examine(opened, model.path.name)
        if facts.architecture != model.manifest.architecture:
            raise unusable(
                model.path,
                f"is a {facts.architecture} model, and its manifest names {model.manifest.architecture}",
                "model.architecture",
            )
        _require_room(model, facts)
    except BaseException:
        close_all(opened)
        raise
    return Opened(tuple(opened), facts)


def close_all(descriptors: list[int] | tuple[int, ...]) -> None:
    """Close each."""
    for descriptor in descriptors:
        os.close(descriptor)


def open_regular(path: Path, part: ModelFile) -> int:
    """A file of the size that was signed, open for reading; no link, device or pipe.

    Raises:
        ModelError: it is missing, of another kind, or cut or too long.
    """
    try:
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise unusable(path, f"cannot be opened: {error.strerror}", "model.missing") from error
    try:
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode):
            raise unusable(path, "is not a regular file", "model.not-a-file")
        if os.pread(source, len(_MAGIC), 0) != _MAGIC:
            raise unusable(path, "is not a GGUF file", "model.not-gguf")
        if status.st_size != part.bytes:
            word = "cut short" if status.st_size < part.bytes else "too long"
            raise unusable(
                path, f"is {word}: it has {status.st_size} bytes instead of {part.bytes}", "model.size"
            )
    except OSError as error:
        os.close(source)
        raise unusable(path, f"cannot be read: {error.strerror}", "model.unreadable") from error
    except ModelError:
        os.close(source)
        raise
    return source


def unusable(path: Path, why: str, code: str) -> ModelError:
    """A file that is not what was signed."""
    return ModelError(
        f"The model file {path.name} {why}.",
        code=code,
        kept="It was not loaded. " + _KEPT,
        todo=_again(path),
    )


def _again(path: Path) -> str:
    """What to do: the files that came with GovDesk come by the set-up, imported ones by an import."""
    if path.parent == config.MODELS:
        return "Fetch it again (`make run`), or ask your administrator for the model package."
    return (
        "Import it again (`govdesk model import`): that mends it. Or ask your administrator for the package."
    )


def _open_verified(path: Path, part: ModelFile) -> int:
    source = open_regular(path, part)
    try:
        return _copy_sealed(path, part, source)
    finally:
        os.close(source)


def _require_memory(model: Model) -> None:
    """Refuse before copying what cannot fit: the copy itself needs the model's size."""
    memory = machine_memory.read()
    if model.variant.bytes > memory.free_bytes:
        raise _too_large(model, model.variant.bytes, memory.free_bytes, memory.total_bytes)


def _require_room(model: Model, facts: GgufFacts) -> None:
    """Refuse what has no room for the smallest context, by the same rule as the list says it."""
    here = plan.machine(more_bytes=facts.file_bytes)
    found = plan.judge(facts, model.manifest.context_tokens, here)
    if found.memory.total > here.free_bytes:
        raise _too_large(model, found.memory.total, here.free_bytes, here.total_bytes)


def _too_large(model: Model, needed: int, free: int, total: int) -> ModelError:
    return ModelError(
        f"The model {model.manifest.title} needs {fit.gigabytes(needed)} of memory, and "
        f"{fit.gigabytes(free)} of {fit.gigabytes(total)} are free.",
        code="model.memory",
        kept="It was not loaded. " + _KEPT,
        todo="Close other programs and try again, or ask your administrator for a smaller model.",
    )


def _copy_sealed(path: Path, part: ModelFile, source: int) -> int:
    copy = os.memfd_create("govdesk-model", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    digest = crypto.Sha384()
    try:
        done = 0
        while chunk := os.read(source, _COPY_BYTES):
            digest.update(chunk)
            done += len(chunk)
            if done > part.bytes:
                break
            view = memoryview(chunk)
            while view:
                view = view[os.write(copy, view) :]
        fcntl.fcntl(
            copy,
            fcntl.F_ADD_SEALS,
            fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL,
        )
        if done != part.bytes or not crypto.same(digest.hexdigest().encode(), part.sha384.encode()):
            raise unusable(path, "does not have the bytes that were signed", "model.digest")
    except OSError as error:
        os.close(copy)
        raise unusable(path, f"cannot be read: {error.strerror}", "model.unreadable") from error
    except ModelError:
        os.close(copy)
        raise
    return copy
