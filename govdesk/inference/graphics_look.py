"""What this machine has for a graphics backend, looked at without loading anything: devices, driver, backend.

Only files are read, and the versions of each driver and of what is ours become a stamp: what was found out
about a driver holds as long as that stamp does.
"""

from __future__ import annotations

import os
import platform
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from govdesk import __version__, crypto
from govdesk.domain.frames import GpuBackend
from govdesk.sandbox import graphics

_LIBRARIES = ("lib", "lib64", "usr/lib", "usr/lib64")
_LOADERS = {"vulkan": "libvulkan.so.1", "cuda": "libcuda.so.1"}
_ICD_FOLDERS = ("etc/vulkan/icd.d", "usr/share/vulkan/icd.d")
_STAMP_FILES = ("sys/module/nvidia/version", "proc/sys/kernel/random/boot_id")
"""The boot's id, so that a driver that failed is tried again after the next start of the machine."""
_MAX_STAMP_BYTES = 256


@dataclass(frozen=True, slots=True)
class Look:
    """What was found for one backend.

    Args:
        backend: which.
        installed: the backend's library is part of this installation.
        nodes: device files.
        usable: those of them that this account may open.
        driver: the driver's files that were found; empty: none.
        stamp: changes with the driver, the machine's start and our own package.
        opening: what a worker's walls would leave open for it.
    """

    backend: GpuBackend
    installed: bool
    nodes: tuple[Path, ...]
    usable: tuple[Path, ...]
    driver: tuple[Path, ...]
    stamp: str
    opening: graphics.Opening = graphics.CLOSED


def look(
    backend: GpuBackend,
    root: Path = Path("/"),
    backends: Path | None = None,
    may_use: Callable[[Path], bool] = lambda node: os.access(node, os.R_OK | os.W_OK),
) -> Look:
    """Look for one backend.

    Args:
        backend: `vulkan` or `cuda`.
        root: where the machine's tree begins.
        backends: the installation's folder of llama.cpp's libraries, by default this interpreter's.
        may_use: whether this account may open a device.
    """
    folder = backends or Path(sysconfig.get_path("platlib")) / "llama_cpp" / "lib"
    opening = graphics.opening(backend, root)
    nodes = opening.nodes
    driver = _driver(backend, root)
    library = folder / f"libggml-{backend}.so"
    ours = (library, folder / "libggml-base.so")
    return Look(
        backend=backend,
        installed=library.is_file(),
        nodes=nodes,
        usable=tuple(node for node in nodes if may_use(node)),
        driver=driver,
        stamp=_stamp(root, (*driver, *nodes, *ours)),
        opening=opening,
    )


def _driver(backend: GpuBackend, root: Path) -> tuple[Path, ...]:
    """The loader's library and, for Vulkan, the list of drivers; nothing when one of them is missing."""
    name = _LOADERS[backend]
    folders = [root / place for place in _LIBRARIES]
    folders += [root / place / f"{platform.machine()}-linux-gnu" for place in _LIBRARIES]
    loaders = [folder / name for folder in folders if (folder / name).exists()]
    if not loaders:
        return ()
    if backend == "cuda":
        return (loaders[0],)
    drivers = [path for place in _ICD_FOLDERS for path in sorted((root / place).glob("*.json"))]
    return (loaders[0], *drivers) if drivers else ()


def _stamp(root: Path, files: tuple[Path, ...]) -> str:
    parts = [platform.release(), __version__]  # ours: its walls may be what a driver ended at
    for name in _STAMP_FILES:
        try:
            with (root / name).open("rb") as file:
                parts.append(file.read(_MAX_STAMP_BYTES).decode("ascii", "replace").strip())
        except OSError:
            parts.append("")
    for path in files:
        try:
            found = path.stat()
            parts.append(f"{path} {found.st_mtime_ns} {found.st_size} {found.st_rdev}")
        except OSError:
            parts.append(f"{path} gone")
    return crypto.sha384("\n".join(parts).encode()).hex()[:32]
