import io
import json
import os
import tarfile

import pytest

from installer.setup import native
from installer.setup.files import sha256_of_file
from installer.setup.llama import Llama
from installer.setup.native import SourcePackage, build_key, processor, record, sound, source_package, unpack
from installer.setup.report import SetupError
from installer.setup.stamps import Stamps

CPU = "processor : 0\nvendor_id : A\nmodel name : M\nflags : sse avx2\nbogomips : 1.0\n"
SOURCE = SourcePackage("0.3.36", "ab" * 32)


def key(**changed):
    given = {
        "source": SOURCE,
        "compilers": "gcc 12",
        "cpu": processor(CPU),
        "environment": {},
        "tools": "cmake==4",
        **changed,
    }
    return build_key(**given)


def test_the_committed_pin_is_one_version_with_one_hash(checkout):
    pinned = source_package((checkout / "installer" / "requirements" / "llama.txt").read_text())
    assert pinned.file_name == f"llama_cpp_python-{pinned.version}.tar.gz"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "llama-cpp-python==0.3.36\n",
        f"llama-cpp-python==0.3.36 \\\n    --hash=sha256:{'a' * 63}\n",
        f"llama-cpp-python==0.3.36 \\\n    --hash=sha256:{'a' * 64} \\\n    --hash=sha256:{'b' * 64}\n",
        f"other==1 \\\n    --hash=sha256:{'a' * 64}\n",
    ],
)
def test_a_pin_without_exactly_one_hash_is_refused(text):
    with pytest.raises(SetupError, match="exactly one hash"):
        source_package(text)


def test_a_processor_is_its_model_and_features_not_its_speed_or_their_order():
    assert processor(CPU) == processor(CPU.replace("1.0", "2.0").replace("sse avx2", "avx2 sse"))
    assert processor(CPU) != processor(CPU.replace("avx2", "avx512f"))
    assert processor(CPU) != processor(CPU.replace(": M", ": N"))
    assert processor(CPU + "\n" + CPU.replace("avx2", "avx512f")) == processor(CPU)


def test_the_key_changes_with_everything_a_build_depends_on(monkeypatch):
    assert key() == key()
    changed = [
        key(source=SourcePackage("0.3.36", "cd" * 32)),
        key(compilers="gcc 13"),
        key(cpu=processor(CPU.replace("avx2", "avx512f"))),
        key(tools="cmake==5"),
        *(key(environment={name: "x"}) for name in native.COMPILING),
    ]
    monkeypatch.setattr(native, "OPTIONS", (*native.OPTIONS, "-DGGML_LTO=ON"))
    changed.append(key())
    monkeypatch.undo()
    assert key() not in changed
    assert len(set(changed)) == len(changed)
    assert key(environment={"EDITOR": "x"}) == key()


@pytest.fixture
def built(tmp_path):
    folder = tmp_path / "built"
    folder.mkdir()
    (folder / "libllama.so.0").write_bytes(b"\x7fELF llama")
    (folder / "libllama.so").symlink_to("libllama.so.0")
    (folder / "libggml.so").write_bytes(b"\x7fELF ggml")
    record(folder)
    return folder


def test_a_kept_build_is_sound_as_it_was_recorded(built):
    assert sound(built)
    assert sound(built), "looking does not change it"


def flip(folder):
    content = bytearray((folder / "libllama.so.0").read_bytes())
    content[-1] ^= 1
    (folder / "libllama.so.0").write_bytes(bytes(content))


def relink(folder):
    (folder / "libllama.so").unlink()
    (folder / "libllama.so").symlink_to("libggml.so")


DAMAGES = {
    "flipped bit": flip,
    "cut": lambda folder: os.truncate(folder / "libggml.so", 3),
    "missing": lambda folder: (folder / "libggml.so").unlink(),
    "added": lambda folder: (folder / "libextra.so").touch(),
    "other link": relink,
    "no record": lambda folder: (folder / native.MANIFEST).unlink(),
    "empty record": lambda folder: (folder / native.MANIFEST).write_bytes(b"{}"),
    "cut record": lambda folder: os.truncate(folder / native.MANIFEST, 20),
    "record of another kind": lambda folder: (folder / native.MANIFEST).write_bytes(b"[1]"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_build_is_not_sound(built, damage):
    DAMAGES[damage](built)
    assert not sound(built)


def test_an_empty_folder_is_not_a_build(tmp_path):
    record(tmp_path)
    assert not sound(tmp_path)


def archive(path, members):
    with tarfile.open(path, "w:gz") as package:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            package.addfile(member, io.BytesIO(content))
    return path


LLAMA = "llama_cpp_python-0.3.36/vendor/llama.cpp"


def test_only_what_the_libraries_are_made_of_is_unpacked(tmp_path):
    members = {
        f"{LLAMA}/CMakeLists.txt": b"top",
        f"{LLAMA}/src/llama.cpp": b"src",
        f"{LLAMA}/tools/server/server.cpp": b"server",
        f"{LLAMA}/models/vocab.gguf": b"vocab",
        "llama_cpp_python-0.3.36/llama_cpp/llama.py": b"py",
        "llama_cpp_python-0.3.36/.git/config": b"git",
    }
    unpack(archive(tmp_path / "a.tar.gz", members), tmp_path / "out")
    there = sorted(
        str(item.relative_to(tmp_path / "out")) for item in (tmp_path / "out").rglob("*") if item.is_file()
    )
    assert there == ["CMakeLists.txt", "src/llama.cpp"]


def test_a_path_outside_the_folder_is_refused(tmp_path):
    evil = archive(tmp_path / "a.tar.gz", {f"{LLAMA}/src/../../../../evil": b"x"})
    with pytest.raises(SetupError, match="outside"):
        unpack(evil, tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("evil"))


def test_a_cut_archive_is_said(tmp_path):
    whole = archive(tmp_path / "a.tar.gz", {f"{LLAMA}/src/a{n}.cpp": os.urandom(4000) for n in range(40)})
    os.truncate(whole, whole.stat().st_size // 2)
    with pytest.raises(SetupError, match="cannot be unpacked"):
        unpack(whole, tmp_path / "out")


class Machine:
    """An environment and its programs, which make small files where the real ones make libraries."""

    def __init__(self, folder, source, commands):
        self.folder = folder
        self.site_packages = folder / "lib" / "python3.11" / "site-packages"
        self.site_packages.mkdir(parents=True)
        self.stamps = folder / ".setup"
        self.source = source
        self.calls = []
        self.fail = ""
        self.log, self.environment = commands.log, commands.environment

    def run(self, words, **_):
        name = words[0].name
        self.calls.append(name)
        if self.fail == name:
            raise SetupError(f"{name} failed")
        if name == "ninja":
            libraries = words[2] / "bin"
            libraries.mkdir(parents=True, exist_ok=True)
            for base in ("llama", "ggml", "ggml-cpu"):
                (libraries / f"lib{base}.so.0").write_bytes(base.encode())
                (libraries / f"lib{base}.so").unlink(missing_ok=True)
                (libraries / f"lib{base}.so").symlink_to(f"lib{base}.so.0")

    def pip(self, verb, arguments, **_):
        self.calls.append(f"pip {verb}")
        words = [str(word) for word in arguments]
        if verb == "download":
            assert "--require-hashes" in words
            (type(self.folder)(words[words.index("-d") + 1]) / self.source.name).write_bytes(
                self.source.read_bytes()
            )
        elif verb == "wheel":
            (type(self.folder)(words[words.index("-w") + 1]) / "llama_cpp_python-0.3.36-py3.whl").write_bytes(
                b"wheel"
            )
        else:
            assert words[-1].endswith(".whl")
            (self.site_packages / "llama_cpp").mkdir(exist_ok=True)
            (self.site_packages / "llama_cpp_python-0.3.36.dist-info").mkdir(exist_ok=True)

    def forget_damaged(self, wanted):
        self.calls.append("look")

    def has(self, wanted):
        return all(
            (self.site_packages / f"{name}-{version}.dist-info").exists() for name, version in wanted.items()
        )


@pytest.fixture
def bench(tmp_path, commands, report):
    """`make(name)` gives a Machine and its Llama; all share one cache."""
    source = archive(tmp_path / "llama_cpp_python-0.3.36.tar.gz", {f"{LLAMA}/CMakeLists.txt": b"top"})
    requirements = tmp_path / "requirements"
    requirements.mkdir()
    pin = f"llama-cpp-python==0.3.36 \\\n    --hash=sha256:{sha256_of_file(source)}\n"
    (requirements / "llama.txt").write_text(pin)
    (requirements / "build.txt").write_text("cmake==4.4.4\n")

    def make(name):
        machine = Machine(tmp_path / name, source, commands)
        llama = Llama(requirements / "llama.txt", tmp_path / "cache", machine, commands, report)
        llama._commands.run = machine.run
        return machine, llama

    return make


BUILD = ["cmake", "ninja", "pip wheel"]


def libraries(machine):
    folder = machine.site_packages / "llama_cpp" / "lib"
    return {item.name: item.read_bytes() for item in folder.iterdir()}


def test_built_once_and_reused_by_the_next_checkout(bench, report, tmp_path):
    machine, llama = bench("one")
    assert Stamps(tmp_path / "stamps").perform(llama.step(), report) is True
    assert machine.calls == ["pip download", *BUILD, "look", "pip install"]
    assert libraries(machine)["libllama.so"] == b"llama"
    assert (machine.site_packages / "llama_cpp" / "lib" / "libllama.so").is_symlink()
    assert Stamps(tmp_path / "stamps").perform(llama.step(), report) is False

    second, other = bench("two")
    other.step().act()
    assert second.calls == ["look", "pip install"]
    assert libraries(second) == libraries(machine)


def test_a_damaged_cache_is_built_again_from_the_kept_source(bench, tmp_path, said):
    bench("one")[1].step().act()
    library = next((tmp_path / "cache" / "build").glob("*/libllama.so.0"))
    library.write_bytes(b"llamb")
    machine, llama = bench("two")
    llama.step().act()
    assert machine.calls == [*BUILD, "look", "pip install"]
    assert libraries(machine)["libllama.so"] == b"llama"
    assert "damaged" in said.getvalue()


def test_a_build_that_was_cut_off_goes_on_and_leaves_nothing_half_made(bench, tmp_path):
    machine, llama = bench("one")
    machine.fail = "ninja"
    with pytest.raises(SetupError):
        llama.step().act()
    assert not [item for item in (tmp_path / "cache" / "build").iterdir() if sound(item)]
    work = next((tmp_path / "cache" / "build").glob("*.work"))
    (work / "source" / "object-of-before").touch()
    machine.fail = "pip"

    def kept(words, **_):
        assert (work / "source" / "object-of-before").exists()
        Machine.run(machine, words)

    llama._commands.run = kept
    llama.step().act()
    assert libraries(machine)["libllama.so"] == b"llama"
    assert not list((tmp_path / "cache" / "build").glob("*.work"))


def test_another_source_than_the_pinned_one_is_refused(bench, tmp_path):
    machine, llama = bench("one")
    machine.source.write_bytes(machine.source.read_bytes() + b"x")
    with pytest.raises(SetupError, match="not the pinned source"):
        llama.step().act()
    assert machine.calls == ["pip download"]
    assert list((tmp_path / "cache" / "downloads").iterdir()) == []


def test_a_damaged_kept_source_is_fetched_again(bench, tmp_path):
    bench("one")[1].step().act()
    kept = tmp_path / "cache" / "downloads" / "llama_cpp_python-0.3.36.tar.gz"
    os.truncate(kept, 10)
    next((tmp_path / "cache" / "build").glob("*/built.json")).write_text(json.dumps({}))
    machine, llama = bench("two")
    llama.step().act()
    assert machine.calls == ["pip download", *BUILD, "look", "pip install"]


LOSSES = {
    "removed": lambda folder: (folder / "libggml.so.0").unlink(),
    "cut": lambda folder: os.truncate(folder / "libllama.so.0", 2),
    "emptied": lambda folder: os.truncate(folder / "libllama.so.0", 0),
    "other bytes of the same size": lambda folder: (folder / "libllama.so.0").write_bytes(b"llamb"),
    "other link": lambda folder: [
        (folder / "libllama.so").unlink(),
        (folder / "libllama.so").symlink_to("libggml.so.0"),
    ],
    "link removed": lambda folder: (folder / "libggml.so").unlink(),
    "library added": lambda folder: (folder / "libextra.so").touch(),
    "no record": lambda folder: (folder.parents[4] / ".setup" / "llama.state").unlink(),
    "empty record": lambda folder: (folder.parents[4] / ".setup" / "llama.state").write_text("{}"),
    "cut record": lambda folder: os.truncate(folder.parents[4] / ".setup" / "llama.state", 20),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_a_damaged_library_is_noticed_and_put_back_from_the_cache(bench, report, tmp_path, loss):
    machine, llama = bench("one")
    stamps = Stamps(tmp_path / "stamps")
    stamps.perform(llama.step(), report)
    before = libraries(machine)
    LOSSES[loss](machine.site_packages / "llama_cpp" / "lib")
    assert not llama.step().intact()
    machine.calls.clear()
    assert stamps.perform(llama.step(), report) is True
    assert machine.calls == ["look", "pip install"]
    assert libraries(machine) == before
    assert llama.step().intact()


def test_a_library_that_was_only_touched_is_the_same(bench):
    machine, llama = bench("one")
    llama.step().act()
    os.utime(machine.site_packages / "llama_cpp" / "lib" / "libllama.so.0", ns=(1, 1))
    assert llama.step().intact()


def test_the_cache_is_where_the_person_keeps_caches():
    assert native.cache_folder({"XDG_CACHE_HOME": "/c", "HOME": "/h"}) == native.Path("/c/govdesk")
    assert native.cache_folder({"XDG_CACHE_HOME": "relative", "HOME": "/h"}) == native.Path(
        "/h/.cache/govdesk"
    )
    assert native.cache_folder({"HOME": "/h"}) == native.Path("/h/.cache/govdesk")
