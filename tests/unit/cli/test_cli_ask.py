"""The terminal's conversation: the notice comes first, and a session that nobody uses locks."""

import argparse
import io
import os
import time

import pytest

from govdesk.cli import ask, entry
from govdesk.session.state import SessionState
from tests.fakes import PASSPHRASE, FakeDesk, policy

PARSED = argparse.Namespace(passphrase_fd=None)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def waiting(monkeypatch):
    """Standard input on which nobody types."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as silent:
        monkeypatch.setattr("sys.stdin", silent)
        yield
    os.close(writing)


@pytest.fixture
def unlocked():
    clock = Clock()
    desk = FakeDesk(policy(idle_lock_seconds=100), clock=clock)
    desk.record_consent("test")
    desk.unlock(PASSPHRASE)
    return desk, clock


def test_a_prompt_that_waits_too_long_ends(monkeypatch, waiting, unlocked):
    desk, clock = unlocked
    monkeypatch.setattr(ask, "_LOOK_SECONDS", 0.02)
    clock.now = 100
    started = time.monotonic()
    assert ask._line(desk) == ""
    assert time.monotonic() - started < 5
    assert desk.session.state is SessionState.LOCKING


def test_what_was_typed_too_late_is_not_asked(monkeypatch, unlocked):
    desk, clock = unlocked
    monkeypatch.setattr("sys.stdin", io.StringIO("What is a port?\n"))
    clock.now = 100
    assert ask._line(desk) == ""


def test_a_line_in_time_is_asked_and_starts_the_time_again(monkeypatch, unlocked):
    desk, clock = unlocked
    monkeypatch.setattr("sys.stdin", io.StringIO("What is a port?\n"))
    clock.now = 99
    assert ask._line(desk) == "What is a port?"
    assert desk.session.idle_seconds_left == 100


def test_the_notice_stands_before_the_passphrase_and_is_recorded(monkeypatch, capsys):
    desk = FakeDesk()
    seen = []

    def read(_parsed, prompt):
        seen.append((prompt, capsys.readouterr().err, tuple(desk.calls)))
        return PASSPHRASE

    monkeypatch.setattr(entry.passphrase, "read", read)
    entry.unlock(PARSED, desk)
    ((prompt, shown, before),) = seen
    assert desk.policy.policy.consent.text in shown
    assert desk.policy.warning in shown
    assert prompt == "I agree; my passphrase: "
    assert before == ()
    assert desk.calls == ["consent passphrase typed below the notice", "unlock"]
