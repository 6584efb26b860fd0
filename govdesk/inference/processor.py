"""What this process may compute on: cores, which of them are fast, and how much time of them it gets.

Read from the kernel's own files; what is missing or unreadable (a container, a virtual machine) limits
nothing. The worker is started beside this process and inherits its affinity and its control group, so
what holds here holds there. A cpuset is in the affinity already.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_CPUS = "sys/devices/system/cpu"
_FAST = 0.7
"""A core with less than this share of the best one's figure is an efficiency core. Favoured cores of one
kind differ by a tenth; compact and little cores have about two thirds of the big ones'."""
_MAX_FILE_BYTES = 64 * 1024
_MAX_CPUS = 4096


@dataclass(frozen=True, slots=True)
class Processor:
    """What may be used of the machine.

    `hyper_threads` are the logical processors that the kernel lets this process run on; `cores` the
    physical cores behind them; `fast_cores` those that are no efficiency cores; `socket_cores` the fast
    ones of the socket that has most of them. `quota` is processor time per time that the control groups
    allow, None without a limit. `identity` changes when any of it, or the model of the processor, does.
    """

    name: str
    hyper_threads: int
    cores: int
    fast_cores: int
    socket_cores: int
    quota: float | None
    identity: str


def read(root: Path = Path("/"), allowed: frozenset[int] | None = None) -> Processor:
    """This machine as this process may use it; a file that is missing, or no number, limits nothing.

    Args:
        root: where `sys` and `proc` are.
        allowed: the logical processors that may be used; the kernel's answer if None.
    """
    usable = sorted(os.sched_getaffinity(0) if allowed is None else allowed)
    cores = {_siblings(root, cpu) for cpu in usable}
    fast = _fast(root, usable)
    fast_cores = {_siblings(root, cpu) for cpu in usable if cpu in fast}
    sockets = [_socket(root, int(min(core))) for core in fast_cores]
    quota = _quota(root)
    name = _name(root)
    kept = repr((name, sorted(sorted(core) for core in cores), sorted(fast), sorted(sockets), quota))
    return Processor(
        name=name,
        hyper_threads=len(usable),
        cores=len(cores),
        fast_cores=len(fast_cores),
        socket_cores=max(sockets.count(socket) for socket in set(sockets)),
        quota=quota,
        identity=hashlib.sha384(kept.encode()).hexdigest(),
    )


def numbers(text: str) -> frozenset[int]:
    """The kernel's list of processors, such as `0-3,8`; empty for what is none."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if not first.isdecimal() or not (last or first).isdecimal():
            return frozenset()
        if not int(first) <= int(last or first) < _MAX_CPUS:
            return frozenset()
        found |= set(range(int(first), int(last or first) + 1))
    return frozenset(found)


def _siblings(root: Path, cpu: int) -> frozenset[int]:
    """The hyper-threads of one physical core; by its name the core is known."""
    for file in ("core_cpus_list", "thread_siblings_list"):
        found = numbers(_text(root / _CPUS / f"cpu{cpu}/topology/{file}"))
        if cpu in found:
            return found
    return frozenset({cpu})


def _socket(root: Path, cpu: int) -> int:
    return int(_number(root / _CPUS / f"cpu{cpu}/topology/physical_package_id") or 0)


def _fast(root: Path, usable: list[int]) -> frozenset[int]:
    """Those of the usable processors that are no efficiency cores; all where nothing tells them apart."""
    everyone = frozenset(usable)
    declared = numbers(_text(root / "sys/devices/cpu_core/cpus"))  # Intel's hybrids say it outright
    if declared & everyone and numbers(_text(root / "sys/devices/cpu_atom/cpus")):
        return declared & everyone
    for file in ("cpu_capacity", "acpi_cppc/highest_perf", "cpufreq/cpuinfo_max_freq"):
        figures = {cpu: _number(root / _CPUS / f"cpu{cpu}" / file) for cpu in usable}
        known = [figure for figure in figures.values() if figure]
        if len(known) == len(usable) and min(known) < _FAST * max(known):
            return frozenset(cpu for cpu, figure in figures.items() if (figure or 0) >= _FAST * max(known))
    return everyone


def _quota(root: Path) -> float | None:
    """The tightest limit of all control groups from this process's own up to the root."""
    limits: list[float] = []
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            for mount in ("sys/fs/cgroup", "sys/fs/cgroup/unified"):
                limits += _limits(root / mount, path, _unified_limit)
        elif "cpu" in controllers.split(","):
            for mount in dict.fromkeys((controllers, "cpu", "cpu,cpuacct", "cpuacct,cpu")):
                limits += _limits(root / "sys/fs/cgroup" / mount, path, _first_version_limit)
    return min(limits, default=None)


def _limits(mount: Path, path: str, limit: Callable[[Path], float | None]) -> list[float]:
    parts = [part for part in path.split("/") if part not in {"", ".", ".."}]
    levels = [mount.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]
    return [found for level in levels if (found := limit(level)) is not None]


def _unified_limit(group: Path) -> float | None:
    quota, _, period = _text(group / "cpu.max").strip().partition(" ")
    return _ratio(quota, period)


def _first_version_limit(group: Path) -> float | None:
    return _ratio(
        _text(group / "cpu.cfs_quota_us").strip(),  # -1 without a limit
        _text(group / "cpu.cfs_period_us").strip(),
    )


def _ratio(quota: str, period: str) -> float | None:
    if not quota.isdecimal() or not period.isdecimal() or int(quota) == 0 or int(period) == 0:
        return None
    return int(quota) / int(period)


def _name(root: Path) -> str:
    for line in _text(root / "proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()[:128]
    return platform.machine()


def _number(path: Path) -> float | None:
    text = _text(path).strip()
    return float(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_FILE_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
