"""How soon a model is ready, what its worker takes beyond the model's size, and that it gives it back."""

from __future__ import annotations

import os
import time
from pathlib import Path

from tests.bench.figures import Figures
from tests.bench.loop import MODEL
from tests.bench.threads import GovDesk

_ROUNDS = 5


def measure(figures: Figures, rounds: int) -> None:
    """Seconds from the order to a ready model, with the file in the page cache and not; MiB."""
    taken: dict[str, list[float]] = {"cold": [], "warm": []}
    over: list[float] = []
    answered: list[float] = []
    shared = _meminfo("Shmem")
    for _ in range(min(rounds, _ROUNDS)):
        for name in taken:
            if name == "cold":
                _forget(MODEL)
            started = time.perf_counter()
            ours = GovDesk()
            taken[name].append(time.perf_counter() - started)
            assert ours.broker.process is not None
            over.append((_resident(ours.broker.process.pid) - MODEL.stat().st_size) / 2**20)
            ours.decode(32)
            answered.append((_resident(ours.broker.process.pid) - MODEL.stat().st_size) / 2**20)
            ours.close()
    for name, seconds in taken.items():
        figures.spread(f"load.{name}", seconds, "s until the model is ready")
    figures.spread("load.over-model", over, "MiB of the worker beyond the model's size")
    figures.spread("load.over-model.answered", answered, "MiB, after an answer")
    figures.add("load.kept-after-unload", (_meminfo("Shmem") - shared) / 2**20, "MiB of shared memory")


def _forget(path: Path) -> None:
    """Drop the file from the page cache, as far as the kernel listens."""
    descriptor = os.open(path, os.O_RDONLY)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(descriptor)


def _resident(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def _meminfo(name: str) -> int:
    text = Path("/proc/meminfo").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(f"{name}:"))
