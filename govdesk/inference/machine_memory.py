"""How much memory this process may use now: the machine's, within what its control groups allow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_MAX_FILE_BYTES = 64 * 1024
_UNKNOWN = 2**62


@dataclass(frozen=True, slots=True)
class _Names:
    """What one version of control groups calls its files."""

    mounts: tuple[str, ...]
    limit: str
    used: str
    cache: str
    """In `memory.stat`: what the kernel gives back, of this group and those below it."""


_FIRST = _Names(
    ("sys/fs/cgroup/memory",), "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
)
_UNIFIED = _Names(("sys/fs/cgroup", "sys/fs/cgroup/unified"), "memory.max", "memory.current", "inactive_file")


@dataclass(frozen=True, slots=True)
class MachineMemory:
    """In bytes; `free_bytes` counts what the kernel gives back when it is asked for."""

    total_bytes: int
    free_bytes: int


def read(root: Path = Path("/")) -> MachineMemory:
    """The tightest of all limits; a file that is missing or unreadable limits nothing.

    Args:
        root: where `proc` and `sys` are.
    """
    fields = _fields(root / "proc/meminfo")
    total = fields.get("MemTotal:", _UNKNOWN // 1024) * 1024
    free = fields.get("MemAvailable:", _UNKNOWN // 1024) * 1024
    for group, names in _groups(root):
        limit = _number(group / names.limit)  # the first version's without a limit is larger than any memory
        if limit is not None:
            cache = _fields(group / "memory.stat").get(names.cache, 0)
            used = _number(group / names.used) or 0
            total = min(total, limit)
            free = min(free, max(0, limit - used + cache))
    return MachineMemory(total, min(free, total))


def _groups(root: Path) -> Iterator[tuple[Path, _Names]]:
    """This process's control groups and those above them, of both versions: RHEL 8 has the first."""
    paths = {_UNIFIED: "/"}
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            paths[_UNIFIED] = path
        elif "memory" in controllers.split(","):
            paths[_FIRST] = path
    for names, path in paths.items():
        parts = [part for part in path.split("/") if part not in {"", ".", ".."}]
        for mount in names.mounts:
            for count in range(len(parts) + 1):
                yield root.joinpath(mount, *parts[:count]), names


def _text(path: Path) -> str:
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            return file.read(_MAX_FILE_BYTES)
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdecimal() else None


def _fields(path: Path) -> dict[str, int]:
    """The first number of each line, by its first word."""
    pairs = (line.split() for line in _text(path).splitlines())
    return {words[0]: int(words[1]) for words in pairs if len(words) > 1 and words[1].isdecimal()}
