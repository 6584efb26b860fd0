"""Who catches everything is stopped all the same, in time, and nothing of the alarm stays behind."""

from __future__ import annotations

import signal
import sys
import time
from functools import partial

import pytest

from govdesk.worker import deadline
from govdesk.worker.deadline import TooSlowError, within

OFF = (0.0, 0.0)


@pytest.fixture(autouse=True)
def lost_rings_are_no_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ring that falls into a destructor is lost, and the next one is heard; the tests' runner would fail on it."""
    monkeypatch.setattr(sys, "unraisablehook", lambda _lost: None)


def _timers() -> tuple[tuple[float, float], ...]:
    return signal.getitimer(signal.ITIMER_REAL), signal.getitimer(signal.ITIMER_PROF)


def _for_ever() -> None:
    while True:
        try:
            sum(range(100))
        except Exception:
            continue


def test_what_catches_every_exception_is_stopped() -> None:
    before = signal.getsignal(signal.SIGALRM)
    started = time.monotonic()
    with pytest.raises(TooSlowError):
        within(0.1, _for_ever)
    assert time.monotonic() - started < 5.0
    assert signal.getsignal(signal.SIGALRM) is before
    assert _timers() == (OFF, OFF)


def test_it_rings_until_it_is_heard() -> None:
    swallowed = []

    def deaf() -> None:
        for _ in range(3):
            try:
                _for_ever()
            except BaseException as error:
                swallowed.append(type(error).__name__)
        _for_ever()

    with pytest.raises(TooSlowError):
        within(0.05, deaf)
    assert swallowed == ["_AlarmError"] * 3


def test_what_is_in_time_gives_what_it_gives() -> None:
    assert within(5.0, lambda: 7) == 7
    with pytest.raises(KeyError):
        within(5.0, lambda: {}["x"])
    assert _timers() == (OFF, OFF)


def test_it_is_heard_where_signals_were_blocked() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    with pytest.raises(TooSlowError):
        within(0.05, _for_ever)
    assert signal.SIGALRM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def _added(count: int) -> int:
    total = 0
    for number in range(count):
        total += number
    return total


def test_an_alarm_at_the_very_end_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rings come at every place of the end, many to one call: the result or `TooSlowError`, nothing else."""
    monkeypatch.setattr(deadline, "AGAIN_SECONDS", 0.00005)
    slow = 0
    for number in range(3000):
        count = 200 + 100 * (number % 40)  # some before the first ring on any machine, some long after it
        try:
            assert within(0.00001 + number % 50 / 1e6, partial(_added, count)) == count * (count - 1) // 2
        except TooSlowError:
            slow += 1
        assert _timers() == (OFF, OFF)
    assert 0 < slow < 3000
