"""Which headers make sense, and which files are a model's."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest

from govdesk.inference import store
from govdesk.inference.manifest import Manifest, read_manifest
from tests.unit.inference.manifests import TRUST, refused, write
from tests.unit.inference.workers import small_model

PATH = Path("a.gguf")


def header(magic: bytes = b"GGUF", version: int = 3, tensors: int = 1, keys: int = 1) -> bytes:
    return struct.pack("<4sIQQ", magic, version, tensors, keys)


class TestHeader:
    @pytest.mark.parametrize("good", [header(), header(version=2), header(tensors=65_536, keys=65_536)])
    def test_a_header_that_makes_sense_passes(self, good: bytes) -> None:
        store._check_header(PATH, good)

    @pytest.mark.parametrize(
        "bad", [b"", b"GGUF", header()[:-1], header(magic=b"GGML"), header(magic=b"FUGG")]
    )
    def test_what_is_no_gguf_is_refused(self, bad: bytes) -> None:
        assert refused(lambda: store._check_header(PATH, bad)).code == "model.not-gguf"

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
    def test_a_header_that_makes_no_sense_is_refused(self, bad: bytes) -> None:
        assert refused(lambda: store._check_header(PATH, bad)).code == "model.header"


class TestParts:
    CONTENT = header()

    @pytest.fixture
    def manifest(self, tmp_path: Path) -> Manifest:
        import hashlib

        parts = ""
        for number in (1, 2):
            content = self.CONTENT + bytes([number])
            (tmp_path / f"p{number}.gguf").write_bytes(content)
            parts += (
                f'[[variant.file]]\nfile = "p{number}.gguf"\nbytes = {len(content)}\n'
                f'sha256 = "{0:064x}"\nsha384 = "{hashlib.sha384(content).hexdigest()}"\n'
            )
        path = write(
            tmp_path, "model", ("[[source]]", f'[[variant]]\nquantization = "F16"\n{parts}[[source]]')
        )
        return read_manifest(path, TRUST)

    def test_a_split_model_is_opened_in_order(self, manifest: Manifest, tmp_path: Path) -> None:
        model = store.models_of(manifest, tmp_path)[1]
        assert [path.name for path in model.paths] == ["p1.gguf", "p2.gguf"]
        descriptors = store.open_verified(model)
        assert [os.pread(number, 100, 0)[-1] for number in descriptors] == [1, 2]
        store.close_all(descriptors)

    def test_one_bad_part_closes_the_others(self, manifest: Manifest, tmp_path: Path) -> None:
        (tmp_path / "p2.gguf").write_bytes(self.CONTENT + b"x")
        before = len(os.listdir("/proc/self/fd"))
        error = refused(lambda: store.open_verified(store.models_of(manifest, tmp_path)[1]))
        assert error.code == "model.digest"
        assert "p2.gguf" in error.explain()
        assert len(os.listdir("/proc/self/fd")) == before

    def test_missing_parts_are_named(self, manifest: Manifest, tmp_path: Path) -> None:
        model = store.models_of(manifest, tmp_path)[1]
        assert model.missing == ()
        (tmp_path / "p2.gguf").unlink()
        assert [path.name for path in model.missing] == ["p2.gguf"]


def test_a_file_of_another_size_is_not_even_copied(tmp_path: Path) -> None:
    model = small_model(tmp_path)
    model.path.write_bytes(model.path.read_bytes() + b"x")
    assert refused(lambda: store.open_verified(model)).code == "model.size"
