"""The proof that the walls stand: try every channel and see it refused. The one home of raw sockets.

Any channel that answers otherwise than with the wall's own error counts as open, and GovDesk refuses to run.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

from govdesk.domain.frames import Probe
from govdesk.errors import WallError

_AF_VSOCK = 40
_SYS_EXECVE, _SYS_IO_URING_SETUP, _SYS_PTRACE, _SYS_FORK = 59, 425, 101, 57
_PTRACE_PEEKUSER = 3
_SYS_TRUNCATE, _SYS_CHMOD, _SYS_KILL, _SYS_SHMGET, _SYS_MSGCTL = 76, 90, 62, 29, 71
_RESOLVERS: tuple[tuple[int, int, str | tuple[str, int]], ...] = (
    (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.53", 53)),
    (socket.AF_INET6, socket.SOCK_DGRAM, ("::1", 53)),
    (socket.AF_UNIX, socket.SOCK_STREAM, "/run/systemd/resolve/io.systemd.Resolve"),
    (socket.AF_UNIX, socket.SOCK_STREAM, "/run/nscd/socket"),
)
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


def _connect(family: int, kind: int, address: str | tuple[str, int]) -> str:
    try:
        with socket.socket(family, kind) as asking:
            asking.setblocking(False)
            asking.connect(address)  # UDP: fixes the address, sends nothing
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, "?")
    return "open"


def _resolver() -> str:
    """What a name resolver is asked by: UDP, or the Unix socket of a service on this machine.

    Not getaddrinfo: what that answers depends on the machine's configuration, not on the walls.
    """
    for family, kind, address in _RESOLVERS:
        found = _connect(family, kind, address)
        if found != "EPERM":
            return found
    return "EPERM"


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
    "sysv-message": lambda: _call(_SYS_MSGCTL, -1, 0, None),
}
_RESOLVER: dict[str, Callable[[], str]] = {"resolver": _resolver}
_UNIX: dict[str, Callable[[], str]] = {"unix": _unix}
# the own process group may always be signalled; with signal 0 nothing is sent
_PROGRAMS: dict[str, Callable[[], str]] = {
    "execve": lambda: _call(_SYS_EXECVE, None, None, None),
    "kill": lambda: _call(_SYS_KILL, 0, 0),
}
# without a path, or with an impossible size, nothing happens where no wall answers first
_OTHERS: dict[str, Callable[[], str]] = {
    "truncate": lambda: _call(_SYS_TRUNCATE, None, 0),
    "chmod": lambda: _call(_SYS_CHMOD, None, 0),
    "sysv-memory": lambda: _call(_SYS_SHMGET, 0, 0, 0),
}
_FILES: dict[str, Callable[[], str]] = {"read-outside": _read_outside, "write-outside": _write_outside}


_ATTEMPTS = _NETWORK | _UNIX | _RESOLVER | _PROGRAMS | _OTHERS | _FILES
EVERY = frozenset(_ATTEMPTS)
"""Every channel there is a probe for: what the strictest wall, the worker's, has to close."""


def channels(*, unix_sockets: bool, starts_programs: bool, confined_files: bool) -> frozenset[str]:
    """The channels that the walls of a role must close.

    Args:
        unix_sockets: the role may make Unix sockets, so `unix` and the resolver are not tried.
        starts_programs: the role starts and ends programs, so `execve` and `kill` are not tried.
        confined_files: the role is under Landlock, so files outside, attributes and shared memory are tried.
    """
    names = set(_NETWORK)
    if not unix_sockets:
        names |= set(_UNIX) | set(_RESOLVER)
    if not starts_programs:
        names |= set(_PROGRAMS)
    if confined_files:
        names |= set(_OTHERS) | set(_FILES)
    return frozenset(names)


def run(names: frozenset[str]) -> tuple[Probe, ...]:
    """Try the channels; report, without judging."""
    found = {name: attempt() for name, attempt in _ATTEMPTS.items() if name in names}
    return tuple(
        Probe(channel=name, blocked=_closed(name, answer), found=answer) for name, answer in found.items()
    )


def _closed(channel: str, found: str) -> bool:
    """Only the wall's own answer counts: Landlock says EACCES, seccomp EPERM."""
    return found == ("EACCES" if channel in _FILES else "EPERM")


def _plain(untrusted_name: str) -> str:
    """The name of a channel or an errno; nothing else reaches the words that people see."""
    return untrusted_name if re.fullmatch(r"[A-Za-z0-9_-]{1,32}", untrusted_name) else "?"


def require_closed(probes: tuple[Probe, ...], expected: frozenset[str] = EVERY) -> None:
    """Refuse to go on when any channel is open, was not tried, or was tried twice.

    The probes may come from a process that is not trusted: what counts is the errno that each of
    them reports and that none is missing, not what the sender made of it.

    Args:
        probes: what a self-test reports.
        expected: the channels it had to try.

    Raises:
        WallError: names the channels.
    """
    wrong = [
        f"{_plain(probe.channel)} ({_plain(probe.found)})"
        for probe in probes
        if not (probe.blocked and _closed(probe.channel, probe.found))
    ]
    tried = [probe.channel for probe in probes]
    wrong += [f"{name} (not tried)" for name in sorted(expected.difference(tried))]
    wrong += [f"{_plain(name)} (not asked for)" for name in sorted(set(tried) - expected)]
    wrong += [f"{name} (told twice)" for name in sorted(expected) if tried.count(name) > 1]
    if wrong:
        raise WallError(
            "The self-test found a way out of this process: " + ", ".join(wrong) + ".",
            code="wall.open",
            kept="GovDesk did not start; nothing was changed.",
            todo="Show this to your administrator; `govdesk doctor` lists every channel.",
        )
