"""What a graphics driver needs through the worker's walls, per backend: device nodes, its files, its ioctls.

A wall with a door in it: only a worker that is started for a graphics backend gets it, which policy has to
allow, and everything else stays as shut as for every worker. Display nodes (`card*`) are never opened.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from govdesk.sandbox import landlock

_RENDER = re.compile(r"renderD\d{1,4}")
_NVIDIA = re.compile(r"nvidia(?:\d{1,3}|ctl|-uvm)")
_DRM_TYPE, _NVIDIA_TYPE, _UVM_TYPE = ord("d"), ord("F"), 0
"""Second byte of an ioctl's number, by which a driver's own are known. NVIDIA's memory driver uses none."""
_VULKAN_FILES = ("etc/vulkan/icd.d", "usr/share/vulkan/icd.d", "usr/share/drirc.d", "usr/share/libdrm")
"""Which drivers there are and how they are set; no layers, which are code that anybody may add."""
_DRM_FILES = ("sys/class/drm", "sys/dev/char")
_NVIDIA_FILES = ("proc/driver/nvidia", "proc/devices", "usr/share/nvidia", "sys/module/nvidia")


@dataclass(frozen=True, slots=True)
class Opening:
    """What one backend's worker may use besides.

    Args:
        nodes: device files: read, write, ioctl.
        files: folders and files: read.
        ioctl_types: second bytes of the ioctls that pass.
    """

    nodes: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()
    ioctl_types: tuple[int, ...] = ()

    def rules(self) -> tuple[landlock.Rule, ...]:
        """The opening as rules."""
        devices = tuple(landlock.Rule(node, landlock.DEVICE) for node in self.nodes)
        return devices + tuple(landlock.Rule(path, landlock.READ) for path in self.files)


CLOSED = Opening()
"""Nothing besides."""


def opening(backend: str, root: Path = Path("/")) -> Opening:
    """The opening for `vulkan` or `cuda` on this machine: what is not there is not in it.

    Args:
        backend: which.
        root: where the machine's tree begins.

    Raises:
        ValueError: another backend.
    """
    if backend not in {"cuda", "vulkan"}:
        raise ValueError(backend)
    nvidia = nvidia_nodes(root)
    render = render_nodes(root) if backend == "vulkan" else ()
    files = [root / name for name in _VULKAN_FILES if backend == "vulkan"]
    types: list[int] = []
    if render:
        types.append(_DRM_TYPE)
        files += [root / name for name in _DRM_FILES]
        files += [(root / "sys/class/drm" / node.name / "device").resolve() for node in render]
    if nvidia:
        types += [_NVIDIA_TYPE, _UVM_TYPE]
        files += [root / name for name in _NVIDIA_FILES]
    return Opening((*render, *nvidia), tuple(path for path in files if path.exists()), tuple(types))


def render_nodes(root: Path = Path("/")) -> tuple[Path, ...]:
    """The devices that compute without a display, of every driver in the kernel's own tree."""
    return _nodes(root / "dev/dri", _RENDER)


def nvidia_nodes(root: Path = Path("/")) -> tuple[Path, ...]:
    """The devices of NVIDIA's driver."""
    return _nodes(root / "dev", _NVIDIA)


def _nodes(folder: Path, names: re.Pattern[str]) -> tuple[Path, ...]:
    try:
        found = sorted(path for path in folder.iterdir() if names.fullmatch(path.name))
    except OSError:
        return ()
    return tuple(found)
