"""A manifest is read only when somebody whom this workstation trusts has signed every byte of it.

Schema 2 describes a model by its variants (one for each quantisation), each of one file or several in
order; schema 1, with one file, is still read. After the signature the shape is checked as strictly as if it
were not signed: a signer makes mistakes too.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from tomllib import TOMLDecodeError, loads
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from govdesk import crypto
from govdesk.domain.ids import ModelDigest
from govdesk.errors import ModelError
from govdesk.inference.gguf import MAX_PARTS

MANIFEST_CONTEXT = b"govdesk model manifest v1"
"""Context string of the manifests' ML-DSA-87 signatures."""
MANIFEST_SCHEMA = 2
SUFFIX = ".toml"
SIGNATURE_SUFFIX = ".sig"
MAX_MANIFEST_BYTES = 256 * 1024
MAX_TEMPLATE_CHARACTERS = 128 * 1024
MAX_FILE_BYTES = 2**44
_SPLIT_CONTEXT = b"govdesk split model v1\n"
_KEPT = "Your conversations are unchanged."
_BESIDE = "The manifest (NAME.toml) and its signature (NAME.toml.sig) lie beside each other as plain files."

Name = Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9._-]{0,63}\Z")]
"""Of a model: names its manifest's file too, so it can lead nowhere else."""
FileName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,127}\.gguf\Z")]
Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
Sha384 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{96}\Z")]
Size = Annotated[int, Meta(ge=1, le=MAX_FILE_BYTES)]
Word = Annotated[str, Meta(min_length=1, max_length=64)]
Line = Annotated[str, Meta(max_length=2000)]
Version = Annotated[int, Meta(ge=1, le=2**31)]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base: frozen, unknown keys refused."""


class Source(_Part, frozen=True):
    """One package that carries the file, or the next part of it."""

    package: Word
    version: Word
    wheel_sha256: Sha256
    member: Line


class Build(_Part, frozen=True):
    """What the packages carry is the source of the file, which the set-up converts."""

    from_bytes: Size
    from_sha256: Sha256
    to: Word
    converter: Version


class ModelFile(_Part, frozen=True):
    """One file. Size in bytes, digests in lower-case hexadecimal."""

    file: FileName
    bytes: Size
    sha256: Sha256
    sha384: Sha384


class Variant(_Part, frozen=True):
    """The model in one quantisation; several files are the parts of a split GGUF, in order."""

    quantization: Word
    files: Annotated[tuple[ModelFile, ...], Meta(min_length=1, max_length=MAX_PARTS)] = msgspec.field(
        name="file"
    )

    @property
    def digest(self) -> ModelDigest:
        """What policies approve.

        The SHA-384 of the one file; of several, the SHA-384 over a line that says so and their raw SHA-384 in
        order.
        """
        if len(self.files) == 1:
            return ModelDigest(self.files[0].sha384)
        parts = b"".join(bytes.fromhex(part.sha384) for part in self.files)
        return ModelDigest(crypto.sha384(_SPLIT_CONTEXT + parts).hex())

    @property
    def bytes(self) -> int:
        """Size of all its files."""
        return sum(part.bytes for part in self.files)


class Manifest(_Part, frozen=True):
    """The signed description of one model, its variants in the signer's order of preference."""

    schema: Literal[1, 2]
    name: Name
    title: Annotated[str, Meta(min_length=1, max_length=120)]
    version: Version
    license: Word
    provenance: Line
    shipped: bool
    architecture: Word
    context_tokens: Annotated[int, Meta(ge=1, le=2**24)]
    template_sha384: Annotated[str, Meta(pattern=r"\A([0-9a-f]{96})?\Z")]
    """Of the file's own chat template, or of `template` where there is one; empty: it has none."""
    roles: Annotated[tuple[Word, ...], Meta(max_length=16)]
    highest_marking: Annotated[str, Meta(min_length=1, max_length=500)]
    variants: Annotated[tuple[Variant, ...], Meta(min_length=1, max_length=16)] = msgspec.field(
        name="variant"
    )
    license_text: Line = ""
    """Where the licence can be read, in words or as a file's name."""
    template: Annotated[str, Meta(max_length=MAX_TEMPLATE_CHARACTERS)] = ""
    """A chat template to use in place of the file's."""
    draft: Annotated[str, Meta(pattern=r"\A([a-z0-9][a-z0-9._-]{0,63})?\Z")] = ""
    """Name of the manifest of a small model that may guess ahead for this one."""
    source: Annotated[tuple[Source, ...], Meta(max_length=64)] = ()
    """How to obtain the first variant's file: GovDesk's set-up only."""
    build: Build | None = None


class _Schema1(_Part, frozen=True):
    """A manifest from before there were variants."""

    schema: Literal[1]
    name: Name
    title: str
    version: Version
    license: str
    provenance: str
    shipped: bool
    file: FileName
    bytes: Size
    sha256: Sha256
    sha384: Sha384
    architecture: str
    quantization: str
    context_tokens: int
    template_sha384: str
    roles: tuple[str, ...]
    highest_marking: str
    source: tuple[Source, ...] = ()


def signature_path(path: Path) -> Path:
    """Where the signature of a manifest is."""
    return path.with_name(path.name + SIGNATURE_SUFFIX)


def read_manifest(path: Path, trust_roots: tuple[str, ...]) -> Manifest:
    """A manifest whose signature checks under one of the trust roots.

    Raises:
        ModelError: unreadable, too large, not signed by us, of a newer schema or of a wrong shape.
    """
    return decode(path.name, read_bounded(path), read_bounded(signature_path(path)), trust_roots)


def decode(name: str, signed: bytes, signature: bytes, trust_roots: tuple[str, ...]) -> Manifest:
    """A manifest out of bytes that were read before; see `read_manifest`.

    Args:
        name: of the file, for words.
        signed: the manifest.
        signature: raw ML-DSA-87.
        trust_roots: public keys (PEM).
    """
    if signer(signed, signature, trust_roots) is None:
        raise ModelError(
            f"The manifest {name} is not signed by a key that this workstation trusts.",
            code="model.manifest-signature",
            kept=_KEPT,
            todo="Ask whoever gave you the model for a package that is signed for this workstation.",
        )
    try:
        fields = loads(signed.decode("utf-8"))
        schema = msgspec.convert(fields.get("schema"), int)
        if schema > MANIFEST_SCHEMA:
            raise ModelError(
                f"The manifest {name} has schema {schema}; this GovDesk reads {MANIFEST_SCHEMA}.",
                code="model.manifest-newer",
                kept=_KEPT,
                todo="Install a newer GovDesk, or the model package made for this one.",
            )
        manifest = msgspec.convert(_with_variants(fields) if schema == 1 else fields, Manifest)
    except (UnicodeDecodeError, TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise _misshapen(name, "has a wrong shape") from error
    _require_consistent(name, manifest)
    return manifest


def signer(signed: bytes, signature: bytes, trust_roots: tuple[str, ...]) -> str | None:
    """The trust root (PEM) under which a manifest's signature checks."""
    return next((root for root in trust_roots if _checks(root, signature, signed)), None)


def read_bounded(path: Path, folder: int | None = None) -> bytes:
    """A small regular file, whole; what lies on removable media may be anything.

    Args:
        path: the file; its name alone counts when a folder is given.
        folder: descriptor of the folder it is in.

    Raises:
        ModelError: a link, a device, a pipe, unreadable, or too large for a manifest.
    """
    flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path if folder is None else path.name, flags, dir_fd=folder)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ModelError(
                    f"{path.name} is not a regular file.", code="model.not-a-file", kept=_KEPT, todo=_BESIDE
                )
            read = file.read(MAX_MANIFEST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no name"
        raise ModelError(
            f"The manifest {path.name} cannot be read: {why}.",
            code="model.manifest",
            kept=_KEPT,
            todo=_BESIDE,
        ) from error
    if len(read) > MAX_MANIFEST_BYTES:
        raise ModelError(
            f"The file {path.name} is too large for what it should be.",
            code="model.manifest-size",
            kept=_KEPT,
            todo=_BESIDE,
        )
    return read


def _with_variants(fields: dict[str, Any]) -> dict[str, Any]:
    """Schema 1 as the one variant it describes."""
    old = msgspec.to_builtins(msgspec.convert(fields, _Schema1))
    file = {key: old.pop(key) for key in ("file", "bytes", "sha256", "sha384")}
    variant = {"quantization": old.pop("quantization"), "file": (file,)}
    return {**old, "variant": (variant,)}


def _require_consistent(name: str, manifest: Manifest) -> None:
    files = [part.file for variant in manifest.variants for part in variant.files]
    if len(set(files)) != len(files):
        raise _misshapen(name, "names a file twice")
    if (
        manifest.template
        and crypto.sha384(manifest.template.encode("utf-8")).hex() != manifest.template_sha384
    ):
        raise _misshapen(name, "has a chat template that is not the one its hash names")
    if manifest.draft == manifest.name:
        raise _misshapen(name, "names itself as its draft model")


def _misshapen(name: str, why: str) -> ModelError:
    return ModelError(
        f"The manifest {name} {why}.",
        code="model.manifest-shape",
        kept=_KEPT,
        todo="Ask whoever signed it for a corrected one.",
    )


def _checks(root: str, signature: bytes, signed: bytes) -> bool:
    try:
        crypto.verify(root, signature, signed, context=MANIFEST_CONTEXT)
    except crypto.CryptoError:
        return False
    return True
