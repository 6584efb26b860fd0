"""Two versions of one model: which is meant, shown, checked and removed; what is too old can still go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from govdesk.domain.models import Answers, Checked, ModelState, Which
from govdesk.errors import GovDeskError, ModelError, UsageError
from govdesk.inference import installed
from govdesk.inference.importing import import_package
from govdesk.inference.media import Package
from govdesk.inference.shelf import Shelf
from tests.packages import PUBLIC, Medium, one, shelf, split


def bring(medium: Medium, here: Shelf, quantization: str = "") -> None:
    with Package(medium.folder, (PUBLIC,)) as package:
        variants = here.importable(package, quantization)
        import_package(package, here.own, variants, lambda _: None, lambda: False)
        here.accept(package.manifest)


def refused(act: Callable[[], object]) -> GovDeskError:
    with pytest.raises(GovDeskError) as caught:
        act()
    assert caught.value.kept
    return caught.value


def folders(own: Path) -> set[str]:
    return {path.name for path in own.iterdir() if path.is_dir()}


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def old(tmp_path: Path) -> Medium:
    return Medium(tmp_path / "nine", version=9).write()


@pytest.fixture
def new(tmp_path: Path) -> Medium:
    """Version 10: as a text it comes before version 9."""
    return Medium(tmp_path / "ten", {"F16": one(5)}, version=10).write()


class TestTwoVersions:
    """Version 9 is approved; version 10 was imported and waits for its approval."""

    @pytest.fixture
    def here(self, own: Path, old: Medium, new: Medium) -> Shelf:
        made = shelf(own, old.digest())
        bring(old, made)
        bring(new, made)
        assert made.choose().manifest.version == 9
        return made

    def test_a_name_alone_is_refused_with_the_versions(self, here: Shelf) -> None:
        for act in (
            lambda: here.find(Which("tiny")),
            lambda: here.model_details(Which("tiny")),
            lambda: here.verify(Which("tiny"), lambda _: None, lambda: False),
            lambda: here.removable(Which("tiny"), ""),
        ):
            error = refused(act)
            assert isinstance(error, UsageError)
            assert error.code == "model.several-versions"
            assert "9 and 10" in error.what
            assert "--version 10" in error.todo

    @pytest.mark.parametrize("version", [9, 10])
    def test_the_version_that_is_named_is_shown_and_checked(
        self, here: Shelf, own: Path, version: int
    ) -> None:
        which = Which("tiny", version)
        assert here.model_details(which).line.version == version
        checked = here.verify(which, lambda _: None, lambda: False)
        assert checked.version == version
        assert [Path(file.file).parent for file in checked.files] == [own / f"tiny-{version}"]

    def test_the_one_that_waits_goes_while_the_other_is_loaded(
        self, here: Shelf, own: Path, old: Medium, new: Medium
    ) -> None:
        assert refused(lambda: here.removable(Which("tiny", 9), old.digest())).code == "model.in-use"
        installed.remove(here.removable(Which("tiny", 10), old.digest()))
        assert folders(own) == {"tiny-9"}
        assert here.choose().digest == old.digest()

    def test_a_version_that_is_not_here_is_said_beside_those_that_are(self, here: Shelf) -> None:
        error = refused(lambda: here.find(Which("tiny", 3)))
        assert error.code == "model.none"
        assert "version 3" in error.what
        assert "9 and 10" in error.what


def test_a_version_that_lost_to_a_later_one_is_listed_as_such_and_can_go(
    tmp_path: Path, own: Path, old: Medium, new: Medium
) -> None:
    before = shelf(own, old.digest())
    bring(old, before)
    bring(new, before)
    here = shelf(own, old.digest(), new.digest())  # the administrator approved it meanwhile
    assert here.choose().manifest.version == 10
    states = {line.version: line.state for line in here.models().models}
    assert states == {9: ModelState.OLDER, 10: ModelState.READY}
    assert here.models().refused == ()
    line = here.model_details(Which("tiny", 9)).line
    assert line.state is ModelState.OLDER
    assert "version 9; version 10 was here before" in line.why
    assert here.model_details(Which("tiny")).line.version == 10, "what is not used is not what is meant"
    installed.remove(here.removable(Which("tiny", 9), new.digest()))
    assert folders(own) == {"tiny-10"}


def test_a_version_whose_manifest_is_not_believed_any_more_can_go(own: Path, old: Medium) -> None:
    here = shelf(own, old.digest())
    bring(old, here)
    signature = own / "tiny-9" / "tiny.toml.sig"
    signature.write_bytes(b"")
    (line,) = here.models().refused
    assert line.code == "model.manifest-signature"
    assert installed.remove(here.removable(Which("tiny"), "")) > len(old.variants["F16"][0])
    assert folders(own) == set()


def test_only_what_an_import_made_is_removed(tmp_path: Path, own: Path, old: Medium) -> None:
    other = Medium(tmp_path / "other", name="tiny-9").write()
    here = shelf(own, old.digest(), shipped=Medium(tmp_path / "shipped", {"F16": one(4)}).write().folder)
    bring(old, here)
    bring(other, here)
    assert folders(own) == {"tiny-9", "tiny-9-1"}
    assert [one.folder.name for one in installed.versions(own, "tiny-9")] == ["tiny-9-1"]
    assert [one.folder.name for one in installed.versions(own, "tiny")] == ["tiny-9"]
    for name in ("*", "../models/tiny", "tiny-", ""):
        assert installed.versions(own, name) == ()
        assert isinstance(refused(lambda name=name: here.removable(Which(name), "")), UsageError)
    (own / "tiny-7").symlink_to(tmp_path / "shipped")
    assert [one.version for one in installed.versions(own, "tiny")] == [9]
    by_hand = Medium(own, {"F16": one(6)}, name="hand").write()
    error = refused(lambda: here.removable(Which(by_hand.name), ""))
    assert isinstance(error, ModelError)
    assert error.code == "model.place", "the folder with everybody's models is not one version's"


def test_the_shipped_version_and_the_imported_one(tmp_path: Path, own: Path, new: Medium) -> None:
    shipped = Medium(tmp_path / "shipped", version=9).write()
    here = shelf(own, shipped.digest(), shipped=shipped.folder)
    bring(new, here)
    assert here.model_details(Which("tiny", 9, imported=False)).line.imported is False
    assert refused(lambda: here.removable(Which("tiny", 9), "")).code == "model.shipped"
    assert refused(lambda: here.removable(Which("tiny", 10, imported=False), "")).code == "model.none"
    assert here.removable(Which("tiny"), "").version == 10, "only one can be removed"


def test_a_check_looks_at_what_was_imported_and_names_the_rest(tmp_path: Path, own: Path) -> None:
    medium = Medium(tmp_path / "medium", {"F16": one(1), "F32": split(2), "BF16": one(3)}).write()
    here = shelf(own, medium.digest())

    def check() -> Checked:
        return here.verify(Which("tiny"), lambda _: None, lambda: False)

    bring(medium, here, "F32")
    checked = check()
    assert (len(checked.files), checked.unsound) == (2, 0)
    assert checked.not_imported == ("F16", "BF16")
    (own / "tiny-1" / medium.file("F32", 1).name).unlink()
    checked = check()
    assert [file.sound for file in checked.files] == [True, False], "a part that is missing is missing"
    (own / "tiny-1" / medium.file("F32").name).unlink()
    assert check().unsound == 1, "where nothing is left, something is wrong"


class TestAnUpdateLeavesAModel:
    def test_one_that_may_not_see_what_is_here_takes_nothings_place(self, tmp_path: Path, own: Path) -> None:
        old = Medium(tmp_path / "old", version=1, marking="SECRET").write()
        new = Medium(tmp_path / "new", {"F16": one(5)}, version=2, marking="UNCLASSIFIED").write()
        here = shelf(own, old.digest(), new.digest(), system_high="SECRET")
        bring(old, here)
        bring(new, here)
        assert folders(own) == {"tiny-1", "tiny-2"}
        assert here.floors.read() == {"tiny": 1}
        assert here.choose().digest == old.digest()
        states = {line.version: line.state for line in here.models().models}
        assert states == {1: ModelState.READY, 2: ModelState.MARKING}
        bring(old, here)  # and it is no newer version either

    def test_one_whose_approved_format_did_not_come_takes_nothings_place(
        self, tmp_path: Path, own: Path
    ) -> None:
        old = Medium(tmp_path / "old", version=1).write()
        new = Medium(tmp_path / "new", {"F16": one(5), "F32": one(6)}, version=2).write()
        here = shelf(own, old.digest(), new.digest("F16"))
        bring(old, here)
        bring(new, here, "F32")
        assert here.choose().digest == old.digest()
        bring(new, here, "F16")
        assert here.choose().digest == new.digest("F16")
        assert folders(own) == {"tiny-2"}


class TestWhatAnswers:
    def test_after_an_import_it_is_what_is_loaded_until_the_next_start(
        self, tmp_path: Path, own: Path
    ) -> None:
        shipped = Medium(tmp_path / "shipped", version=1).write()
        new = Medium(tmp_path / "new", {"F16": one(5)}, version=2).write()
        here = shelf(own, shipped.digest(), new.digest(), shipped=shipped.folder)

        def answers(loaded: str) -> dict[int, Answers]:
            return {line.version: line.answers for line in here.models(loaded).models}

        assert answers(shipped.digest()) == {1: Answers.NOW}
        bring(new, here)
        assert answers(shipped.digest()) == {1: Answers.STILL, 2: Answers.NEXT}
        assert answers(new.digest()) == {1: Answers.NO, 2: Answers.NOW}
        assert answers("") == {1: Answers.NO, 2: Answers.NOW}
        (line,) = here.lines("tiny", 2, shipped.digest())
        assert line.answers is Answers.NEXT
        assert here.model_details(Which("tiny", 2), loaded=shipped.digest()).line.answers is Answers.NEXT

    def test_of_two_copies_one_answers(self, tmp_path: Path, own: Path) -> None:
        shipped = Medium(tmp_path / "shipped").write()
        here = shelf(own, shipped.digest(), shipped=shipped.folder)
        bring(shipped, here)
        found = {line.imported: line.answers for line in here.models(shipped.digest()).models}
        assert found == {False: Answers.NOW, True: Answers.NO}


def test_of_several_formats_the_one_that_answers_is_shown_and_a_missing_file_is_not_judged(
    tmp_path: Path, own: Path
) -> None:
    medium = Medium(tmp_path / "medium", {"BF16": one(1), "F16": one(2), "F32": one(3)}).write()
    medium.file("BF16").unlink()
    here = shelf(own, medium.digest("F32"))
    bring(medium, here)
    details = here.model_details(Which("tiny"))
    assert (details.line.quantization, details.template_as_signed) == ("F32", True)
    waiting = shelf(own)
    assert waiting.model_details(Which("tiny")).line.quantization == "F16", "none answers; this one is here"
    missing = here.model_details(Which("tiny"), "BF16")
    assert missing.line.state is ModelState.MISSING
    assert missing.template_as_signed is None
    assert missing.file_problem == ""
    (own / "tiny-1" / medium.file("F32").name).write_bytes(b"GGUF")
    assert here.model_details(Which("tiny"), "F32").template_as_signed is None


def test_a_template_that_is_not_the_signed_one_is_judged(tmp_path: Path, own: Path) -> None:
    medium = Medium(tmp_path / "shipped", template_sha384="00" * 48).write()
    here = shelf(own, medium.digest(), shipped=medium.folder)
    assert here.model_details(Which("tiny")).template_as_signed is False
    medium.template_sha384 = ""
    medium.write()
    assert here.model_details(Which("tiny")).template_as_signed is False
