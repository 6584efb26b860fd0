"""`govdesk ask` keeps answers on standard output and what is said of them beside it."""

import argparse
import io
import json
import signal
import threading
from dataclasses import replace

import pytest

from govdesk.cli import ask, output
from govdesk.domain.ids import ConversationId
from govdesk.domain.json_schema import to_grammar
from govdesk.domain.turn import Cut, Length, OldTurn, Outcome, Preset, Role, TooLong, WhenFull
from govdesk.errors import GovDeskError, UsageError
from tests.fakes import DENY, PASSPHRASE, FakeDesk, Script, finding


class Bytes:
    def __init__(self, content):
        self.buffer = io.BytesIO(content)


def parsed(**options):
    given = {"prompt": "Hello", "file": None, "conversation": None, "json": False, "passphrase_fd": 3}
    given |= {"max_tokens": 10, "temperature": 0.0, "seed": None, "preset": "balanced", "when_full": "stop"}
    given["show_thinking"] = False
    return argparse.Namespace(**{**given, "grammar": None, "json_schema": None, **options})


@pytest.fixture
def desk(monkeypatch):
    made = FakeDesk()
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


OLDEST = tuple(OldTurn(f"Question {i}\x1b[31m", 1_700_000_000_000_000_000) for i in range(3))
FULL = TooLong(4310, 900, 4096, 256, freed_tokens=1200, oldest=OLDEST, to_summarise=OLDEST)


@pytest.fixture
def ports(desk):
    return desk.store.put("Ports", [(Role.USER, "a"), (Role.ASSISTANT, "b")])


def test_what_does_not_fit_is_explained_and_nothing_is_asked(desk, capsys, ports):
    desk.chat.script = Script(too_long=FULL)
    assert ask.run(parsed(conversation=ports), desk) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "It does not fit." in said.err
    assert "--when-full=drop-oldest leaves out, and frees 1,200 tokens:" in said.err
    assert said.err.count("Question ") == 3 and "\x1b" not in said.err
    assert "--when-full=summarise has the 3 oldest turns summarised first." in said.err
    assert desk.chat.when_full == [WhenFull.STOP]


def test_left_out_as_asked_is_said(desk, capsys, ports):
    desk.chat.script = Script(too_long=FULL, cut=Cut(3), left_out=OLDEST)
    assert ask.run(parsed(conversation=ports, when_full="drop-oldest"), desk) == 0
    said = capsys.readouterr()
    assert said.out == "Hello there.\n"
    assert "The model does not see the 3 oldest turns. New among them:" in said.err
    assert said.err.count("Question ") == 3


def test_a_summary_comes_first_and_beside_the_answer(desk, capsys, ports):
    desk.chat.script = Script(too_long=FULL)
    desk.chat.then = Script(answer=("Ports were compared.",))
    assert ask.run(parsed(conversation=ports, when_full="summarise"), desk) == 0
    said = capsys.readouterr()
    assert desk.chat.summarised == [(ports, 3)]
    assert desk.chat.when_full == [WhenFull.STOP, WhenFull.STOP]
    assert said.out == "Hello there.\n"
    assert "Summarising the 3 oldest turns" in said.err and "Ports were compared." in said.err


def test_without_its_summary_the_message_is_not_sent(desk, capsys, ports):
    desk.chat.script = Script(too_long=FULL)
    desk.chat.then = Script(answer=(), outcome=Outcome.FAILED)
    assert ask.run(parsed(conversation=ports, when_full="summarise"), desk) == 5
    assert desk.chat.prompts == ["Hello"]


@pytest.mark.parametrize("code", ["length", "loop"])
def test_a_summary_that_did_not_come_to_its_end_sends_nothing(desk, capsys, ports, code):
    for json_asked in (False, True):
        desk.session = FakeDesk().session
        desk.chat.prompts.clear()
        desk.chat.script = Script(too_long=FULL)
        desk.chat.then = Script(answer=("Ports were comp",), code=code)
        assert ask.run(parsed(conversation=ports, when_full="summarise", json=json_asked), desk) == 1
        assert desk.chat.prompts == ["Hello"]
        said = capsys.readouterr()
        if json_asked:
            told = json.loads(said.out)
            assert (told["outcome"], told["code"], told["text"]) == ("failed", "context.full", "")
            assert "no summary that came to its end" in told["explanation"]
        else:
            assert said.out == "" and "no summary that came to its end" in said.err


def test_what_still_does_not_fit_behind_its_summary_is_said(desk, capsys, ports):
    desk.chat.script = Script(too_long=FULL)
    again = Script(too_long=replace(FULL, to_summarise=()))
    desk.chat.then = Script(answer=("Ports were compared.",))
    run_turn = desk.chat.run_turn

    def run(*asked):
        if desk.chat.prompts:
            desk.chat.script = again
        return run_turn(*asked)

    desk.chat.run_turn = run
    assert ask.run(parsed(conversation=ports, when_full="summarise"), desk) == 1
    assert "--when-full=drop-oldest" in capsys.readouterr().err


def test_json_has_the_code_of_the_end(desk, capsys):
    desk.chat.script = Script(code="length")
    assert ask.run(parsed(json=True), desk) == 0
    assert json.loads(capsys.readouterr().out)["code"] == "length"
    desk.chat.script, desk.session = Script(too_long=FULL), FakeDesk().session
    assert ask.run(parsed(json=True), desk) == 1
    assert json.loads(capsys.readouterr().out)["code"] == "context.full"


def test_without_a_limit_the_answer_is_as_long_as_usual(desk, asked):
    ask.run(parsed(max_tokens=None), desk)
    assert [one.length for one in asked] == [Length.USUAL]


@pytest.mark.parametrize("most", [0, -1, 1_000_001])
def test_a_limit_that_is_none_asks_nothing(desk, most):
    with pytest.raises(UsageError):
        ask.run(parsed(max_tokens=most), desk)
    assert "unlock" not in desk.calls


def test_json_says_what_the_model_did_not_see(desk, capsys, ports):
    desk.chat.script = Script(too_long=FULL, cut=Cut(3))
    ask.run(parsed(conversation=ports, when_full="drop-oldest", json=True), desk)
    said = capsys.readouterr()
    assert said.err == ""
    assert '"unseen":{"turns":3,"summary":null}' in said.out


@pytest.fixture
def asked(monkeypatch, desk):
    """What the chat was given as sampling."""
    seen = []
    run_turn = type(desk.chat).run_turn
    monkeypatch.setattr(
        type(desk.chat),
        "run_turn",
        lambda self, conversation, prompt, sampling, when_full, *_: (
            seen.append(sampling) or run_turn(self, conversation, prompt, None, when_full)
        ),
    )
    return seen


@pytest.mark.parametrize(
    ("options", "sampling"),
    [
        ({"preset": "creative", "temperature": None, "seed": 5}, replace(Preset.CREATIVE.sampling(), seed=5)),
        ({"preset": "creative", "temperature": 0.3}, replace(Preset.CREATIVE.sampling(), temperature=0.3)),
        ({"preset": "precise", "temperature": None}, Preset.PRECISE.sampling()),
    ],
)
def test_a_preset_gives_the_numbers_and_what_is_given_replaces_them(desk, asked, options, sampling):
    ask.run(parsed(**options), desk)
    assert asked == [replace(sampling, max_tokens=10)]


@pytest.mark.parametrize(
    ("option", "content", "grammar"),
    [
        ("grammar", 'root ::= "yes" | "no"', 'root ::= "yes" | "no"'),
        ("json_schema", '{"type": "null"}', to_grammar('{"type": "null"}')),
    ],
)
def test_a_schema_and_a_grammar_come_from_files(desk, asked, tmp_path, option, content, grammar):
    (tmp_path / "shape").write_text(content)
    ask.run(parsed(**{option: tmp_path / "shape"}), desk)
    assert [one.grammar for one in asked] == [grammar]


@pytest.mark.parametrize(
    ("option", "content", "code"),
    [
        ("json_schema", b'{"type": "text"}', "schema.invalid"),
        ("grammar", b"root ::= root", "grammar.invalid"),
        ("grammar", b"\xff", "unreadable"),
        ("json_schema", b" " * (2 * 2**20 + 1), "usage"),
        ("grammar", None, "unreadable"),
    ],
)
def test_a_shape_that_cannot_be_used_asks_nothing_and_unlocks_nothing(desk, tmp_path, option, content, code):
    path = tmp_path / "shape"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(GovDeskError) as caught:
        ask.run(parsed(**{option: path}), desk)
    assert caught.value.code == code
    assert desk.chat.prompts == []
    assert "unlock" not in desk.calls


def test_how_tokens_were_chosen_is_in_the_json(desk, capsys):
    ask.run(parsed(json=True), desk)
    said = json.loads(capsys.readouterr().out)["sampling"]
    assert said["temperature_thousandths"] == 200
    assert all(isinstance(number, int) for number in said.values())


@pytest.mark.parametrize("text", ["-1", "4294967295", "1e3", "", "٣"])
def test_a_number_that_would_repeat_nothing_is_no_seed(text):
    parser = argparse.ArgumentParser(exit_on_error=False)
    ask.add_arguments(parser)
    with pytest.raises(argparse.ArgumentError):
        parser.parse_args(["--seed", text, "Hello"])
    assert parser.parse_args(["--seed", "4294967294", "Hello"]).seed == 2**32 - 2


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
