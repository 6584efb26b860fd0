"""llama.cpp as the package ships it: every processor variant, and graphics backends, each a library to load.

A checkout goes on with the one native build until `make backends` is asked for. Each part (the processor
variants, Vulkan, CUDA) is built apart from the same pinned source and kept apart, so that asking for one more
builds one more. A graphics part whose tools are missing is left out, and the report says what is missing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from installer.setup.files import write_whole
from installer.setup.native import OPTIONS
from installer.setup.report import SetupError

NATIVE = "native"
CHOICE = "backends"
"""File among the environment's stamps: which parts it has."""
MIN_VULKAN_HEADER = 287
"""`VK_HEADER_VERSION` from which on the headers know what the source uses without a condition."""
CUDA_ARCHITECTURES = "75;80;86;89;90;120"
_COMMON = (
    *(option for option in OPTIONS if not option.startswith("-DGGML_NATIVE=")),
    "-DGGML_NATIVE=OFF",
    "-DGGML_BACKEND_DL=ON",
)
_WITHOUT_CPU = (*_COMMON, "-DGGML_CPU=OFF")
_HEADER = re.compile(r"^#define VK_HEADER_VERSION (\d+)", re.MULTILINE)
_CUBLAS = re.compile(r"^#define CUBLAS_VER_[A-Z]+ +\d+", re.MULTILINE)
_CACHED = re.compile(r"^(\w+):\w+=(/.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Part:
    """One thing to build.

    Args:
        name: of the part.
        options: CMake's.
        targets: ninja's.
        kept: patterns of the libraries that are kept of what is built.
        with_wheel: the Python part is made along.
        asks: questions to the tools whose answers (their versions) go into the key.
        versions: of what is no program, for the key.
        beside: variables of CMake's cache, each naming a library that has to lie beside what is built.
    """

    name: str
    options: tuple[str, ...]
    targets: tuple[str, ...]
    kept: tuple[str, ...] = ("lib*.so*",)
    with_wheel: bool = False
    asks: tuple[tuple[str, ...], ...] = ()
    versions: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


GRAPHICS = ("vulkan", "cuda")
CPU = Part("cpu", (*_COMMON, "-DGGML_CPU_ALL_VARIANTS=ON"), ("llama", "ggml"), with_wheel=True)


@dataclass(frozen=True, slots=True)
class VulkanTools:
    """What Vulkan is built with: the shader compiler, headers new enough, the loader's library."""

    glslc: str
    headers: Path
    spirv: Path
    linked: Path
    versions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CudaTools:
    """What CUDA is built with: the compiler, and cuBLAS (two libraries), which the source always links."""

    nvcc: str
    include: Path
    linked: Path
    light: Path
    versions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Choice:
    """What an environment has: each part's name and its key in the cache."""

    keys: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The parts; the native build alone where nothing was chosen."""
        return tuple(sorted(self.keys)) or (NATIVE,)

    @property
    def base(self) -> str:
        """The key of the processor variants, which changes with the source and the compilers."""
        return self.keys.get(CPU.name, "")


def read_choice(stamps: Path) -> Choice:
    """What was installed last; nothing where that cannot be read."""
    try:
        kept = json.loads((stamps / CHOICE).read_bytes())
    except (OSError, ValueError):
        return Choice({})
    if not isinstance(kept, dict) or not all(isinstance(key, str) for key in kept.values()):
        return Choice({})
    known = {name: key for name, key in kept.items() if name in {CPU.name, *GRAPHICS}}
    return Choice(known if CPU.name in known else {})


def write_choice(stamps: Path, keys: Mapping[str, str]) -> None:
    """Remember what is installed now."""
    write_whole(stamps / CHOICE, json.dumps(dict(keys), sort_keys=True).encode())


def asked_for(environment: Mapping[str, str], *, otherwise: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """The parts that `GOVDESK_BACKENDS` asks for.

    Raises:
        SetupError: a part that there is not.
    """
    words = environment.get("GOVDESK_BACKENDS", "")
    if not words:
        return otherwise
    names = tuple(sorted(set(re.split(r"[,\s]+", words.strip()))))
    if names == (NATIVE,):
        return names
    unknown = set(names) - {CPU.name, *GRAPHICS}
    if unknown:
        raise SetupError(
            f"GOVDESK_BACKENDS names {', '.join(sorted(unknown))}, which cannot be built.",
            todo='It is "native", or any of cpu, vulkan, cuda with commas between them.',
            exit_code=3,
        )
    return tuple(sorted({*names, CPU.name}))


def vulkan(environment: Mapping[str, str], root: Path = Path("/")) -> VulkanTools | str:
    """The tools for Vulkan, or what is missing.

    Args:
        environment: PATH, and `GOVDESK_VULKAN_HEADERS`: a folder with newer headers than the system's, as a
            package of a newer Debian unpacks (`usr/include`, `usr/share/cmake`).
        root: where the machine's tree begins.
    """
    glslc = shutil.which("glslc", path=environment.get("PATH", os.defpath))
    if glslc is None:
        return "glslc is missing (Debian: apt-get install glslc)"
    given = environment.get("GOVDESK_VULKAN_HEADERS")
    places = [Path(given) / "usr", Path(given)] if given else [root / "usr"]
    found = next((place for place in places if (place / "include/vulkan/vulkan_core.h").is_file()), None)
    if found is None:
        return "the Vulkan headers are missing (Debian: apt-get install libvulkan-dev)"
    version = _HEADER.search((found / "include/vulkan/vulkan_core.h").read_text(errors="replace"))
    if version is None or int(version[1]) < MIN_VULKAN_HEADER:
        return (
            f"the Vulkan headers are too old (version {version[1] if version else '?'}, at least "
            f"{MIN_VULKAN_HEADER} is needed: name a folder with newer ones in GOVDESK_VULKAN_HEADERS)"
        )
    spirv = [
        folder
        for folder in (found / "share/cmake/SPIRV-Headers", found / "lib/cmake/SPIRV-Headers")
        if (folder / "SPIRV-HeadersConfig.cmake").is_file()
    ]
    if not spirv:
        return "the SPIR-V headers are missing (Debian: apt-get install spirv-headers)"
    libraries = sorted((root / "usr").glob("lib*/**/libvulkan.so"))
    if not libraries:
        return "libvulkan.so is missing (Debian: apt-get install libvulkan-dev)"
    versions = (version[0], _text(spirv[0] / "SPIRV-HeadersConfigVersion.cmake"))
    return VulkanTools(glslc, found / "include", spirv[0], libraries[0], versions)


def vulkan_part(tools: VulkanTools) -> Part:
    """Vulkan, built with these tools."""
    options = (
        *_WITHOUT_CPU,
        "-DGGML_VULKAN=ON",
        f"-DVulkan_INCLUDE_DIR={tools.headers}",
        f"-DVulkan_LIBRARY={tools.linked}",
        f"-DVulkan_GLSLC_EXECUTABLE={tools.glslc}",
        f"-DSPIRV-Headers_DIR={tools.spirv}",
    )
    return Part(
        "vulkan",
        options,
        ("ggml-vulkan",),
        ("libggml-vulkan.so",),
        asks=((tools.glslc, "--version"),),
        versions=tools.versions,
    )


def cuda(
    environment: Mapping[str, str], toolkits: tuple[Path, ...] = (Path("/usr/local/cuda"),)
) -> CudaTools | str:
    """The tools for CUDA, or what is missing.

    Args:
        environment: PATH, and `GOVDESK_CUBLAS`: a folder with `include` and `lib` of cuBLAS, for a toolkit
            without it.
        toolkits: where a toolkit may be, if not beside `nvcc`.
    """
    nvcc = shutil.which("nvcc", path=environment.get("PATH", os.defpath))
    if nvcc is None:
        return "nvcc is missing (NVIDIA's CUDA toolkit, from version 12 on)"
    given = environment.get("GOVDESK_CUBLAS")
    places = [Path(given)] if given else [Path(nvcc).resolve().parent.parent, *toolkits]
    for place in places:
        for include in (place / "include", *sorted(place.glob("targets/*/include"))):
            for folder in (include.parent / "lib", include.parent / "lib64"):
                linked, light = _by_version(folder, "libcublas"), _by_version(folder, "libcublasLt")
                if (include / "cublas_v2.h").is_file() and linked and light:
                    versions = tuple(_CUBLAS.findall(_text(include / "cublas_api.h")))
                    return CudaTools(nvcc, include, linked, light, versions)
    return (
        "cuBLAS is missing: the source needs its header cublas_v2.h, and what is built needs libcublas.so.… "
        "and libcublasLt.so.… beside it (GOVDESK_CUBLAS names their folder)"
    )


def cuda_part(tools: CudaTools, environment: Mapping[str, str]) -> Part:
    """CUDA for the architectures of `GOVDESK_CUDA_ARCHITECTURES`: a release's job, hours on two cores.

    Its own matrix kernels in place of cuBLAS's wherever there are some.
    """
    architectures = environment.get("GOVDESK_CUDA_ARCHITECTURES") or CUDA_ARCHITECTURES
    options = (
        *_WITHOUT_CPU,
        "-DGGML_CUDA=ON",
        "-DGGML_CUDA_FORCE_MMQ=ON",
        "-DGGML_CUDA_NCCL=OFF",
        "-DGGML_CUDA_NO_VMM=ON",  # or the driver's own library has to be there to link
        f"-DCMAKE_CUDA_ARCHITECTURES={architectures}",
        f"-DCMAKE_CUDA_COMPILER={tools.nvcc}",
        f"-DCMAKE_CUDA_FLAGS=-I{tools.include}",
        f"-DCUDA_cublas_LIBRARY={tools.linked}",
        f"-DCUDA_cublasLt_LIBRARY={tools.light}",
    )
    return Part(
        "cuda",
        options,
        ("ggml-cuda",),
        ("libggml-cuda.so",),
        asks=((tools.nvcc, "--version"),),
        versions=tools.versions,
        beside=("CUDA_cudart_LIBRARY", "CUDA_cublas_LIBRARY", "CUDA_cublasLt_LIBRARY"),
    )


def beside(cache: str, variables: tuple[str, ...]) -> tuple[Path, ...]:
    """The libraries that what is built is loaded with, each by the name that it is loaded by.

    Args:
        cache: CMake's, after configuring.
        variables: in it, naming the libraries.

    Raises:
        SetupError: one of them is not there, or only as what is linked against.
    """
    found = dict(_CACHED.findall(cache))
    libraries = {name: Path(found.get(name, "")) for name in variables}
    named = {name: _by_version(path.parent, path.name.split(".so")[0]) for name, path in libraries.items()}
    missing = sorted(name for name, path in named.items() if path is None)
    if missing:
        raise SetupError(
            f"What is built could not be loaded: libraries were not found ({', '.join(missing)}).",
            todo="The toolkit has to be whole: libcudart.so.… lies in its folder lib or lib64.",
        )
    return tuple(path for path in named.values() if path)


def _by_version(folder: Path, name: str) -> Path | None:
    """The library by the name that programs load it by, as `libcublas.so.13`; None: it is not there."""
    return min(folder.glob(f"{name}.so.[0-9]*"), key=lambda path: len(path.name), default=None)


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def parts(names: tuple[str, ...], environment: Mapping[str, str]) -> tuple[tuple[Part, ...], tuple[str, ...]]:
    """What is built for these names, and words for what is left out."""
    built, left_out = [CPU], []
    if "vulkan" in names:
        tools = vulkan(environment)
        if isinstance(tools, str):
            left_out.append(f"Vulkan is left out: {tools}")
        else:
            built.append(vulkan_part(tools))
    if "cuda" in names:
        found = cuda(environment)
        if isinstance(found, str):
            left_out.append(f"CUDA is left out: {found}")
        else:
            built.append(cuda_part(found, environment))
    return tuple(built), tuple(left_out)
