import json
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

from installer.setup import backends
from installer.setup.llama import Llama
from installer.setup.report import SetupError
from installer.setup.stamps import Stamps
from tests.unit.installer.test_setup_llama import bench, libraries  # noqa: F401  a fixture

NEW = "#define VK_HEADER_VERSION 309\n"


@pytest.fixture
def tree(tmp_path):
    for name in (
        "bin/glslc", "bin/nvcc", "usr/include/vulkan/vulkan_core.h",
        "usr/share/cmake/SPIRV-Headers/SPIRV-HeadersConfig.cmake", "usr/lib/x86_64-linux-gnu/libvulkan.so",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch(mode=0o755)
    (tmp_path / "usr/include/vulkan/vulkan_core.h").write_text(NEW)
    return tmp_path


def path(tree):
    return {"PATH": str(tree / "bin")}


@pytest.mark.parametrize(
    ("words", "names"),
    [
        ("native", ("native",)),
        ("cpu", ("cpu",)),
        ("vulkan", ("cpu", "vulkan")),
        ("cuda, vulkan", ("cpu", "cuda", "vulkan")),
        ("", None),
    ],
)
def test_what_is_asked_for(words, names):
    assert backends.asked_for({"GOVDESK_BACKENDS": words}, otherwise=None) == names


@pytest.mark.parametrize("words", ["metal", "cpu,rocm", "native,cpu", "../x"])
def test_another_backend_is_refused_in_words(words):
    with pytest.raises(SetupError, match="cannot be built") as caught:
        backends.asked_for({"GOVDESK_BACKENDS": words}, otherwise=None)
    assert "cpu, vulkan, cuda" in caught.value.todo


def test_vulkan_is_built_with_what_is_there(tree):
    tools = backends.vulkan(path(tree), tree)
    assert isinstance(tools, backends.VulkanTools), tools
    part = backends.vulkan_part(tools)
    assert "-DGGML_VULKAN=ON" in part.options
    assert f"-DVulkan_INCLUDE_DIR={tree / 'usr/include'}" in part.options
    assert part.kept == ("libggml-vulkan.so",)


@pytest.mark.parametrize(
    ("removed", "words"),
    [
        ("bin/glslc", "glslc is missing"),
        ("usr/include/vulkan/vulkan_core.h", "Vulkan headers are missing"),
        ("usr/share/cmake/SPIRV-Headers/SPIRV-HeadersConfig.cmake", "SPIR-V headers are missing"),
        ("usr/lib/x86_64-linux-gnu/libvulkan.so", "libvulkan.so is missing"),
    ],
)
def test_vulkan_without_a_tool_says_which(tree, removed, words):
    (tree / removed).unlink()
    assert words in backends.vulkan(path(tree), tree)


def test_headers_that_are_too_old_are_replaced_by_a_folder_of_newer_ones(tree, tmp_path_factory):
    (tree / "usr/include/vulkan/vulkan_core.h").write_text("#define VK_HEADER_VERSION 239\n")
    assert "too old (version 239" in backends.vulkan(path(tree), tree)
    newer = tmp_path_factory.mktemp("newer")
    shutil.copytree(tree / "usr", newer / "usr")
    (newer / "usr/include/vulkan/vulkan_core.h").write_text(NEW)
    tools = backends.vulkan({**path(tree), "GOVDESK_VULKAN_HEADERS": str(newer)}, tree)
    assert isinstance(tools, backends.VulkanTools), tools
    assert tools.headers == newer / "usr/include"
    assert tools.linked == tree / "usr/lib/x86_64-linux-gnu/libvulkan.so"


def toolkit(folder, *libraries):
    for name in ("include/cublas_v2.h", *libraries):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    version = "#define CUBLAS_VER_MAJOR 13\n#define CUBLAS_VER_PATCH 2\n#define CUBLAS_H\n"
    (folder / "include/cublas_api.h").write_text(version)


REAL = ("lib64/libcublas.so.13", "lib64/libcublasLt.so.13")


def test_cuda_takes_the_architectures_that_are_named(tree):
    assert "cuBLAS is missing" in backends.cuda(path(tree), ())
    toolkit(tree, *REAL, "lib64/libcublas.so.13.0.2.14")
    tools = backends.cuda(path(tree), ())
    assert isinstance(tools, backends.CudaTools), tools
    part = backends.cuda_part(tools, {"GOVDESK_CUDA_ARCHITECTURES": "86;89"})
    assert "-DCMAKE_CUDA_ARCHITECTURES=86;89" in part.options
    assert "-DGGML_CUDA_FORCE_MMQ=ON" in part.options
    assert f"-DCUDA_cublas_LIBRARY={tree / REAL[0]}" in part.options
    assert f"-DCUDA_cublasLt_LIBRARY={tree / REAL[1]}" in part.options
    assert part.versions == ("#define CUBLAS_VER_MAJOR 13", "#define CUBLAS_VER_PATCH 2")


@pytest.mark.parametrize(
    "libraries",
    [(), REAL[:1], REAL[1:], ("lib64/libcublas.so", "lib64/libcublasLt.so"),
     ("lib64/stubs/libcublas.so", "lib64/stubs/libcublasLt.so")],
)  # fmt: skip
def test_what_cannot_be_shipped_is_no_cublas(tree, libraries):
    """Half of it, or a stub to link against: what is built would not load on any machine."""
    toolkit(tree, *libraries)
    assert "cuBLAS is missing" in backends.cuda(path(tree), ())


def test_cublas_may_lie_elsewhere(tree, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("cublas")
    toolkit(elsewhere, "lib/libcublas.so.13", "lib/libcublasLt.so.13")
    tools = backends.cuda({**path(tree), "GOVDESK_CUBLAS": str(elsewhere)}, ())
    assert isinstance(tools, backends.CudaTools), tools
    assert tools.include == elsewhere / "include"


def test_each_tools_version_is_in_the_parts_key_and_in_no_other(bench, tree):  # noqa: F811
    """The tools enter the options as paths; another version behind the same path is another build."""
    toolkit(tree, *REAL)
    _, llama = bench("one")

    def program(name, version):
        (tree / "bin" / name).write_text(f"#!/bin/sh\necho {version}\n")

    def keys():
        built = {"vulkan": backends.vulkan(path(tree), tree), "cuda": backends.cuda(path(tree), ())}
        vulkan, cuda = backends.vulkan_part(built["vulkan"]), backends.cuda_part(built["cuda"], {})
        return [llama._key(part) for part in (vulkan, cuda, backends.CPU)]

    program("glslc", "2023.2")
    program("nvcc", "12.8")
    header = tree / "usr/include/vulkan/vulkan_core.h"
    spirv = tree / "usr/share/cmake/SPIRV-Headers/SPIRV-HeadersConfigVersion.cmake"
    before = keys()
    assert keys() == before
    for change, changed in (
        (lambda: program("glslc", "2024.1"), 0),
        (lambda: header.write_text(NEW.replace("309", "310")), 0),
        (lambda: spirv.write_text('set(PACKAGE_VERSION "1.5.5")'), 0),
        (lambda: program("nvcc", "13.0"), 1),
        (lambda: (tree / "include/cublas_api.h").write_text("#define CUBLAS_VER_MAJOR 14\n"), 1),
    ):
        change()
        after = keys()
        assert [now == was for now, was in zip(after, before, strict=True)] == [
            at != changed for at in range(3)
        ]
        before = after


CACHE = """
CMAKE_BUILD_TYPE:STRING=Release
CUDA_cudart_LIBRARY:FILEPATH={0}/lib/libcudart.so
CUDA_cudart_LIBRARY-ADVANCED:INTERNAL=1
CUDA_cublas_LIBRARY:UNINITIALIZED={0}/lib/libcublas.so.13
CUDA_cublasLt_LIBRARY:FILEPATH={0}/lib/libcublasLt.so.13
"""
CUDA = ("libcublas.so.13", "libcublasLt.so.13", "libcudart.so.13")


def cuda_with_libraries(folder):
    """A toolkit as it lies on a disk: the name that programs load is a link to the whole version."""
    for name in CUDA:
        (folder / "lib").mkdir(exist_ok=True)
        (folder / f"lib/{name}.0.2").write_text(f"{name} itself")
        (folder / f"lib/{name}").symlink_to(f"{name}.0.2")
        (folder / f"lib/{name.removesuffix('.13')}").symlink_to(name)
    cublas = folder / "lib/libcublas.so.13", folder / "lib/libcublasLt.so.13"
    return backends.cuda_part(backends.CudaTools("nvcc", folder, *cublas), {})


def test_what_cuda_is_linked_with_lies_beside_it(bench, tmp_path, monkeypatch):  # noqa: F811
    """cuBLAS and the runtime are no part of a driver: without them the backend loads on no workstation."""
    cuda = cuda_with_libraries(tmp_path)
    monkeypatch.setattr(backends, "parts", lambda *_: ((backends.CPU, cuda), ()))
    machine, llama = asked(bench, "one", ("cpu", "cuda"))

    def run(words, **_):
        machine.run(words)
        if words[0].name == "cmake":
            (words[4] / "CMakeCache.txt").parent.mkdir(exist_ok=True)
            (words[4] / "CMakeCache.txt").write_text(CACHE.format(tmp_path))
        elif words[-1] == "ggml-cuda":
            (words[2] / "bin/libggml-cuda.so").write_text("cuda")

    llama._commands.run = run
    llama.step().act()
    there = libraries(machine)
    assert {name: there[name] for name in CUDA} == {name: f"{name} itself".encode() for name in CUDA}
    assert there["libggml-cuda.so"] == b"cuda"
    assert not (machine.site_packages / "llama_cpp/lib" / CUDA[0]).is_symlink()


@pytest.mark.parametrize("lost", CUDA)
def test_without_them_nothing_is_built_for_hours(bench, tmp_path, monkeypatch, lost):  # noqa: F811
    cuda = cuda_with_libraries(tmp_path)
    for item in (tmp_path / "lib").glob(f"{lost}*"):
        item.unlink()
    monkeypatch.setattr(backends, "parts", lambda *_: ((backends.CPU, cuda), ()))
    machine, llama = asked(bench, "one", ("cpu", "cuda"))

    def run(words, **_):
        machine.run(words)
        if words[0].name == "cmake":
            (words[4] / "CMakeCache.txt").parent.mkdir(exist_ok=True)
            (words[4] / "CMakeCache.txt").write_text(CACHE.format(tmp_path))

    llama._commands.run = run
    with pytest.raises(SetupError, match=f"CUDA_{lost.split('.')[0].removeprefix('lib')}_LIBRARY"):
        llama.step().act()
    assert machine.calls[-1] == "cmake"


def test_a_part_without_its_tools_is_left_out_with_words(tmp_path):
    built, left_out = backends.parts(("cpu", "cuda", "vulkan"), {"PATH": str(tmp_path)})
    assert [part.name for part in built] == ["cpu"]
    assert len(left_out) == 2
    assert all("is left out: " in words for words in left_out)


def test_every_part_is_for_any_processor_and_finds_its_neighbours(tree):
    tools = backends.vulkan(path(tree), tree)
    nvidia = backends.CudaTools("nvcc", tree, tree, tree)
    for part in (backends.CPU, backends.vulkan_part(tools), backends.cuda_part(nvidia, {})):
        assert "-DGGML_NATIVE=OFF" in part.options
        assert "-DGGML_BACKEND_DL=ON" in part.options
        assert "-DCMAKE_INSTALL_RPATH=$ORIGIN" in part.options
        assert not [option for option in part.options if option == "-DGGML_NATIVE=ON"]
    assert "-DGGML_CPU_ALL_VARIANTS=ON" in backends.CPU.options
    assert "-DGGML_OPENMP=ON" in backends.CPU.options


@pytest.mark.parametrize("content", [b"", b"[]", b'{"cpu": 1}', b'{"vulkan": "k"}', b"\xff"])
def test_a_damaged_choice_is_none(tmp_path, content):
    (tmp_path / backends.CHOICE).write_bytes(content)
    assert backends.read_choice(tmp_path).names == ("native",)


def asked(bench, name, names):  # noqa: F811
    machine, llama = bench(name)
    wanted = Llama(llama._requirements, llama._cache, machine, llama._commands, llama._report, names)
    wanted._commands.run = machine.run
    return machine, wanted


def test_the_choice_stays_until_another_is_made(bench, report, tmp_path):  # noqa: F811
    """A plain run after `make backends` changes nothing; asking for native goes back."""
    machine, llama = asked(bench, "one", ("cpu",))
    stamps = Stamps(machine.stamps)
    assert stamps.perform(llama.step(), report) is True
    assert backends.read_choice(machine.stamps).names == ("cpu",)

    def again(names):
        one = Llama(llama._requirements, llama._cache, machine, llama._commands, llama._report, names)
        one._commands.run = machine.run
        return stamps.perform(one.step(), report)

    assert again(None) is False
    assert again(("cpu",)) is False
    assert again(("native",)) is True
    assert backends.read_choice(machine.stamps).names == ("native",)
    assert again(None) is False


def test_a_part_stays_although_its_tools_went_away(bench, report, monkeypatch):  # noqa: F811
    vulkan = backends.Part("vulkan", ("-DGGML_VULKAN=ON",), ("ggml-vulkan",), ("libggml.so*",))
    monkeypatch.setattr(backends, "parts", lambda names, _: ((backends.CPU, vulkan)[: len(names)], ()))
    machine, llama = asked(bench, "one", ("cpu", "vulkan"))
    stamps = Stamps(machine.stamps)
    built = llama.step()
    keys = llama._key(backends.CPU), llama._key(vulkan)
    assert len(set(keys)) == 2
    backends.write_choice(machine.stamps, {"cpu": keys[0], "vulkan": keys[1]})
    monkeypatch.setattr(backends, "parts", lambda names, _: ((backends.CPU,), ("Vulkan is left out: …",)))
    later = Llama(llama._requirements, llama._cache, machine, llama._commands, llama._report, None)
    assert later.step().inputs == built.inputs
    assert not stamps.holds(later.step()), "nothing was installed yet"
    with pytest.raises(SetupError, match="vulkan backend has to be built again"):
        later._commands.run = machine.run
        later.step().act()


def test_what_is_left_out_is_said_each_time_it_is_asked_for(bench, report, said, monkeypatch):  # noqa: F811
    monkeypatch.setattr(backends, "parts", lambda *_: ((backends.CPU,), ("Vulkan is left out: no glslc",)))
    machine, llama = asked(bench, "one", ("cpu", "vulkan"))
    stamps = Stamps(machine.stamps)
    assert stamps.perform(llama.step(), report) is True
    assert said.getvalue().count("Vulkan is left out: no glslc") == 1
    assert stamps.perform(llama.step(), report) is False, "nothing is to do"
    assert said.getvalue().count("Vulkan is left out: no glslc") == 2, "and yet it is said"
    plain = Llama(llama._requirements, llama._cache, machine, llama._commands, llama._report, None)
    assert stamps.perform(plain.step(), report) is False
    assert said.getvalue().count("left out") == 2, "a plain run asks for nothing"


# ── what was really built, where it was ──────────────────────────────────────

LIB = Path(sysconfig.get_path("platlib")) / "llama_cpp" / "lib"


@pytest.mark.skipif(not list(LIB.glob("libggml-cpu-*.so")), reason="`make backends` was not run here")
def test_the_set_is_whole_and_finds_its_neighbours_alone():
    there = {item.name for item in LIB.glob("lib*.so")}
    assert {"libllama.so", "libggml.so", "libggml-base.so", "libggml-cpu-x64.so"} <= there
    assert len([name for name in there if name.startswith("libggml-cpu-")]) == 14
    for item in LIB.glob("lib*.so"):
        said = subprocess.run(["readelf", "-d", item], capture_output=True, text=True, check=True).stdout
        assert re.findall(r"R(?:UN)?PATH.*\[(.*)\]", said) == ["$ORIGIN"], item.name
        needed = set(re.findall(r"NEEDED.*\[(.*)\]", said))
        assert not [name for name in needed if name.startswith("/")]
        own = {name for name in needed if name.startswith(("libggml", "libllama", "libcu"))}
        assert all((LIB / name).exists() for name in own), (item.name, own)
        versions = subprocess.run(["readelf", "-V", item], capture_output=True, text=True, check=True).stdout
        newest = max(
            (tuple(map(int, found.split("."))) for found in re.findall(r"GLIBC_([\d.]+)", versions)),
            default=(0,),
        )
        assert newest <= (2, 34), f"{item.name} would not start on RHEL 9"


def test_the_choice_is_what_is_installed():
    stamps = Path(sysconfig.get_path("platlib")).parents[2] / ".setup"
    try:
        kept = json.loads((stamps / backends.CHOICE).read_bytes())
    except FileNotFoundError:
        pytest.skip("this environment is older than the choice")
    assert ("cpu" in kept) == bool(list(LIB.glob("libggml-cpu-*.so")))
    assert ("vulkan" in kept) == (LIB / "libggml-vulkan.so").exists()
