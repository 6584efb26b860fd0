"""Thinking is redacted, blocked, stored and recorded like the answer, apart from it, and never given back."""

from __future__ import annotations

import pytest

from govdesk.chat.endings import CUT, THOUGHT_CUT, THOUGHT_ONLY, code_of, ending_words
from govdesk.domain.ids import ConversationId, TurnId
from govdesk.domain.inference import Piece, Stopped
from govdesk.domain.record import Event
from govdesk.domain.turn import Ended, Message, Outcome, Released, Role, Thinking, Usage
from tests.unit.chat.test_chat_service import MODEL, SSN, STORED_ONLY, Line, _ended


@pytest.fixture
def line() -> Line:
    return Line()


def thinks(text: str) -> Piece:
    return Piece(text, thinking=True)


def _shown(events: list[object]) -> tuple[str, str]:
    released = [event for event in events if isinstance(event, Released)]
    kinds = [event.thinking for event in released]
    assert kinds == sorted(kinds, reverse=True), "thinking comes first"
    return (
        "".join(event.text for event in released if event.thinking),
        "".join(event.text for event in released if not event.thinking),
    )


def test_it_is_shown_stored_and_counted_apart(line: Line) -> None:
    line.inference.pieces = (
        thinks("Let me think a while "),
        thinks("about it."),
        "It is so, ",
        "and no other way.",
    )
    events = line.run()
    ended = _ended(events)
    assert _shown(events) == ("Let me think a while about it.", "It is so, and no other way.")
    assert (ended.thinking.text, ended.text) == _shown(events)
    assert 0 < ended.thinking.seconds < 10
    assert "".join(line.store.thoughts[ended.turn]) == ended.thinking.text
    assert "".join(line.store.rows[ended.turn]) == ended.text
    assert line.store.thinking[ended.turn] == ended.thinking
    fields = line.audit.entries[-1].fields
    assert (fields["thinking_characters"], fields["characters"]) == (30, 27)
    assert (ended.outcome, line.store.codes[ended.turn], ended.explanation) == (Outcome.COMPLETED, "end", "")


def test_the_records_of_a_turn_without_it_are_as_they_were(line: Line) -> None:
    ended = _ended(line.run())
    assert ended.thinking == Thinking() == line.store.thinking[ended.turn]
    assert "thinking_characters" not in line.audit.entries[-1].fields


def test_all_of_it_is_shown_before_the_answer_begins(line: Line) -> None:
    """What redaction holds of it is released when it is over, not when the turn is."""
    line.inference.pieces = (thinks("short"), "An answer that is long enough to be released.", "Ends.")
    released = [event for event in line.run() if isinstance(event, Released) and event.text]
    assert (released[0].text, released[0].thinking) == ("short", True)
    assert not any(event.thinking for event in released[1:])


@pytest.mark.parametrize("split", [3, 7])
def test_it_is_redacted_in_both_directions(line: Line, split: int) -> None:
    said = f"He is {SSN} and {STORED_ONLY}, I think."
    line.inference.pieces = (thinks(said[:split]), thinks(said[split:]), "I will not say who.")
    events = line.run()
    ended = _ended(events)
    shown, _ = _shown(events)
    assert SSN not in shown and shown == f"He is [US_SSN] and {STORED_ONLY}, I think."
    assert "".join(line.store.thoughts[ended.turn]) == "He is [US_SSN] and [STORED], I think."
    assert [finding.type for finding in ended.thinking.findings] == ["US_SSN"]
    assert ended.answer_findings == ()
    assert line.audit.entries[-1].fields["findings"] == {"US_SSN": 1}
    assert SSN not in repr(line.audit.entries) and "think." not in repr(line.audit.entries)


def test_a_finding_does_not_go_on_from_the_thinking_into_the_answer(line: Line) -> None:
    line.inference.pieces = (thinks(SSN[:6]), SSN[6:] + " is half a word.")
    assert _shown(line.run()) == (SSN[:6], SSN[6:] + " is half a word.")


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ((thinks("A long enough beginning. "), thinks("Then BLOCKME and more.")), "output.blocked"),
        ((thinks("BLOCKME"), "never shown, and never asked for"), "output.blocked"),
        ((thinks("BLOCKME"),), "output.blocked"),
        ((thinks("A long enough beginning. "), thinks("NOSTORE, and a lot more.")), "storage.blocked"),
        ((thinks("NOSTORE"), "never shown, and never asked for"), "storage.blocked"),
    ],
)
def test_what_policy_blocks_in_it_ends_the_turn(
    line: Line, pieces: tuple[Piece | str, ...], code: str
) -> None:
    line.inference.pieces = pieces
    events = line.run()
    ended = _ended(events)
    shown = "".join(_shown(events))
    assert ended.outcome is Outcome.DENIED and line.store.codes[ended.turn] == code
    assert "BLOCKME" not in shown and "never" not in shown and ended.text == ""
    assert "BLOCKME" not in ended.thinking.text and "BLOCKME" not in repr(line.store.thoughts)
    assert "NOSTORE" not in "".join(line.store.thoughts[ended.turn])
    assert line.audit.outcomes() == ["denied"]


def test_stopping_in_it_keeps_what_was_shown_and_discards_what_is_held(line: Line) -> None:
    line.inference.pieces = (thinks("0123456789abcdefghij"), "never")
    events = []
    for event in line.chat.run_turn(None, "Hello"):
        events.append(event)
        if isinstance(event, Released):
            line.chat.cancel()
    ended = _ended(events)
    assert (ended.outcome, ended.thinking.text, ended.text) == (Outcome.CANCELLED, "01234567", "")
    assert "".join(line.store.thoughts[ended.turn]) == "01234567"


def test_a_disk_that_was_full_for_a_moment_leaves_no_hole_in_it(line: Line) -> None:
    line.store.appends_that_fail = 1
    line.inference.pieces = tuple(thinks(f"{number}, a number; ") for number in range(9))
    ended = _ended(line.run())
    assert (
        "".join(line.store.thoughts[ended.turn])
        == ended.thinking.text
        == "".join(f"{number}, a number; " for number in range(9))
    )


@pytest.mark.parametrize(
    ("reason", "code", "words"),
    [("length", THOUGHT_CUT, "limit of 512 tokens"), ("end", THOUGHT_ONLY, "without an answer")],
)
def test_a_model_that_only_thought_is_explained(line: Line, reason: str, code: str, words: str) -> None:
    line.inference.pieces = (thinks("I am still at it"),)
    line.inference.stopped = Stopped(reason, Usage(3, 3, 512))
    ended = _ended(line.run())
    assert (ended.outcome, ended.text, ended.thinking.text) == (Outcome.COMPLETED, "", "I am still at it")
    assert line.store.codes[ended.turn] == code == line.audit.entries[-1].fields["rule"]
    assert words in ended.explanation and "thought" in ended.explanation


def test_the_codes_of_a_completed_turn() -> None:
    assert code_of(CUT, answered=True, thought=True) == CUT
    assert code_of("end", answered=True, thought=True) == "end"
    assert code_of("end", answered=False, thought=False) == "end"
    assert code_of(CUT, answered=False, thought=False) == CUT
    assert ending_words("end", MODEL, Usage()) == ""
    assert "reached its limit of 7 tokens" in ending_words(CUT, MODEL, Usage(answer_tokens=7))


def test_a_model_is_never_given_what_it_thought(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    def messages(_conversation: ConversationId) -> tuple[Message, ...]:
        thought = Thinking("THOUGHTS", (), 1.0)
        return (
            Message(Role.USER, "one", TurnId("a"), 0),
            Message(Role.ASSISTANT, "answer", TurnId("a"), 0, outcome=Outcome.COMPLETED, thinking=thought),
            Message(Role.USER, "only thought about", TurnId("b"), 0),
            Message(Role.ASSISTANT, "", TurnId("b"), 0, outcome=Outcome.COMPLETED, thinking=thought),
            Message(Role.USER, "two", TurnId("c"), 0),
            Message(Role.ASSISTANT, "", TurnId("c"), 0, thinking=thought),
        )

    monkeypatch.setattr(line.store, "messages", messages)
    assert isinstance(line.run()[-1], Ended)
    assert line.inference.seen == ((Role.USER, "one"), (Role.ASSISTANT, "answer"), (Role.USER, "two"))


def test_a_writer_that_goes_while_it_thinks_stops_it(line: Line) -> None:
    line.inference.pieces = (thinks("A long enough beginning. "), thinks("never shown"))
    events = line.chat.run_turn(None, "Hello")
    for event in events:
        if isinstance(event, Released):
            assert event.thinking
            line.audit.gone = True
            break
    with pytest.raises(Exception, match="gone"):
        list(events)
    assert line.inference.cancelled
    assert not [entry for entry in line.audit.entries if entry.event is Event.TURN_OUTCOME]
