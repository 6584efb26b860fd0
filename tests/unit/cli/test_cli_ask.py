"""`govdesk ask` keeps answers on standard output and what is said of them beside it."""

import argparse
import io

import pytest

from govdesk.cli import ask
from govdesk.domain.ids import ConversationId
from govdesk.errors import UsageError
from tests.fakes import PASSPHRASE, FakeDesk, Script, finding


class Bytes:
    def __init__(self, content):
        self.buffer = io.BytesIO(content)


def parsed(**options):
    given = {"prompt": "Hello", "file": None, "conversation": None, "json": False, "passphrase_fd": 3}
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
