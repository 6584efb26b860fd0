"""Signed model packages of tiny models, as they lie on a medium; and a shelf to import them into."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from govdesk import crypto
from govdesk.app.rules import covers
from govdesk.inference.catalogue import Rules
from govdesk.inference.formats import Cpu
from govdesk.inference.manifest import MANIFEST_CONTEXT
from govdesk.inference.shelf import Shelf
from tests.tiny_models import TEMPLATE, tiny_bytes, tiny_parts

PRIVATE, PUBLIC = crypto.new_signing_key()
STRANGER, _ = crypto.new_signing_key()
NAME = "tiny"
CPU = Cpu("x86_64", frozenset({"avx", "avx2", "f16c"}))


def one(seed: int = 1) -> tuple[bytes, ...]:
    """A model of one file."""
    return (tiny_bytes("llama-bpe", seed=seed),)


def split(parts: int = 2) -> tuple[bytes, ...]:
    """A model of several."""
    return tuple(tiny_parts("llama-spm", parts))


@dataclass
class Medium:
    """A folder with a manifest, its signature and files; made anew by `write`."""

    folder: Path
    variants: dict[str, tuple[bytes, ...]] = field(default_factory=lambda: {"F16": one()})
    version: int = 1
    name: str = NAME
    marking: str = "UNCLASSIFIED"
    architecture: str = "llama"
    template: str = ""
    template_sha384: str = crypto.sha384(TEMPLATE.encode()).hex()
    private: str = PRIVATE

    @property
    def manifest(self) -> Path:
        return self.folder / f"{self.name}.toml"

    @property
    def signature(self) -> Path:
        return self.folder / f"{self.name}.toml.sig"

    def file(self, quantization: str = "F16", part: int = 0) -> Path:
        return self.folder / f"{self.name}-{quantization}-{part + 1}.gguf"

    def digest(self, quantization: str = "F16") -> str:
        digests = [hashlib.sha384(content).hexdigest() for content in self.variants[quantization]]
        if len(digests) == 1:
            return digests[0]
        joined = b"".join(bytes.fromhex(digest) for digest in digests)
        return hashlib.sha384(b"govdesk split model v1\n" + joined).hexdigest()

    def write(self) -> Medium:
        self.folder.mkdir(parents=True, exist_ok=True)
        text = f"""schema = 2
name = "{self.name}"
title = "Tiny {self.name}"
version = {self.version}
license = "CC0-1.0"
provenance = "made by a test"
shipped = false
architecture = "{self.architecture}"
context_tokens = 2048
template_sha384 = "{self.template_sha384}"
roles = ["user", "assistant"]
highest_marking = "{self.marking}"
"""
        if self.template:
            text += f"template = '''{self.template}'''\n"
        for quantization, contents in self.variants.items():
            text += f'[[variant]]\nquantization = "{quantization}"\n'
            for part, content in enumerate(contents):
                path = self.file(quantization, part)
                path.write_bytes(content)
                text += (
                    f'[[variant.file]]\nfile = "{path.name}"\nbytes = {len(content)}\n'
                    f'sha256 = "{hashlib.sha256(content).hexdigest()}"\n'
                    f'sha384 = "{hashlib.sha384(content).hexdigest()}"\n'
                )
        self.manifest.write_text(text)
        self.sign()
        return self

    def sign(self, context: bytes = MANIFEST_CONTEXT) -> None:
        signed = crypto.sign(self.private, self.manifest.read_bytes(), context=context)
        self.signature.write_bytes(signed)


def shelf(own: Path, *approved: str, system_high: str = "UNCLASSIFIED", shipped: Path | None = None) -> Shelf:
    """The models of a profile that trusts the tests' key."""
    rules = Rules((PUBLIC,), approved, system_high, covers)
    return Shelf(shipped or own.with_name("shipped"), own, rules, CPU)
