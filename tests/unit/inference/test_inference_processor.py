"""Threads fit the machine: cores, hyper-threads, efficiency cores, sockets, affinity, control groups."""

from __future__ import annotations

from pathlib import Path

import pytest

from govdesk.inference import processor, threads
from govdesk.inference.threads import Threads
from tests.unit.inference.machines import Machine, cpu_file


def test_a_hybrid_with_six_fast_and_eight_efficiency_cores(tmp_path: Path) -> None:
    fast = [(2 * core, 2 * core + 1) for core in range(6)]
    machine = Machine(tmp_path, [*fast, *((cpu,) for cpu in range(12, 20))])
    machine.files = {"sys/devices/cpu_core/cpus": "0-11\n", "sys/devices/cpu_atom/cpus": "12-19\n"}
    found = processor.read(machine.build(), machine.everyone)
    assert (found.hyper_threads, found.cores, found.fast_cores) == (20, 14, 6)
    assert threads.choose(found) == Threads(decode=6, batch=14)
    assert "8 efficiency cores only read prompts" in threads.explain(found)


@pytest.mark.parametrize(
    ("file", "big", "little"),
    [
        ("cpu_capacity", 1024, 446),
        ("acpi_cppc/highest_perf", 208, 135),
        ("cpufreq/cpuinfo_max_freq", 5_100_000, 3_300_000),
    ],
)
def test_efficiency_cores_are_told_apart_where_the_kernel_names_none(
    tmp_path: Path, file: str, big: int, little: int
) -> None:
    machine = Machine(tmp_path, [(cpu,) for cpu in range(8)])
    machine.files = {cpu_file(cpu, file): f"{big if cpu < 4 else little}\n" for cpu in range(8)}
    found = processor.read(machine.build(), machine.everyone)
    assert threads.choose(found) == Threads(decode=4, batch=8)


def test_favoured_cores_of_one_kind_are_all_used(tmp_path: Path) -> None:
    machine = Machine(tmp_path, [(cpu, cpu + 8) for cpu in range(8)])
    for cpu in range(16):
        machine.files[cpu_file(cpu, "acpi_cppc/highest_perf")] = f"{231 - 5 * (cpu % 8)}\n"
        machine.files[cpu_file(cpu, "cpufreq/cpuinfo_max_freq")] = f"{5_084_000 - 50_000 * (cpu % 8)}\n"
    found = processor.read(machine.build(), machine.everyone)
    assert threads.choose(found) == Threads(decode=8, batch=8)
    assert "16 hyper-threads count as their cores" in threads.explain(found)


def test_a_server_with_two_sockets_decodes_on_one(tmp_path: Path) -> None:
    machine = Machine(tmp_path, [(cpu, cpu + 32) for cpu in range(32)])
    machine.package = {cpu: 0 if cpu % 32 < 16 else 1 for cpu in range(64)}
    found = processor.read(machine.build(), machine.everyone)
    assert threads.choose(found) == Threads(decode=16, batch=32)
    assert 32 in threads.candidates(found)  # tuning tries both sockets
    assert "one socket's 16" in threads.explain(found)


def test_hyper_threading_switched_off(tmp_path: Path) -> None:
    machine = Machine(tmp_path, [(cpu,) for cpu in range(8)])
    found = processor.read(machine.build(), machine.everyone)
    assert (found.hyper_threads, found.cores) == (8, 8)
    assert threads.choose(found) == Threads(decode=8, batch=8)


def test_a_virtual_machine_that_tells_nothing(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    found = processor.read(tmp_path, frozenset(range(4)))
    assert threads.choose(found) == Threads(decode=4, batch=4)
    assert found.quota is None
    assert found.name


def test_the_affinity_limits(tmp_path: Path) -> None:
    machine = Machine(tmp_path, [(cpu, cpu + 4) for cpu in range(4)])
    found = processor.read(machine.build(), frozenset({0, 4, 1}))  # one core twice, another once
    assert threads.choose(found) == Threads(decode=2, batch=2)


def test_only_efficiency_cores_are_better_than_none(tmp_path: Path) -> None:
    machine = Machine(tmp_path, [(cpu,) for cpu in range(8)])
    machine.files = {"sys/devices/cpu_core/cpus": "0-3\n", "sys/devices/cpu_atom/cpus": "4-7\n"}
    found = processor.read(machine.build(), frozenset({4, 5, 6, 7}))
    assert threads.choose(found) == Threads(decode=4, batch=4)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ({"sys/fs/cgroup/a/b/cpu.max": "300000 100000\n"}, 3),
        ({"sys/fs/cgroup/a/cpu.max": "250000 100000\n", "sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, 2),
        ({"sys/fs/cgroup/a/cpu.max": "600000 100000\n", "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n"}, 4),
        ({"sys/fs/cgroup/a/b/cpu.max": "50000 100000\n"}, 1),
        ({"sys/fs/cgroup/other/cpu.max": "100000 100000\n"}, 8),
        ({"sys/fs/cgroup/unified/a/cpu.max": "200000 100000\n"}, 2),
    ],
)
def test_the_tightest_control_group_above_this_process_limits(
    tmp_path: Path, files: dict[str, str], expected: int
) -> None:
    machine = Machine(tmp_path, [(cpu,) for cpu in range(8)])
    machine.files = {"proc/self/cgroup": "0::/a/b\n", **files}
    found = processor.read(machine.build(), machine.everyone)
    assert threads.choose(found) == Threads(decode=expected, batch=expected)
    assert ("control group allows" in threads.explain(found)) == (expected < 8)


@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_control_groups_of_the_first_version(tmp_path: Path, mount: str) -> None:
    machine = Machine(tmp_path, [(cpu,) for cpu in range(8)])
    machine.files = {
        "proc/self/cgroup": f"7:memory:/m\n4:{mount}:/slice/job\n0::/\n",
        f"sys/fs/cgroup/{mount}/cpu.cfs_quota_us": "-1\n",
        f"sys/fs/cgroup/{mount}/cpu.cfs_period_us": "100000\n",
        f"sys/fs/cgroup/{mount}/slice/cpu.cfs_quota_us": "350000\n",
        f"sys/fs/cgroup/{mount}/slice/cpu.cfs_period_us": "100000\n",
        f"sys/fs/cgroup/{mount}/slice/job/cpu.cfs_quota_us": "-1\n",
        f"sys/fs/cgroup/{mount}/slice/job/cpu.cfs_period_us": "100000\n",
    }
    found = processor.read(machine.build(), machine.everyone)
    assert found.quota == 3.5
    assert threads.choose(found) == Threads(decode=3, batch=3)


@pytest.mark.parametrize("text", ["", "max", "nonsense 1", "-5 100000", "0 0", "1 0", "9" * 30, "\xff\xfe"])
def test_a_limit_that_is_none_limits_nothing(tmp_path: Path, text: str) -> None:
    machine = Machine(tmp_path, [(0,), (1,)])
    machine.files = {"sys/fs/cgroup/cpu.max": text}
    assert processor.read(machine.build(), machine.everyone).quota is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0-3,8\n", {0, 1, 2, 3, 8}), ("5", {5}), ("", set()), ("a-b", set()), ("3-1", set()),
        ("0-99999999", set()), ("1,,2", set()), ("-1", set()),
    ],
)  # fmt: skip
def test_lists_of_processors(text: str, expected: set[int]) -> None:
    assert processor.numbers(text) == expected


def test_the_identity_changes_with_what_tuning_depends_on(tmp_path: Path) -> None:
    machine = Machine(tmp_path, [(cpu,) for cpu in range(4)])
    root, everyone = machine.build(), machine.everyone
    first = processor.read(root, everyone).identity
    assert processor.read(root, everyone).identity == first
    seen = {first, processor.read(root, frozenset({0, 1})).identity}
    machine.write("sys/fs/cgroup/cpu.max", "200000 100000")
    seen.add(processor.read(root, everyone).identity)
    machine.write("proc/cpuinfo", "model name\t: Another\n")
    seen.add(processor.read(root, everyone).identity)
    assert len(seen) == 4


def test_this_machine() -> None:
    found = processor.read()
    assert 1 <= found.socket_cores <= found.fast_cores <= found.cores <= found.hyper_threads
    assert threads.suitable() == threads.choose(found).decode >= 1
