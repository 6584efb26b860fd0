"""`govdesk ask` keeps answers on standard output and what is said of them beside it."""

import argparse
import io
import json
import signal
import threading

import pytest

from govdesk.cli import ask, output
from govdesk.domain.ids import ConversationId
from govdesk.errors import UsageError
from tests.fakes import DENY, PASSPHRASE, FakeDesk, Script, finding


class Bytes:
    def __init__(self, content):
        self.buffer = io.BytesIO(content)


def parsed(**options):
    given = {"prompt": "Hello", "file": None, "conversation": None, "json": False, "passphrase_fd": 3}
    given["show_thinking"] = False
    return argparse.Namespace(**{**given, "max_tokens": 10, "temperature": 0.0, "seed": None, **options})


@pytest.fixture
def desk(monkeypatch):
    made = FakeDesk()
    run_turn = type(made.chat).run_turn
    monkeypatch.setattr(
        type(made.chat),
        "run_turn",
        lambda self, conversation, prompt, _: run_turn(self, conversation, prompt),
    )
    monkeypatch.setattr(ask.entry.passphrase, "read", lambda *_: PASSPHRASE)
    return made


def test_marking_and_warning_stand_before_and_what_was_redacted_after(desk, capsys):
    desk.chat.script = Script(
        prompt_findings=(finding("US_SSN"), finding("US_SSN")), answer_findings=(finding("PHONE_NUMBER"),)
    )
    assert ask.run(parsed(), desk) == 0
    said = capsys.readouterr()
    assert said.out == "Hello there.\n"
    before, after = said.err.splitlines()
    assert before == f"{desk.policy.policy.system_high}   {desk.policy.warning}"
    assert after == "redacted: US_SSN × 2, PHONE_NUMBER × 1"


def test_what_stopped_a_prompt_was_found_not_redacted(desk, capsys):
    desk.chat.script = Script(decision=DENY, prompt_findings=(finding("MARKING"),))
    assert ask.run(parsed(), desk) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "found: MARKING × 1"


def test_nothing_redacted_nothing_said(desk, capsys):
    ask.run(parsed(), desk)
    assert "redacted" not in capsys.readouterr().err


def test_json_is_alone(desk, capsys):
    desk.chat.script = Script(prompt_findings=(finding("US_SSN"),))
    ask.run(parsed(json=True), desk)
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.count("\n") == 1
    assert '"findings":{"US_SSN":1}' in said.out


def test_a_conversation_that_is_not_there_is_not_asked(desk):
    with pytest.raises(UsageError):
        ask.run(parsed(conversation=ConversationId("nowhere")), desk)
    assert desk.chat.prompts == []


def test_more_input_than_is_taken_is_refused_and_not_cut(desk, monkeypatch):
    monkeypatch.setattr(ask, "MAX_STDIN_BYTES", 100)
    monkeypatch.setattr("sys.stdin", Bytes(b"x" * 100))
    ask.run(parsed(prompt="-"), desk)
    assert desk.chat.prompts == ["x" * 100]
    monkeypatch.setattr("sys.stdin", Bytes(b"x" * 101))
    with pytest.raises(UsageError, match="larger"):
        ask.run(parsed(prompt="-"), desk)


class Leaves(io.StringIO):
    """A reader that goes away after some words."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def flush(self):
        if self.getvalue().count(" ") >= self.after:
            raise BrokenPipeError(32, "Broken pipe")


def test_a_reader_that_leaves_ends_the_turn_before_anything_else(desk, monkeypatch):
    desk.chat.script = Script(answer=("one ", "two ", "three "))
    monkeypatch.setattr("sys.stdout", Leaves(2))
    desk.record_consent("test")
    unlocked = desk.unlock(PASSPHRASE)
    with pytest.raises(output.ReaderLeft) as left:  # its frames live on
        ask.turn(unlocked, None, "Hello", None, quiet=False)
    assert desk.chat.running == 0, "closed by name, not when somebody collects the error's frames"
    del left


def test_a_reader_that_leaves_makes_it_a_cancelled_answer(desk, monkeypatch):
    desk.chat.script = Script(answer=("one ", "two ", "three "))
    monkeypatch.setattr("sys.stdout", Leaves(2))
    assert ask.run(parsed(), desk) == 1


def test_a_reader_that_leaves_at_the_end_changes_nothing(desk, monkeypatch):
    class LeavesAtTheEnd(Leaves):
        def flush(self):
            if self.getvalue().endswith("\n"):
                raise BrokenPipeError(32, "Broken pipe")

    for options in ({}, {"json": True}):
        monkeypatch.setattr("sys.stdout", LeavesAtTheEnd(0))
        assert ask.run(parsed(**options), desk) == 0
        desk = type(desk)()


def test_nobody_hears_what_is_said_aside(monkeypatch):
    monkeypatch.setattr("sys.stderr", Leaves(0))
    output.aside("Stopped.\n")
    output.aside("Stopped.\n")


def test_ctrl_c_while_it_unlocks_asks_nothing(desk, monkeypatch):
    unlock = desk.unlock
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

    def unlocking(secret):
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)  # waits, as in the session process
        return unlock(secret)

    monkeypatch.setattr(desk, "unlock", unlocking)
    try:
        with pytest.raises(KeyboardInterrupt):
            ask.run(parsed(), desk)
    finally:
        signal.sigtimedwait({signal.SIGINT}, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    assert desk.calls[-1] == "unlock"
    assert desk.chat.prompts == []


THOUGHTS = Script(
    thinking=("Hmm, ", "two\x1b[31m."), answer=("It is ", "2."), thinking_findings=(finding("US_SSN"),)
)


def test_thinking_is_not_printed_unasked(desk, capsys):
    desk.chat.script = THOUGHTS
    assert ask.run(parsed(), desk) == 0
    said = capsys.readouterr()
    assert said.out == "It is 2.\n" and "Hmm" not in said.err
    assert "redacted: US_SSN × 1" in said.err


def test_thinking_that_is_asked_for_stands_beside_the_answer(desk, capsys):
    desk.chat.script = THOUGHTS
    assert ask.run(parsed(show_thinking=True), desk) == 0
    said = capsys.readouterr()
    assert said.out == "It is 2.\n"
    assert said.err.count("Thinking: Hmm, two") == 1 and "\x1b" not in said.err


@pytest.mark.parametrize("show", [False, True])
def test_json_has_thinking_only_when_asked(desk, capsys, show):
    desk.chat.script = THOUGHTS
    assert ask.run(parsed(json=True, show_thinking=show), desk) == 0
    said = capsys.readouterr()
    told = json.loads(said.out)
    assert told["text"] == "It is 2." and told["findings"] == {"US_SSN": 1}
    assert told.get("thinking") == ("Hmm, two\x1b[31m." if show else None)
    assert ("thinking" in told) is show and "Hmm" not in said.err
