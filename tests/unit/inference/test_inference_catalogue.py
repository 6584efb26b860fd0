"""The catalogue's rules: which model is approved, which variant is taken, which version is too old."""

from __future__ import annotations

from pathlib import Path

import pytest

from govdesk.app.rules import covers
from govdesk.domain.ids import ModelDigest
from govdesk.inference import catalogue
from govdesk.inference.store import Model
from tests.unit.inference.manifests import ORIGINAL, TRUST, refused, write

NAMED = 'name = "smollm2-135m-instruct"'
RANK = {"Q8_0": 1, "Q4_0": 0, "F16": 0}
"""How well the tests' processor likes each."""


class TestApprovedModel:
    DIGESTS = ("aa" * 48, "bb" * 48)

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        digest = next(line for line in ORIGINAL.splitlines() if line.startswith("sha384"))
        for name, wanted in zip(("first", "second"), self.DIGESTS, strict=True):
            file = ('file = "smollm2-135m-instruct.gguf"', f'file = "{name}.gguf"')
            write(tmp_path, name, (NAMED, f'name = "{name}"'), (digest, f'sha384 = "{wanted}"'), file)
            (tmp_path / f"{name}.gguf").touch()
        return tmp_path

    def approve(
        self, folders: Path | tuple[Path, ...], *approved: str, floors: dict[str, int] | None = None
    ) -> Model:
        folders = (folders,) if isinstance(folders, Path) else folders
        return catalogue.approved_model(
            folders, TRUST, approved, "UNCLASSIFIED", covers, floors=floors, rank=lambda name: RANK[name]
        )

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

    def test_an_older_version_is_refused_with_both_numbers(self, folder: Path) -> None:
        error = refused(lambda: self.approve(folder, self.DIGESTS[0], floors={"first": 3}))
        assert error.code == "model.none-approved"
        assert "version 2; version 3 was here before" in error.explain()
        assert self.approve(folder, *self.DIGESTS, floors={"first": 3}).path.name == "second.gguf"
        assert self.approve(folder, self.DIGESTS[0], floors={"first": 2, "second": 9}).manifest.version == 2

    def test_beside_a_newer_manifest_the_older_one_is_not_used(self, folder: Path, tmp_path: Path) -> None:
        other = tmp_path / "other"
        other.mkdir()
        text = (folder / "first.toml").read_text().replace("version = 2", "version = 3", 1)
        write(other, "first", (self.DIGESTS[0], "cc" * 48), text=text)
        (other / "first.gguf").touch()
        assert self.approve((folder, other), self.DIGESTS[0], "cc" * 48).path.parent == other
        assert self.approve((folder, other), self.DIGESTS[0]).path.parent == folder, (
            "approved alone, it counts"
        )


class TestVariants:
    DIGESTS = ("aa" * 48, "bb" * 48, "cc" * 48)

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        variants = "".join(
            f'[[variant]]\nquantization = "{name}"\n[[variant.file]]\nfile = "{name}.gguf"\nbytes = 1\n'
            f'sha256 = "{0:064x}"\nsha384 = "{digest}"\n'
            for name, digest in zip(("Q8_0", "F16", "Q4_0"), self.DIGESTS, strict=True)
        )
        head, _, rest = ORIGINAL.partition("[[variant]]")
        write(tmp_path, text=head + variants + "[[source]]" + rest.partition("[[source]]")[2])
        for name in ("Q8_0", "F16", "Q4_0"):
            (tmp_path / f"{name}.gguf").touch()
        return tmp_path

    def chosen(self, folder: Path, *approved: str) -> str:
        model = catalogue.approved_model(
            (folder,), TRUST, approved, "UNCLASSIFIED", covers, rank=lambda name: RANK[name]
        )
        return model.variant.quantization

    def test_the_processors_choice_wins_and_of_equals_the_signers(self, folder: Path) -> None:
        first, second, third = self.DIGESTS
        assert self.chosen(folder, first, second, third) == "F16"
        assert self.chosen(folder, third, second, first) == "F16"
        assert self.chosen(folder, first, third) == "Q4_0"

    def test_what_is_not_approved_or_not_there_is_not_chosen(self, folder: Path) -> None:
        assert self.chosen(folder, self.DIGESTS[0]) == "Q8_0"
        (folder / "F16.gguf").unlink()
        assert self.chosen(folder, *self.DIGESTS) == "Q4_0"
        (folder / "Q4_0.gguf").unlink()
        assert self.chosen(folder, *self.DIGESTS) == "Q8_0"
