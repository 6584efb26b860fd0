"""The tightest limit counts, and what cannot be read limits nothing."""

from __future__ import annotations

from pathlib import Path

from govdesk.inference import machine_memory
from govdesk.inference.machine_memory import MachineMemory

GB = 2**30


def machine(root: Path, files: dict[str, str]) -> MachineMemory:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return machine_memory.read(root)


MEMINFO = {"proc/meminfo": f"MemTotal: {16 * 2**20} kB\nMemFree: 1 kB\nMemAvailable: {9 * 2**20} kB\n"}
OWN = {"proc/self/cgroup": "0::/user.slice/app\n"}


def test_without_control_groups_the_machines_own_figures_count(tmp_path: Path) -> None:
    assert machine(tmp_path, MEMINFO) == MachineMemory(16 * GB, 9 * GB)


def test_a_limit_above_this_group_counts(tmp_path: Path) -> None:
    limited = {
        "sys/fs/cgroup/user.slice/memory.max": str(4 * GB),
        "sys/fs/cgroup/user.slice/memory.current": str(3 * GB),
        "sys/fs/cgroup/user.slice/memory.stat": f"anon {GB}\ninactive_file {GB}\n",
        "sys/fs/cgroup/user.slice/app/memory.max": "max\n",
    }
    assert machine(tmp_path, MEMINFO | OWN | limited) == MachineMemory(4 * GB, 2 * GB)


def test_a_group_over_its_limit_has_nothing_free(tmp_path: Path) -> None:
    full = {"sys/fs/cgroup/memory.max": str(GB), "sys/fs/cgroup/memory.current": str(2 * GB)}
    assert machine(tmp_path, MEMINFO | full) == MachineMemory(GB, 0)


def test_nonsense_limits_nothing(tmp_path: Path) -> None:
    nonsense = {"sys/fs/cgroup/memory.max": "-1", "proc/self/cgroup": "0::/../../etc\n"}
    assert machine(tmp_path, MEMINFO | nonsense) == MachineMemory(16 * GB, 9 * GB)
    assert machine(tmp_path / "none", {}).free_bytes > 1000 * GB


def test_this_machine_has_memory() -> None:
    found = machine_memory.read()
    assert 0 < found.free_bytes <= found.total_bytes
