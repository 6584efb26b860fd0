"""How many threads the worker gets: the physical cores this process may use, within its CPU quota."""

from __future__ import annotations

import os
from pathlib import Path

_TOPOLOGY = Path("/sys/devices/system/cpu")
_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def suitable(topology: Path = _TOPOLOGY, quota: Path = _CGROUP_QUOTA) -> int:
    """At least 1; two hardware threads of one core count once, for the second adds nothing to decoding."""
    allowed = os.sched_getaffinity(0)
    cores = {_core(topology, cpu) for cpu in allowed}
    return max(1, min(len(cores), _quota_cores(quota, len(allowed))))


def _core(topology: Path, cpu: int) -> str:
    try:
        return (
            (topology / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text(encoding="ascii").strip()
        )
    except OSError:
        return str(cpu)


def _quota_cores(quota: Path, fallback: int) -> int:
    try:
        limit, period = quota.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return fallback
    return fallback if limit == "max" else max(1, int(limit) // int(period))
