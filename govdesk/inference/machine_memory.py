"""How much memory this process may use now: the machine's, within what its control groups allow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_MAX_FILE_BYTES = 64 * 1024
_UNKNOWN = 2**62


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
    for group in _groups(root):
        limit = _number(group / "memory.max")
        if limit is not None:
            cache = _fields(group / "memory.stat").get("inactive_file", 0)
            used = _number(group / "memory.current") or 0
            total = min(total, limit)
            free = min(free, max(0, limit - used + cache))
    return MachineMemory(total, min(free, total))


def _groups(root: Path) -> list[Path]:
    """This process's control group and those above it (version 2)."""
    mount = root / "sys/fs/cgroup"
    path = next(
        (line[3:] for line in _text(root / "proc/self/cgroup").splitlines() if line.startswith("0::/")), "/"
    )
    names = [part for part in path.split("/") if part not in {"", ".", ".."}]
    return [mount.joinpath(*names[:count]) for count in range(len(names) + 1)]


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
