"""What an import leaves, step by step: whole, resumable, or nothing."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from govdesk.domain.models import ImportProgress, ModelState, Which
from govdesk.errors import DiskFullError, GovDeskError, UnreadableError, UsageError
from govdesk.inference import importing, installed, media, staging
from govdesk.inference.importing import ImportStopped, import_package
from govdesk.inference.media import MAX_ENTRIES, Package
from govdesk.inference.shelf import Shelf
from tests.packages import PUBLIC, Medium, one, shelf, split
from tests.tiny_models import tiny_bytes

TRUST = (PUBLIC,)


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "PIECE_BYTES", 16 * 1024)
    monkeypatch.setattr(importing, "_TELL_SECONDS", 0.0)


@pytest.fixture
def medium(tmp_path: Path) -> Medium:
    return Medium(tmp_path / "medium").write()


@pytest.fixture
def own(tmp_path: Path) -> Path:
    return tmp_path / "models"


def bring(
    medium: Medium,
    here: Shelf,
    quantization: str = "",
    watch: Callable[[ImportProgress], None] = lambda _: None,
    stopped: Callable[[], bool] = lambda: False,
) -> int:
    with Package(medium.folder, TRUST) as package:
        variants = here.importable(package, quantization)
        copied = import_package(package, here.own, variants, watch, stopped)
        here.accept(package.manifest)
        return copied


def visible(own: Path) -> set[str]:
    return {
        str(path.relative_to(own))
        for path in own.rglob("*")
        if path.is_file() and path.name != "versions.json"
    }


def partial(medium: Medium, own: Path, file: Path | None = None) -> Path:
    return own / f".tiny-{medium.version}.partial" / f"{(file or medium.file()).name}.partial"


def refused(act: Callable[[], object]) -> GovDeskError:
    with pytest.raises(GovDeskError) as caught:
        act()
    assert caught.value.kept
    return caught.value


class TestWhole:
    def test_it_is_there_and_answers(self, medium: Medium, own: Path) -> None:
        here = shelf(own, medium.digest())
        assert bring(medium, here) == len(medium.variants["F16"][0])
        assert visible(own) == {f"tiny-1/{path.name}" for path in medium.folder.iterdir()}
        (line,) = here.models().models
        assert (line.state, line.imported, line.chosen) == (ModelState.READY, True, True)
        assert here.choose().path == own / "tiny-1" / medium.file().name

    def test_without_approval_it_is_imported_and_said(self, medium: Medium, own: Path) -> None:
        here = shelf(own)
        bring(medium, here)
        (line,) = here.models().models
        assert line.state is ModelState.NOT_APPROVED
        assert "set by your organisation" in line.why
        assert not here.floors.read()

    def test_a_split_model_and_several_variants(self, tmp_path: Path, own: Path) -> None:
        medium = Medium(tmp_path / "medium", {"F16": split(3), "F32": split(2)}).write()
        here = shelf(own, medium.digest("F16"), medium.digest("F32"))
        bring(medium, here)
        assert [line.state for line in here.models().models] == [ModelState.READY] * 2
        assert [len(line.files) for line in here.models().models] == [3, 2]

    def test_one_variant_and_later_the_other(self, tmp_path: Path, own: Path) -> None:
        medium = Medium(tmp_path / "medium", {"F16": one(1), "F32": one(2)}).write()
        here = shelf(own, medium.digest("F16"), medium.digest("F32"))
        bring(medium, here, "F32")
        states = {line.quantization: line.state for line in here.models().models}
        assert states == {"F16": ModelState.MISSING, "F32": ModelState.READY}
        assert bring(medium, here) == len(medium.variants["F16"][0]), "the other is only looked at"
        assert [line.state for line in here.models().models] == [ModelState.READY] * 2
        assert [path.name for path in own.iterdir() if path.name.startswith(".")] == []

    def test_again_copies_nothing_and_mends_what_is_damaged(self, medium: Medium, own: Path) -> None:
        here = shelf(own, medium.digest())
        bring(medium, here)
        assert bring(medium, here) == 0
        file = own / "tiny-1" / medium.file().name
        file.write_bytes(b"x" * file.stat().st_size)
        assert bring(medium, here) == file.stat().st_size
        assert file.read_bytes() == medium.variants["F16"][0]

    def test_progress_only_goes_forward_and_reaches_the_end(self, medium: Medium, own: Path) -> None:
        told: list[ImportProgress] = []
        bring(medium, shelf(own), watch=told.append)
        assert len(told) > 5
        assert [one.done_bytes for one in told] == sorted(one.done_bytes for one in told)
        assert told[-1].percent == 100
        assert {one.doing for one in told} == {"copying"}


class TestVersions:
    def test_an_older_one_is_refused_with_both_numbers_even_after_removal(
        self, tmp_path: Path, own: Path
    ) -> None:
        new = Medium(tmp_path / "new", version=3).write()
        old = Medium(tmp_path / "old", {"F16": one(5)}, version=2).write()
        here = shelf(own, new.digest(), old.digest())
        bring(new, here)
        installed.remove(here.removable(Which("tiny"), ""))
        error = refused(lambda: bring(old, here))
        assert error.code == "model.older"
        assert "version 2; version 3 was here before" in error.explain()
        assert visible(own) == set()

    def test_an_approved_newer_one_takes_the_place_of_the_older(self, tmp_path: Path, own: Path) -> None:
        old = Medium(tmp_path / "old", version=2).write()
        new = Medium(tmp_path / "new", {"F16": one(5)}, version=3).write()
        here = shelf(own, old.digest(), new.digest())
        bring(old, here)
        bring(new, here)
        assert {name.split("/")[0] for name in visible(own)} == {"tiny-3"}
        assert here.floors.read() == {"tiny": 3}

    def test_a_newer_one_that_is_not_approved_takes_nothing_away(self, tmp_path: Path, own: Path) -> None:
        old = Medium(tmp_path / "old", version=2).write()
        new = Medium(tmp_path / "new", {"F16": one(5)}, version=3).write()
        here = shelf(own, old.digest())
        bring(old, here)
        bring(new, here)
        assert here.choose().manifest.version == 2
        bring(old, here)

    def test_the_same_version_with_another_manifest_is_refused(
        self, tmp_path: Path, medium: Medium, own: Path
    ) -> None:
        here = shelf(own, medium.digest())
        bring(medium, here)
        other = Medium(tmp_path / "other", {"F16": one(7)}).write()
        assert refused(lambda: bring(other, here)).code == "model.same-version"
        assert here.choose().digest == medium.digest()

    def test_a_version_that_is_in_use_is_remembered(self, tmp_path: Path, own: Path) -> None:
        medium = Medium(tmp_path / "shipped", version=4).write()
        here = shelf(own, medium.digest(), shipped=medium.folder)
        here.choose()
        older = Medium(tmp_path / "old", {"F16": one(5)}, version=3).write()
        again = shelf(own, older.digest(), shipped=older.folder)
        assert refused(again.choose).code == "model.none-approved"

    @pytest.mark.parametrize(
        "content", [b"", b"{", b"[]", b'{"versions":{"x":-1}}', b'{"versions":{"../x":1}}', b"\xff"]
    )
    def test_versions_that_cannot_be_read_stop_everything(
        self, medium: Medium, own: Path, content: bytes
    ) -> None:
        own.mkdir()
        (own / "versions.json").write_bytes(content)
        here = shelf(own, medium.digest(), shipped=medium.folder)
        assert refused(here.choose).code == "model.versions"


class TestStopped:
    def test_what_was_copied_is_kept_and_used(self, medium: Medium, own: Path) -> None:
        here = shelf(own, medium.digest())
        seen: list[ImportProgress] = []
        error = refused(lambda: bring(medium, here, watch=seen.append, stopped=lambda: len(seen) >= 4))
        assert isinstance(error, ImportStopped)
        assert "goes on from there" in error.explain()
        kept = partial(medium, own).stat().st_size
        assert kept == 4 * 16 * 1024
        assert here.models().models == ()
        told: list[ImportProgress] = []
        assert bring(medium, here, watch=told.append) == len(medium.variants["F16"][0]) - kept
        assert [one.doing for one in told][:4] == ["checking what was copied before"] * 4
        assert here.choose().digest == medium.digest()

    @pytest.mark.parametrize("damage", ["flip", "longer", "other", "link"])
    def test_what_was_copied_is_not_believed(
        self, medium: Medium, own: Path, tmp_path: Path, damage: str
    ) -> None:
        here = shelf(own, medium.digest())
        seen: list[ImportProgress] = []
        refused(lambda: bring(medium, here, watch=seen.append, stopped=lambda: len(seen) >= 4))
        left = partial(medium, own)
        content = left.read_bytes()
        if damage == "flip":
            left.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        elif damage == "longer":
            left.write_bytes(content + b"x" * 10**6)
        elif damage == "other":
            left.write_bytes(b"x" * len(medium.variants["F16"][0]))
        else:
            left.unlink()
            left.symlink_to(tmp_path / "elsewhere")
            assert refused(lambda: bring(medium, here)).code == "model.not-writable"
            assert not (tmp_path / "elsewhere").exists()
            return
        bring(medium, here)
        assert here.choose().digest == medium.digest()
        assert (own / "tiny-1" / medium.file().name).read_bytes() == medium.variants["F16"][0]

    def test_what_another_package_left_is_not_used(self, tmp_path: Path, medium: Medium, own: Path) -> None:
        other = Medium(tmp_path / "other", {"F16": one(9)}).write()
        seen: list[ImportProgress] = []
        refused(lambda: bring(other, shelf(own), watch=seen.append, stopped=lambda: len(seen) >= 2))
        told: list[ImportProgress] = []
        bring(medium, shelf(own), watch=told.append)
        assert {one.doing for one in told} == {"copying"}


class TestRefused:
    def test_a_disk_that_is_too_small_says_what_is_needed(
        self, medium: Medium, own: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = os.statvfs(medium.folder)

        class Small:
            f_bavail, f_frsize = 3, 1_000_000

        monkeypatch.setattr(staging.os, "statvfs", lambda _path: Small)
        error = refused(lambda: bring(medium, shelf(own)))
        assert isinstance(error, DiskFullError)
        assert "needs 1 MB more" in error.explain()
        assert "3 MB are free" in error.explain()
        assert real.f_bavail

    def test_a_disk_that_fills_up_keeps_what_was_copied(
        self, medium: Medium, own: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, count = os.write, [0]

        def full(descriptor: int, data: bytes) -> int:
            count[0] += 1
            if count[0] == 4:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(descriptor, data)

        monkeypatch.setattr(importing.os, "write", full)
        error = refused(lambda: bring(medium, shelf(own)))
        assert (error.code, error.exit_code) == ("model.disk-full", 5)
        monkeypatch.undo()
        assert partial(medium, own).stat().st_size > 0
        bring(medium, shelf(own))

    def test_a_medium_that_is_pulled_out_keeps_what_was_copied(
        self, medium: Medium, own: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, count = os.read, [0]

        def gone(descriptor: int, size: int) -> bytes:
            count[0] += 1
            if count[0] == 3:
                raise OSError(errno.EIO, "Input/output error")
            return real(descriptor, size)

        monkeypatch.setattr(importing.os, "read", gone)
        error = refused(lambda: bring(medium, shelf(own)))
        assert error.code == "model.medium"
        assert "goes on from there" in error.explain()

    def test_another_architecture_template_or_marking(self, tmp_path: Path, own: Path) -> None:
        for number, (change, code) in enumerate(
            (
                ({"architecture": "qwen3"}, "model.architecture"),
                ({"template_sha384": "00" * 48}, "model.template"),
                ({"marking": "WHATEVER"}, "model.marking"),
                ({"variants": {"F16": (b"GGUF" + b"\0" * 100,)}}, None),
                ({"variants": {"F16": split(3)[:2]}}, "gguf.split"),
            )
        ):
            medium = Medium(tmp_path / str(number), **change).write()
            error = refused(lambda medium=medium: bring(medium, shelf(own, medium.digest())))
            assert error.code == code or (code is None and error.code.startswith("gguf."))
            assert visible(own) == set()

    def test_a_template_of_the_manifests_own_stands_for_the_files(self, tmp_path: Path, own: Path) -> None:
        from govdesk import crypto

        own_template = "{{ messages }}"
        medium = Medium(
            tmp_path / "medium",
            template=own_template,
            template_sha384=crypto.sha384(own_template.encode()).hex(),
        ).write()
        here = shelf(own, medium.digest())
        bring(medium, here)
        details = here.model_details(Which("tiny"))
        assert details.template_as_signed
        assert details.manifest_template == own_template
        assert details.untrusted_file_template not in {None, own_template}

    def test_a_package_without_its_files_names_them(self, medium: Medium, own: Path) -> None:
        medium.file().unlink()
        error = refused(lambda: bring(medium, shelf(own)))
        assert error.code == "model.missing"
        assert medium.file().name in error.explain()

    def test_places_that_are_none(self, tmp_path: Path, medium: Medium) -> None:
        (tmp_path / "empty").mkdir()
        assert refused(lambda: Package(tmp_path / "empty", TRUST)).code == "model.manifest"
        for odd, code in (("x" * 5000, "model.place"), ("a\0b", "model.manifest")):
            error = refused(lambda odd=odd: Package(tmp_path / odd, TRUST))  # type: ignore[misc]
            assert error.code == code
        with pytest.raises(UnreadableError):
            Package(tmp_path / "no" / "where", TRUST)
        (medium.folder / "second.toml").write_text("")
        assert refused(lambda: Package(medium.folder, TRUST)).code == "model.several"
        Package(medium.manifest, TRUST).close()

    def test_a_folder_without_end_is_not_read_to_its_end(self, medium: Medium) -> None:
        for number in range(MAX_ENTRIES + 1):
            (medium.folder / f"{number}").touch()
        assert refused(lambda: Package(medium.folder, TRUST)).code == "model.place"


class TestRemoving:
    def test_it_goes_and_nothing_else(self, tmp_path: Path, medium: Medium, own: Path) -> None:
        other = Medium(tmp_path / "other", name="other").write()
        here = shelf(own, medium.digest())
        bring(medium, here)
        bring(other, here)
        installed.remove(here.removable(Which("tiny"), ""))
        assert {name.split("/")[0] for name in visible(own)} == {"other-1"}

    def test_what_is_in_use_shipped_or_unknown_stays(self, medium: Medium, own: Path) -> None:
        here = shelf(own, medium.digest())
        bring(medium, here)
        assert refused(lambda: here.removable(Which("tiny"), medium.digest())).code == "model.in-use"
        shipped = shelf(own.with_name("none"), medium.digest(), shipped=medium.folder)
        assert refused(lambda: shipped.removable(Which("tiny"), "")).code == "model.shipped"
        with pytest.raises(UsageError):
            here.removable(Which("nothing"), "")

    def test_a_removal_that_was_cut_off_is_finished_by_the_next_import(
        self, medium: Medium, own: Path
    ) -> None:
        bring(medium, shelf(own))
        (own / "tiny-1").rename(own / ".tiny-1.removed")
        assert shelf(own).models().models == ()
        bring(medium, shelf(own))
        assert not (own / ".tiny-1.removed").exists()


def test_verifying_finds_the_one_bit(medium: Medium, own: Path) -> None:
    here = shelf(own, medium.digest())
    bring(medium, here)
    assert [file.sound for file in here.verify(Which("tiny"), lambda _: None, lambda: False).files] == [True]
    file = own / "tiny-1" / medium.file().name
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    (found,) = here.verify(Which("tiny"), lambda _: None, lambda: False).files
    assert not found.sound
    assert "not have the bytes that were signed" in found.why
    with pytest.raises(ImportStopped):
        here.verify(Which("tiny"), lambda _: None, lambda: True)
    assert isinstance(refused(lambda: here.verify(Which("none"), lambda _: None, lambda: False)), UsageError)
    file.write_bytes(content[:-1])
    assert here.models().models[0].state is ModelState.DAMAGED


class TestLookingAround:
    def test_folders_and_manifests_by_name(self, medium: Medium) -> None:
        (medium.folder / "more").mkdir()
        (medium.folder / ".Trash-1000").mkdir()
        place = media.look_into(str(medium.folder))
        assert (place.folder, place.parent) == (str(medium.folder), str(medium.folder.parent))
        assert (place.folders, place.manifests, place.left_out) == (("more",), ("tiny.toml",), 0)
        assert media.look_into(str(medium.manifest)) == place, "a manifest's folder"
        assert media.look_into(str(medium.folder / "gone" / "x")) == place, "the nearest one that is there"
        assert media.look_into("/").parent == ""
        for odd in ("", "\0"):
            assert media.look_into(odd).folder == "/"
        with pytest.raises(UnreadableError):
            media.look_into("/" + "x" * 5000)

    def test_a_folder_without_end_is_bounded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(media, "MAX_ENTRIES", 50)
        monkeypatch.setattr(media, "MAX_SHOWN", 20)
        for number in range(60):
            (tmp_path / f"{number:02}").mkdir()
        place = media.look_into(str(tmp_path))
        assert len(place.folders) == 20
        assert place.left_out == 31, "thirty that were read, and the rest as one"

    def test_a_medium_that_does_not_answer_is_said(
        self, medium: Medium, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(_folder: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(media.os, "scandir", broken)
        for act in (lambda: media.look_into(str(medium.folder)), lambda: Package(medium.folder, TRUST)):
            error = refused(act)
            assert (type(error), error.exit_code) == (UnreadableError, 4)
            assert "Input/output error" in error.explain()


class TestABadDisk:
    """What the disk refuses is the machine's fault, said as such, and no import is stopped by it for ever."""

    @staticmethod
    def bad_sector(monkeypatch: pytest.MonkeyPatch, folder: str) -> list[str]:
        """Files in a folder give their first piece and then an error, as long as they keep their bytes."""
        real, met = os.read, []

        def read(descriptor: int, size: int) -> bytes:
            path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
            at = os.lseek(descriptor, 0, os.SEEK_CUR)
            if f"/{folder}/" in path and at >= 16 * 1024 and path not in met:
                met.append(path)
                raise OSError(errno.EIO, "Input/output error")
            return real(descriptor, size)

        monkeypatch.setattr(importing.os, "read", read)
        return met

    def test_an_installed_file_that_cannot_be_read_is_copied_again(
        self, medium: Medium, own: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here = shelf(own, medium.digest())
        bring(medium, here)
        met = self.bad_sector(monkeypatch, "tiny-1")
        told: list[ImportProgress] = []
        assert bring(medium, here, watch=told.append) == len(medium.variants["F16"][0])
        assert len(met) == 1
        assert told[-1].percent == 100
        assert here.choose().digest == medium.digest()

    def test_a_copy_that_cannot_be_read_again_is_made_anew(
        self, medium: Medium, own: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        here = shelf(own, medium.digest())
        seen: list[ImportProgress] = []
        refused(lambda: bring(medium, here, watch=seen.append, stopped=lambda: len(seen) >= 4))
        met = self.bad_sector(monkeypatch, ".tiny-1.partial")
        assert bring(medium, here) == len(medium.variants["F16"][0]), "nothing of it was used"
        assert len(met) == 1
        assert (own / "tiny-1" / medium.file().name).read_bytes() == medium.variants["F16"][0]

    def test_each_step_that_the_disk_refuses_is_said(
        self, medium: Medium, own: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object, **__: object) -> None:
            raise OSError(errno.EIO, "Input/output error")

        def removed() -> None:
            (own / ".tiny-9.removed").mkdir(parents=True)

        def too_long() -> None:
            partial(medium, own).write_bytes(b"x" * 10**6)

        def cut_off() -> None:
            (own / ".tiny-1.partial" / medium.file().name).touch()

        steps: tuple[tuple[object, str, Callable[[], None]], ...] = (
            (importing.os, "statvfs", lambda: None),
            (importing.os, "ftruncate", too_long),
            (staging.shutil, "rmtree", removed),
            (Path, "replace", cut_off),
        )
        for where, name, before in steps:
            before()
            with monkeypatch.context() as patched:
                patched.setattr(where, name, broken)
                error = refused(lambda: bring(medium, shelf(own)))
            assert isinstance(error, DiskFullError), name
            assert (error.exit_code, error.code) == (5, "model.not-writable"), name
        bring(medium, shelf(own))

    def test_models_that_cannot_be_listed_are_said(
        self, medium: Medium, own: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bring(medium, shelf(own))

        def broken(_path: Path) -> None:
            raise OSError(errno.EIO, "Input/output error")

        monkeypatch.setattr(Path, "iterdir", broken)
        assert refused(lambda: shelf(own).removable(Which("tiny"), "")).code == "model.unreadable"


def test_the_file_that_is_not_what_the_manifest_says_is_named(tmp_path: Path, own: Path) -> None:
    wrong = (tiny_bytes("qwen3"),)
    medium = Medium(tmp_path / "medium", {"F16": one(1), "F32": wrong}).write()
    error = refused(lambda: bring(medium, shelf(own)))
    assert error.code == "model.architecture"
    assert medium.file("F32").name in error.what
    assert medium.file("F16").name not in error.what
