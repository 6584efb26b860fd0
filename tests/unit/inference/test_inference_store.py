"""Which files are a model's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from govdesk import config
from govdesk.inference import catalogue, machine_memory, store
from govdesk.inference.machine_memory import MachineMemory
from govdesk.inference.manifest import Manifest, read_manifest
from tests.tiny_models import tiny_parts
from tests.unit.inference.manifests import TRUST, refused, write
from tests.unit.inference.workers import small_model


class TestParts:
    @pytest.fixture
    def manifest(self, tmp_path: Path) -> Manifest:
        import hashlib

        parts = ""
        for number, content in enumerate(tiny_parts("llama-spm", 2), 1):
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
        opened = store.open_verified(model)
        read = [os.pread(number, 10**7, 0) for number in opened.descriptors]
        assert read == tiny_parts("llama-spm", 2)
        assert opened.facts.parts == 2
        store.close_all(opened.descriptors)

    def test_one_bad_part_closes_the_others(self, manifest: Manifest, tmp_path: Path) -> None:
        path = tmp_path / "p2.gguf"
        path.write_bytes(path.read_bytes()[:-1] + b"x")
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


@pytest.mark.parametrize("free", [1000, 1_000_000])
def test_what_has_no_room_is_refused_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int
) -> None:
    """Before it is copied when the file alone is too large; after it when there is no room for a context."""
    model = small_model(tmp_path)
    monkeypatch.setattr(machine_memory, "read", lambda: MachineMemory(16 * 2**30, free))
    before = len(os.listdir("/proc/self/fd"))
    error = refused(lambda: store.open_verified(model))
    assert error.code == "model.memory"
    assert "of 16 GB are free" in error.explain()
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_to_do_about_a_damaged_file_depends_on_where_it_came_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_model(tmp_path)
    model.path.write_bytes(model.path.read_bytes() + b"x")
    imported = refused(lambda: store.open_verified(model)).todo
    assert "govdesk model import" in imported
    assert "make run" not in imported
    monkeypatch.setattr(config, "MODELS", tmp_path)
    assert "make run" in refused(lambda: store.open_verified(model)).todo
    model.path.unlink()
    assert "make run" in catalogue.missing(model).todo
    monkeypatch.undo()
    assert "make run" not in catalogue.missing(model).todo
