"""The self-test reports what the kernel said, and is judged by that: not by what a process makes of it."""

from __future__ import annotations

import errno
import socket

import msgspec
import pytest

from govdesk.domain.frames import Probe
from govdesk.errors import WallError
from govdesk.sandbox import selftest, walls
from govdesk.sandbox.walls import Wall


def _closed(names: frozenset[str]) -> tuple[Probe, ...]:
    files = {"read-outside", "write-outside"}
    return tuple(Probe(name, True, "EACCES" if name in files else "EPERM") for name in sorted(names))


@pytest.mark.parametrize("wall", list(Wall))
def test_exactly_the_channels_of_the_wall_are_accepted(wall: Wall) -> None:
    expected = walls.expected(wall)
    selftest.require_closed(_closed(expected), expected)
    for wrong in (
        (),
        _closed(expected)[1:],
        (*_closed(expected), Probe("unheard-of", True, "EPERM")),
        (*_closed(expected), _closed(expected)[0]),
    ):
        with pytest.raises(WallError):
            selftest.require_closed(wrong, expected)


def test_without_a_wall_named_the_strictest_counts() -> None:
    assert walls.expected(Wall.CONFINED) == selftest.EVERY
    selftest.require_closed(_closed(selftest.EVERY))
    with pytest.raises(WallError):
        selftest.require_closed(_closed(walls.expected(Wall.SEALED)))
    with pytest.raises(WallError):
        selftest.require_closed(())


@pytest.mark.parametrize(
    "lie",
    [{"found": "open"}, {"found": "EAFNOSUPPORT"}, {"found": "EACCES"}, {"found": ""}, {"blocked": False}],
)
def test_what_was_found_counts_not_what_was_made_of_it(lie: dict[str, object]) -> None:
    probes = [
        msgspec.structs.replace(probe, **lie) if probe.channel == "tcp4" else probe
        for probe in _closed(selftest.EVERY)
    ]
    with pytest.raises(WallError, match="tcp4"):
        selftest.require_closed(tuple(probes))


def test_a_strangers_words_do_not_reach_the_person() -> None:
    evil = Probe("\x1b[2Jall is well", True, "<b>\n</b>")
    with pytest.raises(WallError) as raised:
        selftest.require_closed((*_closed(selftest.EVERY), evil))
    assert "well" not in raised.value.explain()
    assert "<b>" not in raised.value.explain()


def test_every_wall_tries_the_network_and_the_strict_ones_the_rest() -> None:
    network = {"tcp4", "tcp6", "udp4", "udp6", "raw", "packet", "netlink", "vsock", "io_uring", "ptrace"}
    for wall in Wall:
        assert network <= walls.expected(wall)
    sealed = network | {"unix", "resolver", "execve", "kill"}
    assert sealed <= walls.expected(Wall.SEALED)
    assert sealed | {"truncate", "chmod", "sysv-memory", "read-outside", "write-outside"} <= walls.expected(
        Wall.CONFINED
    )


def test_the_resolver_is_tried_without_the_machines_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """`hosts: files` answers "no such name" and asks nobody; that says nothing about the walls."""

    def answer(*_given: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    class Refused:
        def __init__(self, *_given: object) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(socket, "getaddrinfo", answer)
    monkeypatch.setattr(socket, "socket", Refused)
    assert selftest.run(frozenset({"resolver"})) == (Probe("resolver", True, "EPERM"),)


@pytest.mark.parametrize(("code", "name"), [(errno.ENOENT, "ENOENT"), (errno.EAGAIN, "EAGAIN")])
def test_a_resolver_that_could_be_asked_is_open_under_its_real_errno(
    monkeypatch: pytest.MonkeyPatch, code: int, name: str
) -> None:
    class Local:
        """Only Unix sockets are left open, and the service's name is not there, or is busy."""

        def __init__(self, family: int, _kind: int) -> None:
            if family != socket.AF_UNIX:
                raise PermissionError(errno.EPERM, "Operation not permitted")

        def __enter__(self) -> Local:
            return self

        def __exit__(self, *_given: object) -> None: ...
        def setblocking(self, _blocking: bool) -> None: ...
        def connect(self, _address: object) -> None:
            raise OSError(code, "no")

    monkeypatch.setattr(socket, "socket", Local)
    assert selftest.run(frozenset({"resolver"})) == (Probe("resolver", False, name),)
