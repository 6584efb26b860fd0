"""A graphics driver's door is as wide as the machine's own devices, and no wider."""

from __future__ import annotations

from pathlib import Path

import pytest

from govdesk.domain.frames import GPU_BACKENDS
from govdesk.sandbox import landlock
from govdesk.sandbox.graphics import Opening, opening


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "dev/dri/card0", "dev/dri/renderD128", "dev/dri/renderD129", "dev/dri/by-path", "dev/nvidia0",
        "dev/nvidiactl", "dev/nvidia-uvm", "dev/nvidia-uvm-tools", "dev/nvidia-modeset", "dev/nvme0",
        "usr/share/vulkan/icd.d/driver.json", "usr/share/vulkan/implicit_layer.d/layer.json",
        "sys/devices/pci/0000:01/vendor", "proc/driver/nvidia/version",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for node in ("renderD128", "renderD129"):
        (tmp_path / "sys/class/drm" / node).mkdir(parents=True)
        (tmp_path / "sys/class/drm" / node / "device").symlink_to(tmp_path / "sys/devices/pci/0000:01")
    return tmp_path


def names(tree: Path, paths: tuple[Path, ...]) -> set[str]:
    return {str(path.relative_to(tree)) for path in paths}


def test_vulkan_gets_render_nodes_and_never_a_display(tree: Path) -> None:
    found = opening("vulkan", tree)
    assert names(tree, found.nodes) == {
        "dev/dri/renderD128", "dev/dri/renderD129", "dev/nvidia0", "dev/nvidiactl", "dev/nvidia-uvm",
    }  # fmt: skip
    assert {"usr/share/vulkan/icd.d", "sys/devices/pci/0000:01"} <= names(tree, found.files)
    assert not any("layer" in name for name in names(tree, found.files))
    assert set(found.ioctl_types) == {ord("d"), ord("F"), 0}


def test_cuda_gets_its_own_devices_alone(tree: Path) -> None:
    found = opening("cuda", tree)
    assert names(tree, found.nodes) == {"dev/nvidia0", "dev/nvidiactl", "dev/nvidia-uvm"}
    assert set(found.ioctl_types) == {ord("F"), 0}
    assert not any("dri" in name.split("/") for name in names(tree, found.files))


def test_without_devices_no_ioctl_is_opened(tmp_path: Path) -> None:
    for backend in GPU_BACKENDS:
        assert opening(backend, tmp_path) == Opening()


def test_devices_are_written_and_files_only_read(tree: Path) -> None:
    for rule in opening("vulkan", tree).rules():
        in_dev = str(rule.path).startswith(str(tree / "dev"))
        assert rule.rights == (landlock.DEVICE if in_dev else landlock.READ)
    assert not landlock.DEVICE & (1 << 0), "nothing is started from there"


@pytest.mark.parametrize("backend", ["", "rpc", "opencl", "../cuda"])
def test_another_backend_has_no_opening(backend: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r".*"):
        opening(backend, tmp_path)


# `/dev/null` answers an ioctl that it does not know with ENOTTY: it reached the device. EPERM is the filter's.
_IOCTLS = """
import errno, fcntl, os, sys
from pathlib import Path
from govdesk.sandbox import walls
from govdesk.sandbox.graphics import Opening
from govdesk.sandbox.walls import Wall

types = tuple(int(kind) for kind in sys.argv[2].split(",") if kind)
wall = Wall[sys.argv[1]]
opened = Opening((Path("/dev/null"),), (), types)
probes = walls.raise_and_prove(wall, walls.readable(), opened)
assert {probe.channel for probe in probes} == walls.expected(Wall.CONFINED)
device = os.open("/dev/null", os.O_RDWR)
for number in (0xC0406400, 0xC02046C8, 0x4B, 0x30000001, 0x5412, 0x541C, 0x8927, 0xC0044D00):
    try:
        fcntl.ioctl(device, number, b"\\0" * 64)
        print("through", end=" ")
    except OSError as error:
        print(errno.errorcode[error.errno], end=" ")
"""
_ALL_REFUSED = ["EPERM"] * 8


@pytest.mark.parametrize(
    ("wall", "types", "answers"),
    [
        ("CONFINED", "100,70,0", _ALL_REFUSED),
        ("GRAPHICS", "", _ALL_REFUSED),
        ("GRAPHICS", "100", ["ENOTTY", *["EPERM"] * 7]),
        ("GRAPHICS", "70,0", ["EPERM", "ENOTTY", "ENOTTY", "ENOTTY", *["EPERM"] * 4]),
        ("GRAPHICS", "100,70,0", [*["ENOTTY"] * 4, *["EPERM"] * 4]),
    ],
)
def test_only_a_drivers_own_ioctls_pass(isolated, wall: str, types: str, answers: list[str]) -> None:
    done = isolated(_IOCTLS, wall, types)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == answers
