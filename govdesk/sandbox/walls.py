"""The walls of each role, raised in one call and proven in the next."""

from __future__ import annotations

import os
import sys
import sysconfig
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from govdesk.domain.frames import Probe
from govdesk.sandbox import landlock, seccomp, selftest
from govdesk.sandbox.graphics import CLOSED, Opening


class Wall(Enum):
    """Which walls a role lives behind."""

    BROKER = "broker"
    """May start the installation's programs and make Unix sockets; no other family."""
    WINDOW_CONNECTING = "window, connecting"
    """First stage of the window: Unix sockets to the display; starts nothing."""
    SEALED = "sealed"
    """Second stage of the window, and the terminal: no new socket, starts nothing."""
    CONFINED = "confined"
    """Worker and audit writer: sealed, only the files they were given, no memory shared with others."""
    GRAPHICS = "confined, with a graphics device"
    """A worker that computes on a graphics card: CONFINED but for what `graphics.opening` leaves open."""


@dataclass(frozen=True, slots=True)
class _Rights:
    unix_sockets: bool
    listening: bool
    starts_programs: bool
    confined_files: bool


_RIGHTS = {
    Wall.BROKER: _Rights(unix_sockets=True, listening=True, starts_programs=True, confined_files=False),
    Wall.WINDOW_CONNECTING: _Rights(
        unix_sockets=True, listening=False, starts_programs=False, confined_files=False
    ),
    Wall.SEALED: _Rights(unix_sockets=False, listening=False, starts_programs=False, confined_files=False),
    Wall.CONFINED: _Rights(unix_sockets=False, listening=False, starts_programs=False, confined_files=True),
    Wall.GRAPHICS: _Rights(unix_sockets=False, listening=False, starts_programs=False, confined_files=True),
}


def raise_walls(wall: Wall, rules: tuple[landlock.Rule, ...] = (), graphics: Opening = CLOSED) -> None:
    """Put up the walls of a role, for good. Every thread is behind them.

    Args:
        wall: which.
        rules: the files a CONFINED role may touch, or the programs the BROKER may start.
        graphics: what a GRAPHICS role may use besides; nothing for any other.

    Raises:
        WallError: a wall cannot be had.
    """
    rights = _RIGHTS[wall]
    graphics = graphics if wall is Wall.GRAPHICS else CLOSED
    if rights.confined_files:
        landlock.restrict((*rules, *graphics.rules()))
    elif wall is Wall.BROKER:
        landlock.restrict(rules, execute_only=True)
    seccomp.install(
        seccomp.program(
            unix_sockets=rights.unix_sockets,
            listening=rights.listening,
            starts_programs=rights.starts_programs,
            only_process=None if rights.starts_programs else os.getpid(),
            own_files_only=rights.confined_files,
            ioctl_types=graphics.ioctl_types,
        )
    )


def expected(wall: Wall) -> frozenset[str]:
    """The channels that the self-test of this wall tries: no more, no fewer."""
    rights = _RIGHTS[wall]
    return selftest.channels(
        unix_sockets=rights.unix_sockets,
        starts_programs=rights.starts_programs,
        confined_files=rights.confined_files,
    )


def prove(wall: Wall) -> tuple[Probe, ...]:
    """Try every channel that this wall must close; report, without judging."""
    return selftest.run(expected(wall))


def raise_and_prove(
    wall: Wall, rules: tuple[landlock.Rule, ...] = (), graphics: Opening = CLOSED
) -> tuple[Probe, ...]:
    """Put up the walls, try them, refuse to go on when one is open.

    Raises:
        WallError: a wall cannot be had, or does not hold.
    """
    raise_walls(wall, rules, graphics)
    probes = prove(wall)
    selftest.require_closed(probes, expected(wall))
    return probes


def installation() -> tuple[Path, ...]:
    """The interpreter, its library, the packages, the program and the system's libraries."""
    paths = {Path(sys.base_prefix), Path(sys.prefix), Path(__file__).resolve().parents[1]}
    paths |= {Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    paths |= {Path("/lib"), Path("/lib64"), Path("/usr/lib"), Path("/usr/lib64"), Path("/etc/ld.so.cache")}
    return tuple(sorted(path.resolve() for path in paths))


def programs() -> tuple[landlock.Rule, ...]:
    """What the broker may start: the interpreter, with the loader it needs.

    No wall against a broker that was taken over: the loader, like the interpreter, runs what it is told.
    """
    interpreter = Path(sys.executable).resolve()
    loaders = [
        path.resolve()
        for folder in ("/lib64", "/lib", "/lib/x86_64-linux-gnu")
        for path in Path(folder).glob("ld-linux*.so*")
    ]
    return tuple(landlock.Rule(path, landlock.EXECUTE) for path in (interpreter, *loaders))


def readable(*extra: Path) -> tuple[landlock.Rule, ...]:
    """Read-only rules for the installation, what native libraries ask of the machine, and `extra`."""
    machine = (
        "/dev/zero", "/dev/urandom", "/dev/random", "/proc/cpuinfo", "/proc/meminfo", "/proc/self",
        "/proc/stat", "/sys/devices/system/cpu", "/sys/devices/system/node",
        "/etc/localtime", "/usr/share/zoneinfo",
    )  # fmt: skip
    paths = (*installation(), *(Path(name) for name in machine), *extra)
    nowhere = landlock.Rule(Path("/dev/null"), landlock.WRITE)
    return (*(landlock.Rule(path, landlock.READ) for path in paths), nowhere)
