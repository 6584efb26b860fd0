"""The session process: window or terminal. Trusted; holds the data key while unlocked; starts nothing.

Order: close unknown descriptors → walls and self-test → audit writer → policy → front → unlock → worker.
"""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from govdesk import __version__, config
from govdesk.audit import failures
from govdesk.audit.client import AuditClient
from govdesk.cli import interrupts
from govdesk.domain.frames import FromAudit, FromBroker, Probe
from govdesk.domain.record import Entry, Event
from govdesk.errors import AuditClosedError, GovDeskError, KnownError, UsageError, WallError
from govdesk.process.broker import Front
from govdesk.process.channel import Channel
from govdesk.process.environment import close_unknown
from govdesk.process.link import BrokerLink
from govdesk.sandbox import selftest, walls
from govdesk.sandbox.walls import Wall

if TYPE_CHECKING:  # it imports native code, which waits for the walls
    from govdesk.app.desk import SessionDesk

_PLATFORMS = ("xcb", "wayland", "offscreen")
_END_SECONDS = 2.0
_WALLS_EXIT_CODE = WallError.exit_code


@dataclass(frozen=True, slots=True)
class SystemClock:
    """Implements `chat.ports.Clock` with the machine's clocks."""

    def utc_ns(self) -> int:
        """Wall clock, nanoseconds since the epoch."""
        return time.time_ns()

    def monotonic(self) -> float:
        """Seconds that only go forward, through suspend too."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)


def run(role: str, descriptor: int, arguments: list[str]) -> int:
    """The window's or terminal's process, started by the broker.

    Args:
        role: `window` or `terminal`.
        descriptor: the inherited channel to the broker.
        arguments: numbers of further descriptors that were passed, `--`, and what was typed.

    Returns:
        The exit code for the shell.
    """
    interrupts.hold()  # before any thread starts: each inherits it; the fronts take what comes
    mark = arguments.index("--")
    passed = frozenset(int(number) for number in arguments[:mark])
    close_unknown(passed | {descriptor})
    window = role == Front.WINDOW.value
    probes, refusal = _raise(Wall.WINDOW_CONNECTING if window else Wall.SEALED)
    channel: Channel[FromBroker] = Channel.from_descriptor(descriptor, FromBroker)
    link = BrokerLink(channel)
    welcome, audit_descriptor = link.welcome()
    if audit_descriptor is None:
        raise failures.closed("audit.gone")
    audit_channel: Channel[FromAudit] = Channel.from_descriptor(audit_descriptor, FromAudit)
    audit = AuditClient(audit_channel)
    profile = config.profile(os.environ)
    try:
        if refusal is not None:
            raise refusal
        selftest.require_closed(welcome.probes, walls.expected(Wall.BROKER))
    except WallError:
        _record_refusal(profile, audit, {"broker": welcome.probes, role: probes})
        raise
    from govdesk.app.desk import SessionDesk  # native code: only behind the walls
    from govdesk.cli import commands

    parsed = commands.parse(arguments[mark + 1 :])
    desk = SessionDesk(
        profile=profile,
        link=link,
        audit=audit,
        clock=SystemClock(),
        probes=probes,
        broker_probes=welcome.probes,
    )
    exit_code = GovDeskError.exit_code
    try:
        _start(desk, link, role)
        exit_code = _window(desk) if window else commands.run_in_session(parsed, desk)
    except GovDeskError as error:
        exit_code = error.exit_code
        raise
    finally:
        with contextlib.suppress(OSError):
            link.quit(exit_code)  # from here on this process ends, or is killed
        desk.close()
    return exit_code


def _raise(wall: Wall) -> tuple[tuple[Probe, ...], WallError | None]:
    """What was found behind the walls, and why this process must not go on, if so: it is recorded first."""
    refusal: WallError | None = None
    try:
        walls.raise_walls(wall)
    except WallError as error:
        refusal = error
    probes = walls.prove(wall)
    try:
        selftest.require_closed(probes, walls.expected(wall))
    except WallError as error:
        refusal = refusal or error
    return probes, refusal


def _record_refusal(profile: config.Profile, audit: AuditClient, found: dict[str, tuple[Probe, ...]]) -> None:
    """A log that is there takes what was found; a new one is not begun by a process that refuses to run."""
    if not any(profile.audit.glob("segment-*")):
        return
    with contextlib.suppress(KnownError):
        audit.open()
        for process, probes in found.items():
            channels = {probe.channel: int(probe.blocked) for probe in probes}
            outcome = "success" if all(channels.values()) else "failure"
            audit.append(Entry(Event.SELF_TEST, outcome, object=process, fields={"channels": channels}))


def _start(desk: SessionDesk, link: BrokerLink, role: str) -> None:
    try:
        desk.start(role, __version__)
    except AuditClosedError as error:
        end = link.audit_end(_END_SECONDS) if error.code in {"audit.gone", "audit.silent"} else None
        if end is not None and end.exit_code == _WALLS_EXIT_CODE:
            raise failures.closed("audit.walls") from error
        raise


def _window(desk: SessionDesk) -> int:
    platform = os.environ.pop("GOVDESK_PLATFORM", "")
    if platform:
        if platform not in _PLATFORMS:
            raise UsageError(f"GOVDESK_PLATFORM is one of {', '.join(_PLATFORMS)}.")
        os.environ["QT_QPA_PLATFORM"] = platform
    from govdesk.gui.application import run_window  # Qt only where there is a window

    def seal() -> None:
        """The connections to the desktop are made: no new socket from here on, on any thread."""
        probes, refusal = _raise(Wall.SEALED)
        desk.sealed(probes)
        if refusal is not None:
            raise refusal

    return run_window(desk, seal)
