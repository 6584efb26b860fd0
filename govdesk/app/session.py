"""The session process: window or terminal. Trusted; holds the data key while unlocked; starts nothing.

Order: close unknown descriptors → walls and self-test → audit writer → policy → front → unlock → worker.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

from govdesk import __version__, config
from govdesk.app.desk import SessionDesk
from govdesk.audit.client import AuditClient
from govdesk.cli import commands
from govdesk.domain.frames import FromAudit, FromBroker
from govdesk.errors import AuditClosedError, UsageError
from govdesk.process.broker import Front
from govdesk.process.channel import Channel
from govdesk.process.environment import close_unknown
from govdesk.process.link import BrokerLink
from govdesk.sandbox.walls import Wall, raise_and_prove

_PLATFORMS = ("xcb", "wayland", "offscreen")


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
        arguments: `--` and what was typed.

    Returns:
        The exit code for the shell.
    """
    parsed = commands.parse(arguments[1:])
    passphrase_fd: int | None = getattr(parsed, "passphrase_fd", None)
    known = {descriptor} if passphrase_fd is None else {descriptor, passphrase_fd}
    close_unknown(frozenset(known))
    window = role == Front.WINDOW.value
    probes = raise_and_prove(Wall.WINDOW_CONNECTING if window else Wall.SEALED)
    channel: Channel[FromBroker] = Channel.from_descriptor(descriptor, FromBroker)
    link = BrokerLink(channel)
    welcome, audit_descriptor = link.welcome()
    if audit_descriptor is None:
        raise AuditClosedError(
            "The audit writer could not be started, so nothing that needs a record can be done.",
            code=welcome.audit_code or "audit.not-started",
            kept="Nothing was changed.",
        )
    audit_channel: Channel[FromAudit] = Channel.from_descriptor(audit_descriptor, FromAudit)
    desk = SessionDesk(
        profile=config.profile(os.environ),
        link=link,
        audit=AuditClient(audit_channel),
        clock=SystemClock(),
        probes=probes,
    )
    try:
        desk.start(role, __version__)
        return _window(desk) if window else commands.run_in_session(parsed, desk)
    finally:
        desk.close()


def _window(desk: SessionDesk) -> int:
    platform = os.environ.pop("GOVDESK_PLATFORM", "")
    if platform:
        if platform not in _PLATFORMS:
            raise UsageError(f"GOVDESK_PLATFORM is one of {', '.join(_PLATFORMS)}.")
        os.environ["QT_QPA_PLATFORM"] = platform
    from govdesk.gui.application import run_window  # Qt only where there is a window

    def seal() -> None:
        """The connections to the desktop are made: no new socket from here on, on any thread."""
        desk.sealed(raise_and_prove(Wall.SEALED))

    return run_window(desk, seal)
