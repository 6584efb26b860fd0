"""The terminal's conversation: a paste is one question, and a session that nobody uses locks."""

import argparse
import io
import os

import pytest

from govdesk.cli import chat
from govdesk.domain.turn import Length, OldTurn, Role, Sampling, TooLong, WhenFull
from govdesk.errors import UsageError, WrongPassphraseError
from govdesk.session.state import SessionState
from tests.fakes import PASSPHRASE, FakeDesk, Script, policy

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


OLDEST = tuple(OldTurn(f"Question {i}\x1b[31m", 1_700_000_000_000_000_000) for i in range(3))
FULL = TooLong(4310, 900, 4096, 256, freed_tokens=1200, oldest=OLDEST, to_summarise=OLDEST)
ALONE = TooLong(9310, 8900, 4096, 256)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def full(monkeypatch):
    """A chat whose first question does not fit, and what is typed at the choice."""

    def make(typed, too_long=FULL, when_full="stop", terminal=True, then=None):
        desk = FakeDesk()
        desk.record_consent("test")
        ports = desk.store.put("Ports", [(Role.USER, "a"), (Role.ASSISTANT, "b")])
        options = argparse.Namespace(when_full=when_full, show_thinking=False)
        asking = chat._Asking(desk, desk.unlock(PASSPHRASE), options, Sampling(seed=3), ports)
        desk.chat.script = Script(too_long=too_long)
        desk.chat.then = then or Script(answer=("Ports were compared.",))
        monkeypatch.setattr("sys.stdin", (Terminal if terminal else io.StringIO)(typed))
        return desk, asking, ports

    return make


def test_what_does_not_fit_is_asked_there_and_then(full, capsys):
    desk, asking, _ = full("1\n")
    asking.ask("And then?")
    said = capsys.readouterr()
    assert "1  leave out the 3 oldest turns from now on; this frees 1,200 tokens:" in said.err
    assert "2  have the 3 oldest turns summarised first" in said.err
    assert "3  shorten the message" in said.err
    assert said.err.count("Question ") == 3 and "\x1b" not in said.err
    assert "--when-full" not in said.err + said.out
    assert desk.chat.prompts == ["And then?"] * 2
    assert desk.chat.when_full == [WhenFull.STOP, WhenFull.DROP_OLDEST]
    assert desk.chat.samplings == [Sampling(seed=3)] * 2
    assert "Hello there." in said.out


def test_a_summary_is_made_and_the_same_question_asked_again(full, capsys):
    desk, asking, ports = full("2\n")
    asking.ask("And then?")
    assert desk.chat.summarised == [(ports, 3)]
    assert desk.chat.prompts == ["And then?"] * 2
    assert desk.chat.when_full == [WhenFull.STOP, WhenFull.STOP]
    assert "Hello there." in capsys.readouterr().out


@pytest.mark.parametrize("how", [{"code": "length"}, {"answer": ()}])
def test_without_its_summary_the_question_is_not_asked(full, capsys, how):
    desk, asking, _ = full("2\n", then=Script(**how))
    asking.ask("And then?")
    assert desk.chat.prompts == ["And then?"]
    assert "the message was not sent" in capsys.readouterr().err


@pytest.mark.parametrize("typed", ["3\n", "\n", "0\n4\nx\n٣\n3\n"])
def test_shortening_sends_nothing(full, capsys, typed):
    desk, asking, _ = full(typed)
    asking.ask("And then?")
    assert desk.chat.prompts == ["And then?"] and desk.chat.summarised == []
    said = capsys.readouterr()
    assert "Nothing was sent." in said.err
    assert said.out.count("Type a number from 1 to 3.") == max(0, typed.count("\n") - 1)


@pytest.mark.parametrize("typed", ["", "/end\n"])
def test_the_end_at_the_choice_is_the_end(full, typed):
    desk, asking, _ = full(typed)
    with pytest.raises(chat._EndError):
        asking.ask("And then?")
    assert desk.chat.prompts == ["And then?"]


def test_a_message_that_is_too_long_alone_is_not_asked_about(full, capsys):
    _, asking, _ = full("", ALONE)
    asking.ask("And then?")
    said = capsys.readouterr()
    assert "The message alone is 5,060 tokens too long: shorten it." in said.err
    assert "1 to" not in said.out


def test_a_script_is_told_how_to_start_again(full, capsys):
    desk, asking, ports = full("1\n", terminal=False)
    asking.ask("And then?")
    said = capsys.readouterr()
    assert f"start `govdesk chat --conversation {ports}` with one of these:" in said.err
    assert "--when-full=drop-oldest" in said.err and "--when-full=summarise" in said.err
    assert desk.chat.prompts == ["And then?"]


def test_summarising_that_was_asked_for_at_the_start_is_tried_once_for_each_question(full, capsys):
    desk, asking, _ = full("", when_full="summarise", terminal=False)
    run_turn = desk.chat.run_turn
    desk.chat.run_turn = lambda *asked: (
        setattr(desk.chat, "script", Script(too_long=FULL)) or run_turn(*asked)
    )
    asking.ask("And then?")
    assert len(desk.chat.summarised) == 1 and len(desk.chat.prompts) == 2


@pytest.fixture
def started(monkeypatch):
    """Runs the command on what is typed."""

    def start(desk, typed, **options):
        given = {"passphrase_fd": 3, "when_full": "stop", "show_thinking": False, "max_tokens": None}
        monkeypatch.setattr(chat.passphrase, "read", lambda *_: PASSPHRASE)
        monkeypatch.setattr("sys.stdin", io.StringIO(typed))
        return chat.run(argparse.Namespace(**{**given, "conversation": None, **options}), desk)

    return start


def test_the_id_is_told_and_goes_on(started, capsys):
    desk = FakeDesk()
    desk.profile = argparse.Namespace(exists=True)
    assert started(desk, "yes\nWhat is a port?\n") == 0
    said = capsys.readouterr()
    (conversation,) = desk.store.conversations()
    assert f"govdesk chat --conversation {conversation.id}" in said.err
    assert desk.chat.samplings[0].length is Length.USUAL
    desk.session = FakeDesk().session
    assert started(desk, "yes\nAnd a pier?\n", conversation=conversation.id, max_tokens=40) == 0
    assert "Going on in: What is a port?" in capsys.readouterr().out
    assert len(desk.store.conversations()) == 1 and len(desk.store.messages(conversation.id)) == 4
    assert desk.chat.samplings[1].max_tokens == 40 and desk.chat.samplings[1].length is None


def test_a_conversation_that_is_not_there_is_not_begun(started):
    desk = FakeDesk()
    desk.profile = argparse.Namespace(exists=True)
    with pytest.raises(UsageError):
        started(desk, "yes\nWhat is a port?\n", conversation="nowhere")
    assert desk.chat.prompts == []
