"""The terminal's conversation: a paste is one question, and a session that nobody uses locks."""

import argparse
import io
import os

import pytest

from govdesk.cli import chat
from govdesk.errors import WrongPassphraseError
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
    monkeypatch.setattr(chat, "_LOOK_SECONDS", 0.02)
    clock.now = 100
    with pytest.raises(chat._EndError):
        chat._question(desk)
    assert desk.session.state is SessionState.LOCKING


def test_what_was_typed_too_late_is_not_asked(monkeypatch, unlocked):
    desk, clock = unlocked
    monkeypatch.setattr("sys.stdin", io.StringIO("What is a port?\n"))
    clock.now = 100
    with pytest.raises(chat._EndError):
        chat._question(desk)


def test_a_line_in_time_is_asked_and_starts_the_time_again(monkeypatch, unlocked):
    desk, clock = unlocked
    monkeypatch.setattr("sys.stdin", io.StringIO("What is a port?\n"))
    clock.now = 99
    assert chat._question(desk) == "What is a port?"
    assert desk.session.idle_seconds_left == 100


def typing(monkeypatch, text):
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


@pytest.mark.parametrize("text", ["", "/end\nWhat is a port?\n", "\n  \n/end\n"])
def test_the_end_is_said_and_a_blank_line_is_none(monkeypatch, unlocked, text):
    typing(monkeypatch, text)
    with pytest.raises(chat._EndError):
        chat._question(unlocked[0])


def test_a_blank_line_is_asked_again(monkeypatch, unlocked):
    typing(monkeypatch, "\n\nWhat is a port?\n")
    assert chat._question(unlocked[0]) == "What is a port?"


def test_lines_that_wait_already_are_one_question(monkeypatch, unlocked):
    typing(monkeypatch, "first\n\nsecond\nlater\n")
    waits = iter([True, True, False])
    monkeypatch.setattr(chat, "_more_waits", lambda: next(waits))
    assert chat._question(unlocked[0]) == "first\n\nsecond"


def test_a_script_asks_line_by_line(monkeypatch, unlocked):
    typing(monkeypatch, "first\nsecond\n")
    assert [chat._question(unlocked[0]) for _ in range(2)] == ["first", "second"]


@pytest.mark.parametrize(("wrong", "opens"), [(0, True), (2, True), (3, False)])
def test_three_tries(monkeypatch, capsys, wrong, opens):
    desk = FakeDesk()
    desk.record_consent("test")
    typed = iter(["wrong"] * wrong + [PASSPHRASE])
    monkeypatch.setattr(chat.passphrase, "read", lambda *_: next(typed))
    if opens:
        assert chat._unlock(PARSED, desk).history is desk.store
    else:
        with pytest.raises(WrongPassphraseError):
            chat._unlock(PARSED, desk)
    assert desk.calls.count("unlock") == min(wrong + 1, 3)
    assert capsys.readouterr().out.count("does not open") == min(wrong, 2)


def test_what_comes_on_a_descriptor_is_tried_once(monkeypatch):
    desk = FakeDesk()
    desk.record_consent("test")
    monkeypatch.setattr(chat.passphrase, "read", lambda *_: "wrong")
    with pytest.raises(WrongPassphraseError):
        chat._unlock(argparse.Namespace(passphrase_fd=3), desk)
    assert desk.calls.count("unlock") == 1
