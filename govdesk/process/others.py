"""How much of the processors others use: what is busy of those this process may run on, less its own time.

From /proc/stat, which even the confined worker may read. What runs at a lower priority than this process
gives way to it and is not counted; time that a hypervisor took is.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

SHORTEST_SECONDS = 0.15
"""The kernel counts in hundredths of a second: less than this says nothing."""
_STAT = Path("/proc/stat")
_USER, _NICE, _SYSTEM, _IRQ, _SOFT_IRQ, _STEAL = 0, 1, 2, 5, 6, 7
_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Since the machine started: seconds that each processor was busy, by its number."""

    busy_seconds: dict[int, float]


def snapshot(path: Path = _STAT, *, low_priority: bool = False) -> Snapshot | None:
    """What the kernel says now; None where it says nothing.

    Args:
        path: the kernel's file.
        low_priority: count what runs at a lower priority too.
    """
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES).decode("ascii")
        ticks = os.sysconf("SC_CLK_TCK")
        busy: dict[int, float] = {}
        for line in text.splitlines():
            name, _, rest = line.partition(" ")
            if name.startswith("cpu") and name[3:].isdecimal():
                spent = [int(word) for word in rest.split()]
                counted = (_USER, _SYSTEM, _IRQ, _SOFT_IRQ, _STEAL, *((_NICE,) if low_priority else ()))
                busy[int(name[3:])] = sum(spent[at] for at in counted) / ticks
    except (OSError, ValueError, IndexError):
        return None
    return Snapshot(busy) if busy else None


class Others:
    """Watches from one look to the next.

    Args:
        path: the kernel's file.
    """

    def __init__(self, path: Path = _STAT) -> None:
        self._path = path
        self._cpus = os.sched_getaffinity(0)
        self._low_priority = os.getpriority(os.PRIO_PROCESS, 0) > 0
        self._last: tuple[float, float, Snapshot] | None = None

    @property
    def cpus(self) -> int:
        """How many processors this process may run on."""
        return len(self._cpus)

    def begin(self) -> None:
        """Watch from this moment on; what was before does not count in the next look."""
        self._take()

    def look(self) -> float | None:
        """Processors' worth of time that others used since the last look, 0 to `cpus`.

        None, and no look, when that was too short ago or the kernel says nothing.
        """
        last = self._last
        if last is not None and time.monotonic() - last[0] < SHORTEST_SECONDS:
            return None
        found = self._take()
        now = self._last
        if found is None or last is None or now is None:
            return None
        elapsed, own = now[0] - last[0], now[1] - last[1]
        before = last[2].busy_seconds
        busy = sum(
            max(0.0, found.busy_seconds[cpu] - before[cpu])
            for cpu in self._cpus
            if cpu in before and cpu in found.busy_seconds
        )
        return min(max(0.0, (busy - own) / elapsed), float(self.cpus))

    def _take(self) -> Snapshot | None:
        found = snapshot(self._path, low_priority=self._low_priority)
        self._last = None if found is None else (time.monotonic(), time.process_time(), found)
        return found
