"""Models are admitted, not found: a signed manifest, an approved digest, and a descriptor nobody can change.

What is verified is what is used: the file is copied into a sealed memfd while it is hashed, and the
worker gets that descriptor. A file that was only hashed could change under its mapping.
"""

from __future__ import annotations

import fcntl
import os
import stat
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tomllib import TOMLDecodeError, loads
from typing import Literal

import msgspec

from govdesk import crypto
from govdesk.domain.ids import ModelDigest
from govdesk.domain.turn import ModelInfo
from govdesk.errors import MarkingError, ModelError

MANIFEST_CONTEXT = b"govdesk model manifest v1"
"""Context string of the manifests' ML-DSA-87 signatures."""
MANIFEST_SCHEMA = 1
MAX_MANIFEST_BYTES = 64 * 1024
_COPY_BYTES = 4 * 1024 * 1024
_GGUF_HEADER = struct.Struct("<4sIQQ")
_GGUF_VERSIONS = (2, 3)
_MAX_TENSORS = 65_536
_MAX_KEYS = 65_536
_KEPT = "Your conversations are unchanged."


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One package that carries the file, or the next part of it."""

    package: str
    version: str
    wheel_sha256: str
    member: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The signed description of one model file. Sizes in bytes, digests in lower-case hexadecimal."""

    schema: Literal[1]
    name: str
    title: str
    version: int
    license: str
    provenance: str
    shipped: bool
    file: str
    bytes: int
    sha256: str
    sha384: str
    architecture: str
    quantization: str
    context_tokens: int
    template_sha384: str
    roles: tuple[str, ...]
    highest_marking: str
    source: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """A manifest whose signature checked, and where its file should be."""

    manifest: Manifest
    path: Path

    @property
    def info(self) -> ModelInfo:
        """The model as conversations name it."""
        return ModelInfo(self.manifest.title, ModelDigest(self.manifest.sha384), self.manifest.context_tokens)


def approved_model(
    folders: tuple[Path, ...],
    trust_roots: tuple[str, ...],
    approved: tuple[str, ...],
    system_high: str,
    dominates: Callable[[str, str], bool],
) -> Model:
    """The first approved model whose manifest checks and whose file is there, in the policy's order.

    A manifest's `roles` are the template's, and say nothing about people: while GovDesk is not installed for
    several people, its owner has every role.

    Args:
        folders: where manifests (`*.toml` with `*.toml.sig`) and files lie.
        trust_roots: ML-DSA-87 public keys (PEM).
        approved: SHA-384 digests, from policy.
        system_high: the workstation's highest marking: what may be said to the model.
        dominates: whether the first marking covers the second; raises MarkingError when one is none.

    Raises:
        ModelError: there is none; says what was missing.
    """
    found: dict[str, Model] = {}
    refused: list[str] = []
    for folder in folders:
        for path in sorted(folder.glob("*.toml")):
            try:
                manifest = read_manifest(path, trust_roots)
            except ModelError as error:
                refused.append(error.what)
                continue
            found.setdefault(manifest.sha384, Model(manifest, folder / manifest.file))
    missing = [found[digest] for digest in approved if digest in found]
    low = [model for model in missing if not _covers(model, system_high, dominates)]
    missing = [model for model in missing if model not in low]
    for model in missing:
        if model.path.exists():
            return model
    if missing:
        raise ModelError(
            f"The model file {missing[0].path.name} is missing from {missing[0].path.parent}.",
            code="model.missing",
            kept=_KEPT,
            todo="Run the set-up again (`make run`), or ask your administrator for the model package.",
        )
    if low:
        manifest = low[0].manifest
        raise ModelError(
            f"The model {manifest.title} may see up to {manifest.highest_marking}; this workstation holds up "
            f"to {system_high}.",
            code="model.marking",
            kept="It was not loaded. " + _KEPT,
            todo="Ask your administrator for a model that is approved for this workstation's markings.",
        )
    raise ModelError(
        " ".join(["No model that the policy approves is installed.", *refused]),
        code="model.none-approved",
        kept=_KEPT,
        todo="Ask your administrator which model is approved here.",
    )


def _covers(model: Model, system_high: str, dominates: Callable[[str, str], bool]) -> bool:
    """Whether everything that this workstation may hold may be said to the model."""
    try:
        return dominates(model.manifest.highest_marking, system_high)
    except MarkingError:
        return False  # what is no marking covers nothing


def read_manifest(path: Path, trust_roots: tuple[str, ...]) -> Manifest:
    """A manifest whose signature checks under one of the trust roots.

    Raises:
        ModelError: unreadable, too large, not signed by us, of a newer schema or of a wrong shape.
    """
    try:
        signed = _read_bounded(path)
        signature = _read_bounded(path.with_name(path.name + ".sig"))
    except OSError as error:
        raise ModelError(
            f"The manifest {path.name} cannot be read: {error.strerror}.", code="model.manifest"
        ) from error
    if not any(_checks(root, signature, signed) for root in trust_roots):
        raise ModelError(
            f"The manifest {path.name} is not signed by a key that this workstation trusts.",
            code="model.manifest-signature",
        )
    try:
        fields = loads(signed.decode("utf-8"))
        schema = msgspec.convert(fields.get("schema"), int)
        if schema > MANIFEST_SCHEMA:
            raise ModelError(
                f"The manifest {path.name} has schema {schema}; this GovDesk reads {MANIFEST_SCHEMA}.",
                code="model.manifest-newer",
                kept=_KEPT,
                todo="Install a newer GovDesk, or the model package made for this one.",
            )
        return msgspec.convert(fields, Manifest)
    except (UnicodeDecodeError, TOMLDecodeError, msgspec.ValidationError) as error:
        raise ModelError(
            f"The manifest {path.name} has a wrong shape.", code="model.manifest-shape"
        ) from error


def _checks(root: str, signature: bytes, signed: bytes) -> bool:
    try:
        crypto.verify(root, signature, signed, context=MANIFEST_CONTEXT)
    except crypto.CryptoError:
        return False
    return True


def _read_bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        read = file.read(MAX_MANIFEST_BYTES + 1)
    if len(read) > MAX_MANIFEST_BYTES:
        raise ModelError(
            f"The file {path.name} is too large for what it should be.", code="model.manifest-size"
        )
    return read


def open_verified(model: Model) -> int:
    """The model as a sealed memfd: its bytes are the manifest's, and nobody can change them any more.

    The caller owns the descriptor. Costs the model's size in memory, and one reading.

    Raises:
        ModelError: missing, cut, oversized, not a GGUF, or not the bytes that were signed.
    """
    manifest = model.manifest
    try:
        source = os.open(model.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise _unusable(model, f"cannot be opened: {error.strerror}", "model.missing") from error
    try:
        status = os.fstat(source)
        if not stat.S_ISREG(status.st_mode):
            raise _unusable(model, "is not a regular file", "model.not-a-file")
        _check_header(model, os.pread(source, _GGUF_HEADER.size, 0))
        if status.st_size != manifest.bytes:
            word = "cut short" if status.st_size < manifest.bytes else "too long"
            raise _unusable(
                model, f"is {word}: it has {status.st_size} bytes instead of {manifest.bytes}", "model.size"
            )
        _require_memory(model)
        return _copy_sealed(model, source)
    finally:
        os.close(source)


def _check_header(model: Model, header: bytes) -> None:
    if len(header) < _GGUF_HEADER.size or header[:4] != b"GGUF":
        raise _unusable(model, "is not a GGUF file", "model.not-gguf")
    _, version, tensors, keys = _GGUF_HEADER.unpack(header)
    if version not in _GGUF_VERSIONS or not 0 < tensors <= _MAX_TENSORS or not 0 < keys <= _MAX_KEYS:
        raise _unusable(model, "has a GGUF header that makes no sense", "model.header")


def _require_memory(model: Model) -> None:
    """Refuse before copying what cannot fit: the copy itself needs the model's size."""
    with Path("/proc/meminfo").open(encoding="ascii") as file:
        available = next(
            (int(line.split()[1]) * 1024 for line in file if line.startswith("MemAvailable:")), None
        )
    if available is not None and model.manifest.bytes > available:
        raise _unusable(
            model,
            f"needs {model.manifest.bytes // 2**20} MiB of memory, and {available // 2**20} MiB are free",
            "model.memory",
        )


def _copy_sealed(model: Model, source: int) -> int:
    copy = os.memfd_create("govdesk-model", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    digest = crypto.Sha384()
    try:
        done = 0
        while chunk := os.read(source, _COPY_BYTES):
            digest.update(chunk)
            done += len(chunk)
            if done > model.manifest.bytes:
                break
            view = memoryview(chunk)
            while view:
                view = view[os.write(copy, view) :]
        fcntl.fcntl(
            copy,
            fcntl.F_ADD_SEALS,
            fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL,
        )
        if done != model.manifest.bytes or not crypto.same(
            digest.hexdigest().encode(), model.manifest.sha384.encode()
        ):
            raise _unusable(model, "does not have the bytes that were signed", "model.digest")
    except OSError as error:
        os.close(copy)
        raise _unusable(model, f"cannot be read: {error.strerror}", "model.unreadable") from error
    except ModelError:
        os.close(copy)
        raise
    return copy


def _unusable(model: Model, why: str, code: str) -> ModelError:
    return ModelError(
        f"The model file {model.path.name} {why}.",
        code=code,
        kept="It was not loaded. " + _KEPT,
        todo="Fetch it again (`make run`), or ask your administrator for the model package.",
    )
