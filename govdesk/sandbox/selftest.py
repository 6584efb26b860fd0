"""The proof that the walls stand: try every channel and see it refused. The one home of raw sockets.

Any channel that answers otherwise than with the wall's own error counts as open, and GovDesk refuses to run.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from collections.abc import Callable
from pathlib import Path

from govdesk.domain.frames import Probe
from govdesk.errors import WallError

_AF_VSOCK = 40
_SYS_EXECVE, _SYS_IO_URING_SETUP, _SYS_PTRACE, _SYS_FORK = 59, 425, 101, 57
_PTRACE_PEEKUSER = 3
_OUTSIDE = Path("/etc/hostname")
_OUTSIDE_WRITE = Path("/var/tmp")  # noqa: S108  tried, never used


def _socket(family: int, kind: int, protocol: int = 0) -> str:
    try:
        socket.socket(family, kind, protocol).close()
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "?")
    return "open"


def _unix() -> str:
    return _socket(socket.AF_UNIX, socket.SOCK_STREAM)


def _resolver() -> str:
    try:
        socket.getaddrinfo("self-test.govdesk.invalid", 80)
    except socket.gaierror as error:
        # "no such name" is an answer, so somebody was asked; anything else means nobody could be
        return "open" if error.errno == socket.EAI_NONAME else "EPERM"
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "?")
    return "open"


def _call(number: int, *arguments: int | None) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, *arguments) >= 0:
        return "open"
    return errno.errorcode.get(ctypes.get_errno(), "?")


def _read_outside() -> str:
    try:
        os.close(os.open(_OUTSIDE, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "?")
    return "open"


def _write_outside() -> str:
    try:
        os.close(os.open(_OUTSIDE_WRITE, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "?")
    return "open"


_NETWORK: dict[str, Callable[[], str]] = {
    "tcp4": lambda: _socket(socket.AF_INET, socket.SOCK_STREAM),
    "tcp6": lambda: _socket(socket.AF_INET6, socket.SOCK_STREAM),
    "udp4": lambda: _socket(socket.AF_INET, socket.SOCK_DGRAM),
    "udp6": lambda: _socket(socket.AF_INET6, socket.SOCK_DGRAM),
    "raw": lambda: _socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "packet": lambda: _socket(socket.AF_PACKET, socket.SOCK_RAW),
    "netlink": lambda: _socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "vsock": lambda: _socket(_AF_VSOCK, socket.SOCK_STREAM),
    "bluetooth": lambda: _socket(31, socket.SOCK_RAW),
    "io_uring": lambda: _call(_SYS_IO_URING_SETUP, 1, None),
    "ptrace": lambda: _call(_SYS_PTRACE, _PTRACE_PEEKUSER, 1, 0, 0),
}
_RESOLVER: dict[str, Callable[[], str]] = {"resolver": _resolver}
_UNIX: dict[str, Callable[[], str]] = {"unix": _unix}
_PROGRAMS: dict[str, Callable[[], str]] = {"execve": lambda: _call(_SYS_EXECVE, None, None, None)}
_FILES: dict[str, Callable[[], str]] = {"read-outside": _read_outside, "write-outside": _write_outside}


def run(*, unix_sockets: bool, starts_programs: bool, confined_files: bool) -> tuple[Probe, ...]:
    """Try every channel that the walls of this role must close.

    Args:
        unix_sockets: the role may make Unix sockets, so `unix` and the resolver are not tried.
        starts_programs: the role may start programs, so `execve` is not tried.
        confined_files: the role is under Landlock, so files outside are tried.
    """
    channels = dict(_NETWORK)
    if not unix_sockets:
        channels |= _UNIX | _RESOLVER
    if not starts_programs:
        channels |= _PROGRAMS
    if confined_files:
        channels |= _FILES
    probes = []
    for channel, attempt in channels.items():
        found = attempt()
        wall = ("EACCES",) if channel in _FILES else ("EPERM",)
        probes.append(Probe(channel=channel, blocked=found in wall, found=found))
    return tuple(probes)


def require_closed(probes: tuple[Probe, ...]) -> None:
    """Refuse to go on when any channel is open.

    Raises:
        WallError: names the open channels.
    """
    still_open = [f"{probe.channel} ({probe.found})" for probe in probes if not probe.blocked]
    if still_open:
        raise WallError(
            "The self-test found a way out of this process: " + ", ".join(still_open) + ".",
            code="wall.open",
            kept="GovDesk did not start; nothing was changed.",
            todo="Show this to your administrator; `govdesk doctor` lists every channel.",
        )
