"""llama.cpp's backends come from the installation's own folder, each by its absolute path, and nowhere else.

The library's own search looks into the current directory and loads what GGML_BACKEND_PATH names: whoever
can write there would run code in the worker. It is never called. A processor variant is loaded only when
the kernel says that this processor has everything it was compiled for: none meets an illegal instruction.
A build without loadable backends (a checkout's) has its one processor backend inside and needs none of this.
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import llama_cpp

from govdesk.domain.frames import GPU_BACKENDS
from govdesk.worker import steering

FOLDER = Path(llama_cpp.__file__).resolve().parent / "lib"
_CPU_DEVICE = 0

_AVX = frozenset({"sse4_2", "popcnt", "avx"})
_HASWELL = _AVX | {"f16c", "fma", "avx2", "bmi2"}
_SKYLAKE = _HASWELL | {"avx512f", "avx512cd", "avx512vl", "avx512dq", "avx512bw"}
_ICELAKE = _SKYLAKE | {"avx512vbmi", "avx512_vnni"}
VARIANTS: dict[str, frozenset[str]] = {
    "x64": frozenset(),
    "sse42": frozenset({"sse4_2", "popcnt"}),
    "sandybridge": _AVX,
    "ivybridge": _AVX | {"f16c"},
    "piledriver": _AVX | {"f16c", "fma"},
    "haswell": _HASWELL,
    "alderlake": _HASWELL | {"avx_vnni"},
    "skylakex": _SKYLAKE,
    "cannonlake": _SKYLAKE | {"avx512vbmi"},
    "cascadelake": _SKYLAKE | {"avx512_vnni"},
    "icelake": _ICELAKE,
    "cooperlake": _SKYLAKE | {"avx512_vnni", "avx512_bf16"},
    "zen4": _ICELAKE | {"avx512_bf16"},
    "sapphirerapids": _ICELAKE | {"avx512_bf16", "amx_tile", "amx_int8"},
}
"""What each variant was compiled for, in the kernel's words, from the slowest to the fastest.

The kernel's list, not the processor's: a feature that the kernel or a hypervisor switched off is not in it,
while the library's own score looks at the processor alone.
"""


class BackendError(Exception):
    """No backend that can compute; `code` crosses to the trusted side."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def features(cpuinfo: str) -> frozenset[str]:
    """The first processor's features out of `/proc/cpuinfo`."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return frozenset(value.split())
    return frozenset()


def fitting(available: frozenset[str]) -> tuple[str, ...]:
    """The variants that a processor with these features can run, the fastest first."""
    return tuple(name for name, needed in reversed(VARIANTS.items()) if needed <= available)


def load_cpu(folder: Path = FOLDER, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """See to it that a processor backend is registered, before any other call of the library.

    Returns:
        The variant's name; `native` for a build with its backend inside, or one that was registered before.

    Raises:
        BackendError: `backend.no-cpu`.
    """
    steering.forget()
    library = ggml()
    if library.ggml_backend_dev_by_type(_CPU_DEVICE):
        return "native"
    for name in fitting(features(cpuinfo.read_text(encoding="ascii", errors="replace"))):
        if _load(library, folder / f"libggml-cpu-{name}.so") and library.ggml_backend_dev_by_type(
            _CPU_DEVICE
        ):
            return name
    raise BackendError("backend.no-cpu")


def load_gpu(name: str, folder: Path = FOLDER) -> None:
    """Load one graphics backend.

    Raises:
        BackendError: `backend.missing`: it is not installed; `backend.refused`: it does not load here.
    """
    path = folder / f"libggml-{name}.so"
    if name not in GPU_BACKENDS or not path.is_file():
        raise BackendError("backend.missing")
    steering.forget()
    if not _load(ggml(), path):
        raise BackendError("backend.refused")


def _load(library: ctypes.CDLL, path: Path) -> bool:
    """Load by absolute path; False when it is not there, or the library refuses it."""
    return path.is_absolute() and path.is_file() and bool(library.ggml_backend_load(os.fsencode(path)))


def ggml() -> ctypes.CDLL:
    """The installation's library that keeps the list of backends, with its calls declared."""
    library = ctypes.CDLL(str(FOLDER / "libggml.so"))
    pointers = ("load", "dev_by_type", "dev_get", "dev_init", "dev_backend_reg")
    for name in pointers:
        getattr(library, f"ggml_backend_{name}").restype = ctypes.c_void_p
    for name in ("ggml_backend_dev_name", "ggml_backend_dev_description", "ggml_backend_reg_name"):
        function = getattr(library, name)
        function.restype, function.argtypes = ctypes.c_char_p, (ctypes.c_void_p,)
    library.ggml_backend_load.argtypes = (ctypes.c_char_p,)
    library.ggml_backend_dev_by_type.argtypes = (ctypes.c_int,)
    library.ggml_backend_dev_count.restype = ctypes.c_size_t
    library.ggml_backend_dev_get.argtypes = (ctypes.c_size_t,)
    library.ggml_backend_dev_type.argtypes = (ctypes.c_void_p,)
    library.ggml_backend_dev_backend_reg.argtypes = (ctypes.c_void_p,)
    size = ctypes.POINTER(ctypes.c_size_t)
    library.ggml_backend_dev_memory.argtypes = (ctypes.c_void_p, size, size)
    library.ggml_backend_dev_memory.restype = None
    library.ggml_backend_dev_init.argtypes = (ctypes.c_void_p, ctypes.c_char_p)
    return library
