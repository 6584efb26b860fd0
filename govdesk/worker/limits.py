"""What the worker may not use up: it writes no file, opens few, and gets no memory without end."""

from __future__ import annotations

import resource
from pathlib import Path

_MAX_OPEN_FILES = 64
_MAX_OPEN_FILES_GRAPHICS = 512
"""A graphics driver keeps its devices open several times, and a descriptor for what it shares with them."""
_SPARE_BYTES = 512 * 1024 * 1024
"""For a history of the largest size, several times over, and for what a template makes of it."""
_THREAD_BYTES = 16 * 1024 * 1024
"""A computing thread's stack and heap; they start with the first answer."""


def forbid_files(*, graphics: bool = False) -> None:
    """No file grows, and few are open."""
    most = _MAX_OPEN_FILES_GRAPHICS if graphics else _MAX_OPEN_FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def bound_memory(threads: int, aside_bytes: int) -> None:
    """Limit private memory to what is in use now, with the model and its context, and a spare.

    RLIMIT_DATA, not RLIMIT_AS: where the model's pages are mapped read-only from its descriptor they are no
    memory of ours. `aside_bytes`: for conversations that are set aside. Past the limit an allocation fails,
    and Python says MemoryError.
    """
    most = _used() + _SPARE_BYTES + threads * _THREAD_BYTES + aside_bytes
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        most = min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _used() -> int:
    """Private memory in bytes, as RLIMIT_DATA counts it."""
    with Path("/proc/self/status").open(encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmData:"))
