"""Locked, consent, unlocking, unlocked, locking: one legal way, and an idle deadline that no clock moves.

Pure: the clock is injected. Give it a clock that runs while the machine sleeps (CLOCK_BOOTTIME), so
that time asleep is time idle; the wall clock is never looked at. Safe from any thread.

    LOCKED ─ask_consent→ CONSENT ─accept_consent→ LOCKED ─begin_unlock→ UNLOCKING ─unlock_succeeded→ UNLOCKED
                                                    └────unlock_failed──────┘
    UNLOCKED ─lock | idle→ LOCKING ─locked→ LOCKED (consent is asked again)
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from enum import Enum

from govdesk.errors import BugError


class SessionState(Enum):
    """Where a session is."""

    LOCKED = "locked"
    CONSENT = "consent"
    UNLOCKING = "unlocking"
    UNLOCKED = "unlocked"
    LOCKING = "locking"


class LockReason(Enum):
    """Why a session locks; goes into the audit."""

    PERSON = "person"
    IDLE = "idle"
    SUSPEND = "suspend"
    DESKTOP = "desktop"
    QUIT = "quit"
    FAILURE = "failure"


class Session:
    """The state of one session.

    Args:
        idle_lock_seconds: time without `touch` after which the session locks.
        clock: seconds that only go forward.
    """

    def __init__(self, idle_lock_seconds: float, clock: Callable[[], float]) -> None:
        if idle_lock_seconds <= 0:
            raise BugError("An idle lock needs a time above zero.")
        self._idle_lock_seconds = idle_lock_seconds
        self._clock = clock
        self._one_at_a_time = threading.RLock()
        self._latest = clock()
        self._deadline = self._latest
        self._state = SessionState.LOCKED
        self._consented = False
        self._reason: LockReason | None = None

    @property
    def state(self) -> SessionState:
        """Where the session is; an idle deadline that has passed shows as LOCKING at once."""
        self._expire()
        return self._state

    @property
    def consented(self) -> bool:
        """True once the banner was accepted, until the session has locked."""
        return self._consented

    @property
    def lock_reason(self) -> LockReason | None:
        """Why the session locks or last locked."""
        return self._reason

    @property
    def idle_seconds_left(self) -> float:
        """Seconds until the idle lock; 0 when the session is not unlocked."""
        self._expire()
        return self._deadline - self._latest if self._state is SessionState.UNLOCKED else 0.0

    def ask_consent(self) -> None:
        """The banner is on the screen (again)."""
        self._move({SessionState.LOCKED, SessionState.CONSENT}, SessionState.CONSENT)
        self._consented = False

    def accept_consent(self) -> None:
        """The person accepted by an explicit act."""
        self._move({SessionState.CONSENT}, SessionState.LOCKED)
        self._consented = True

    def begin_unlock(self) -> None:
        """A passphrase is being tried."""
        if not self._consented:
            raise BugError("Unlocking was begun before consent.")
        self._move({SessionState.LOCKED}, SessionState.UNLOCKING)

    def unlock_failed(self) -> None:
        """It opened no slot; the person may try again."""
        self._move({SessionState.UNLOCKING}, SessionState.LOCKED)

    def unlock_succeeded(self) -> None:
        """The keys are there; the idle time starts."""
        with self._one_at_a_time:
            self._move({SessionState.UNLOCKING}, SessionState.UNLOCKED)
            self._reason = None
            self._deadline = self._now() + self._idle_lock_seconds

    def touch(self) -> bool:
        """The person did something: the idle time starts again.

        Returns:
            False when it was too late, or the session is not unlocked: what was done must not go on.
        """
        with self._one_at_a_time:
            self._expire()
            if self._state is not SessionState.UNLOCKED:
                return False
            self._deadline = self._latest + self._idle_lock_seconds
            return True

    def lock(self, reason: LockReason) -> bool:
        """Lock now, from any state but the ones that are locked or locking already.

        Returns:
            True when this call began the locking: wipe keys and end what runs, then call `locked`.
        """
        with self._one_at_a_time:
            self._expire()
            if self._state in {SessionState.LOCKED, SessionState.LOCKING}:
                return False
            self._state = SessionState.LOCKING
            self._reason = reason
            return True

    def locked(self) -> None:
        """Keys are wiped and nothing runs any more."""
        self._move({SessionState.LOCKING}, SessionState.LOCKED)
        self._consented = False

    def _now(self) -> float:
        # A clock that is set back must not give time away.
        self._latest = max(self._latest, self._clock())
        return self._latest

    def _expire(self) -> None:
        with self._one_at_a_time:
            if self._now() >= self._deadline and self._state is SessionState.UNLOCKED:
                self._state = SessionState.LOCKING
                self._reason = LockReason.IDLE

    def _move(self, allowed: set[SessionState], target: SessionState) -> None:
        with self._one_at_a_time:
            if self._state not in allowed:
                raise BugError(f"A session cannot go from {self._state.value} to {target.value}.")
            self._state = target
