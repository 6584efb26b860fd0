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


NO_LIMIT = "9223372036854771712\n"
FIRST = {"proc/self/cgroup": "9:name=systemd:/\n4:memory:/slice/job\n3:cpu,cpuacct:/\n0::/\n"}
GROUP = "sys/fs/cgroup/memory/slice"


def test_a_limit_of_the_first_version_counts_as_on_rhel_8(tmp_path: Path) -> None:
    """Cache below the limited group is given back too: the first version adds it up under another name."""
    limited = {
        "sys/fs/cgroup/memory/memory.limit_in_bytes": NO_LIMIT,
        "sys/fs/cgroup/memory/memory.usage_in_bytes": str(12 * GB),
        f"{GROUP}/memory.limit_in_bytes": f"{4 * GB}\n",
        f"{GROUP}/memory.usage_in_bytes": f"{3 * GB}\n",
        f"{GROUP}/memory.stat": f"inactive_file 0\ntotal_rss {GB}\ntotal_inactive_file {GB}\n",
        f"{GROUP}/job/memory.limit_in_bytes": NO_LIMIT,
        f"{GROUP}/job/memory.usage_in_bytes": str(3 * GB),
    }
    assert machine(tmp_path, MEMINFO | FIRST | limited) == MachineMemory(4 * GB, 2 * GB)


def test_the_groups_own_limit_of_the_first_version_counts(tmp_path: Path) -> None:
    own = {f"{GROUP}/job/memory.limit_in_bytes": str(2 * GB), f"{GROUP}/memory.limit_in_bytes": NO_LIMIT}
    assert machine(tmp_path, MEMINFO | FIRST | own) == MachineMemory(2 * GB, 2 * GB)


def test_the_first_versions_root_limits_nothing(tmp_path: Path) -> None:
    root = {
        "sys/fs/cgroup/memory/memory.limit_in_bytes": NO_LIMIT,
        "sys/fs/cgroup/memory/memory.usage_in_bytes": str(15 * GB),
    }
    assert machine(tmp_path, MEMINFO | FIRST | root) == MachineMemory(16 * GB, 9 * GB)


def test_a_container_sees_its_own_group_as_the_root(tmp_path: Path) -> None:
    """Its path is the host's, of which nothing is mounted."""
    inside = {
        "proc/self/cgroup": "4:memory:/docker/0123abcd\n",
        "sys/fs/cgroup/memory/memory.limit_in_bytes": str(GB),
        "sys/fs/cgroup/memory/memory.usage_in_bytes": str(GB // 4),
    }
    assert machine(tmp_path, MEMINFO | inside) == MachineMemory(GB, 3 * GB // 4)


def test_the_unified_tree_beside_the_first_version_counts(tmp_path: Path) -> None:
    beside = {"sys/fs/cgroup/unified/a/memory.max": str(3 * GB), "proc/self/cgroup": "0::/a\n"}
    assert machine(tmp_path, MEMINFO | beside).total_bytes == 3 * GB


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
