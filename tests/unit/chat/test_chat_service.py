"""The line's order is the security property: no record, no inference; no redaction, no view; one outcome."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field

import pytest

from govdesk.chat.running import title_of
from govdesk.chat.service import ChatService
from govdesk.domain.decision import Decision, Deny, Permit
from govdesk.domain.ids import ConversationId, EntityType, ModelDigest, RecordSeq, TurnId
from govdesk.domain.inference import Piece, Stopped
from govdesk.domain.record import Entry, Event
from govdesk.domain.redaction import Direction, Finding, Operator, Redacted
from govdesk.domain.turn import (
    Decided,
    Ended,
    Message,
    ModelInfo,
    Outcome,
    Reading,
    Released,
    Role,
    Sampling,
    Thinking,
    Usage,
)
from govdesk.errors import AuditClosedError, BugError, DiskFullError, UsageError, WorkerError
from tests import audit_fields

MODEL = ModelInfo("M", ModelDigest("d" * 96), 4096)


@dataclass
class Log:
    """Every step of a turn, in the order in which it happened."""

    steps: list[str] = field(default_factory=list)


@dataclass
class Audit:
    log: Log
    entries: list[Entry] = field(default_factory=list)
    fails_at: Event | None = None
    gone: bool = False

    def require_open(self) -> None:
        if self.gone:
            raise AuditClosedError("gone")

    def append(self, entry: Entry) -> RecordSeq:
        audit_fields.check(entry)
        if self.gone or entry.event is self.fails_at:
            raise AuditClosedError("closed")
        self.log.steps.append(entry.event.value)
        self.entries.append(entry)
        return RecordSeq(len(self.entries) - 1)

    def outcomes(self) -> list[str]:
        return [entry.outcome for entry in self.entries if entry.event is Event.TURN_OUTCOME]


SSN = "SECRETWORD"
STORED_ONLY = "SHOWNWORD"
"""What redaction for storage finds and the other directions do not: each direction must have been asked."""
PLACEHOLDERS = {Direction.PROMPT: "[US_SSN]", Direction.OUTPUT: "[US_SSN]", Direction.STORAGE: "[STORED]"}


@dataclass
class Stream:
    """Holds characters back, replaces its word, blocks at BLOCKME: enough to see that the line obeys it."""

    buffer: str = ""
    blocked: bool = False
    word: str = SSN
    stop: str = "BLOCKME"
    placeholder: str = "[US_SSN]"
    findings: tuple[Finding, ...] = ()

    @property
    def held(self) -> int:
        return len(self.buffer)

    def feed(self, part: str) -> str:
        self.buffer += part
        return self._release(len(self.buffer) - 12)

    def flush(self) -> str:
        return self._release(len(self.buffer))

    def _release(self, cut: int) -> str:
        if self.stop in self.buffer or self.blocked:
            self.blocked, self.buffer = True, ""
            return ""
        if cut <= 0:
            return ""
        if self.word in self.buffer:
            self.findings = (Finding(0, 10, EntityType("US_SSN"), 1.0, "r", Operator.REDACT),)
            self.buffer = self.buffer.replace(self.word, self.placeholder)
        out, self.buffer = self.buffer[:cut], self.buffer[cut:]
        return out


@dataclass
class Redactor:
    log: Log

    def redact(self, text: str, direction: Direction) -> Redacted:
        self.log.steps.append(f"redact {direction.value}")
        word = {Direction.PROMPT: SSN, Direction.STORAGE: STORED_ONLY}[direction]
        if direction is Direction.STORAGE and "NOSTORE" in text:
            return Redacted("", (Finding(0, 7, EntityType("CUSTOM.X"), 1.0, "r", Operator.BLOCK),))
        findings = (Finding(0, 10, EntityType("US_SSN"), 1.0, "r", Operator.REDACT),) if word in text else ()
        return Redacted(text.replace(word, PLACEHOLDERS[direction]), findings)

    def stream(self, direction: Direction) -> Stream:
        word = {Direction.OUTPUT: SSN, Direction.STORAGE: STORED_ONLY}[direction]
        stop = "NOSTORE" if direction is Direction.STORAGE else "BLOCKME"
        return Stream(word=word, stop=stop, placeholder=PLACEHOLDERS[direction])


@dataclass
class Decider:
    decision: Decision = field(default_factory=Permit)

    def decide(self, redacted: Redacted, characters: int) -> Decision:
        return self.decision


@dataclass
class Inference:
    log: Log
    pieces: tuple[object, ...] = ("An answer ", "in parts.")
    stopped: Stopped = field(default_factory=lambda: Stopped("end", Usage(3, 0, 2)))
    cancelled: bool = False
    left: bool = False
    seen: tuple[tuple[Role, str], ...] = ()
    sampling: Sampling | None = None

    def model(self) -> ModelInfo:
        return MODEL

    def answer(
        self,
        turn: TurnId,
        history: tuple[tuple[Role, str], ...],
        sampling: Sampling,
        conversation: str = "",
    ) -> Generator[Reading | Piece | Stopped, None, None]:
        self.log.steps.append("inference")
        self.seen, self.conversation = history, conversation
        self.sampling = sampling
        try:
            yield Reading(1, 1)
            for piece in self.pieces:
                if self.cancelled:
                    yield Stopped("cancelled", Usage(answer_tokens=1))
                    return
                if isinstance(piece, BaseException):
                    raise piece
                yield piece if isinstance(piece, Piece) else Piece(str(piece))
            yield self.stopped
        except GeneratorExit:
            self.left = True
            raise

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Store:
    log: Log
    rows: dict[str, list[str]] = field(default_factory=dict)
    thoughts: dict[str, list[str]] = field(default_factory=dict)
    thinking: dict[str, Thinking] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)
    prompts: list[str] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    open: tuple[TurnId, ...] = ()
    appends_that_fail: int = 0
    append_error: Exception = field(default_factory=lambda: DiskFullError("The disk is full."))
    finish_error: Exception | None = None

    def create(self, title: str, marking: str, now_utc_ns: int) -> ConversationId:
        return ConversationId("c1")

    def messages(self, conversation: ConversationId) -> tuple[Message, ...]:
        done = [Message(Role.USER, prompt, TurnId("t"), 0) for prompt in self.prompts]
        return (*done, Message(Role.ASSISTANT, "", TurnId("t"), 0))

    def begin_turn(self, conversation, turn, prompt, findings, marking, policy, now_utc_ns, cut) -> None:
        self.log.steps.append("store prompt")
        self.prompts.append(prompt)
        self.rows[turn] = []
        self.thoughts[turn] = []

    def append_answer(self, turn: TurnId, text: str) -> None:
        if self.appends_that_fail:
            self.appends_that_fail -= 1
            raise self.append_error
        self.log.steps.append("store answer")
        self.rows[turn].append(text)

    def append_thinking(self, turn: TurnId, text: str) -> None:
        if self.appends_that_fail:
            self.appends_that_fail -= 1
            raise self.append_error
        self.thoughts[turn].append(text)

    def finish_turn(
        self, turn, outcome, findings, model, usage, record, now_utc_ns, code="", thinking=None
    ) -> None:
        if self.finish_error is not None:
            raise self.finish_error
        self.log.steps.append("store outcome")
        assert turn not in self.outcomes
        self.outcomes[turn] = outcome
        self.codes[turn], self.thinking[turn] = code, thinking

    def unfinished_turns(self) -> tuple[TurnId, ...]:
        return self.open


@dataclass
class Clock:
    now: float = 0.0

    def utc_ns(self) -> int:
        return 1

    def monotonic(self) -> float:
        self.now += 0.6
        return self.now


class Line:
    def __init__(self) -> None:
        self.log = Log()
        self.audit = Audit(self.log)
        self.redactor = Redactor(self.log)
        self.decider = Decider()
        self.inference = Inference(self.log)
        self.store = Store(self.log)
        self.chat = ChatService(
            audit=self.audit,
            decider=self.decider,
            redactor=self.redactor,
            inference=self.inference,
            store=self.store,  # type: ignore[arg-type]
            clock=Clock(),
            marking="UNCLASSIFIED",
            policy_stamp="p@h",
        )

    def run(self, prompt: str = "Hello") -> list[object]:
        return list(self.chat.run_turn(None, prompt))


@pytest.fixture
def line() -> Line:
    return Line()


def _ended(events: list[object]) -> Ended:
    assert isinstance(events[-1], Ended)
    assert sum(isinstance(event, Ended) for event in events) == 1
    return events[-1]


def test_the_order_of_a_turn(line: Line) -> None:
    events = line.run()
    steps = line.log.steps
    order = ["redact prompt", "turn.intent", "store prompt", "inference", "turn.outcome", "store outcome"]
    positions = [steps.index(step) for step in order]
    assert positions == sorted(positions)
    assert isinstance(events[0], Decided)
    ended = _ended(events)
    assert ended.outcome is Outcome.COMPLETED
    assert ended.text == "An answer in parts."
    assert "".join(line.store.rows[ended.turn]) == ended.text
    assert line.audit.outcomes() == ["completed"]


def test_an_answer_that_was_cut_says_so(line: Line) -> None:
    line.inference.stopped = Stopped("length", Usage(prompt_tokens=3, answer_tokens=512))
    ended = _ended(line.run())
    assert ended.outcome is Outcome.COMPLETED
    assert ended.explanation == (
        "The answer reached its limit of 512 tokens and stops here. Ask it to go on, or allow a longer answer."
    )
    assert line.audit.entries[-1].fields["rule"] == "length"


def test_an_answer_that_filled_the_context_says_so(line: Line) -> None:
    room = MODEL.context_tokens
    line.inference.stopped = Stopped("length", Usage(prompt_tokens=room - 2, answer_tokens=2))
    assert f"fills all {room:,} tokens" in _ended(line.run()).explanation


def test_an_answer_that_only_repeated_itself_says_so_and_is_kept(line: Line) -> None:
    line.inference.stopped = Stopped("loop", Usage(prompt_tokens=3, answer_tokens=300))
    ended = _ended(line.run())
    assert ended.outcome is Outcome.COMPLETED
    assert ended.text
    assert "over and over" in ended.explanation
    assert line.audit.entries[-1].fields["rule"] == "loop"


def test_no_record_no_inference(line: Line) -> None:
    line.audit.fails_at = Event.TURN_INTENT
    with pytest.raises(AuditClosedError):
        line.run()
    assert "inference" not in line.log.steps
    assert line.store.prompts == []


def test_a_denied_turn_reaches_neither_model_nor_history(line: Line) -> None:
    line.decider.decision = Deny("prompt.blocked", "Because.")
    ended = _ended(line.run())
    assert ended.outcome is Outcome.DENIED
    assert ended.explanation == "Because."
    assert "inference" not in line.log.steps
    assert line.store.prompts == []
    assert [entry.outcome for entry in line.audit.entries] == ["deny", "denied"]


def test_a_denied_turn_whose_view_goes_away_at_once_has_its_outcome(line: Line) -> None:
    line.decider.decision = Deny("prompt.blocked", "Because.")
    events = line.chat.run_turn(None, "Hello")
    assert isinstance(next(events), Decided)
    events.close()
    assert line.audit.outcomes() == ["denied"]


def test_what_may_not_be_stored_is_not_asked(line: Line) -> None:
    ended = _ended(line.run("NOSTORE this"))
    assert ended.outcome is Outcome.DENIED
    assert "inference" not in line.log.steps
    assert line.store.prompts == []
    assert [entry.fields["rule"] for entry in line.audit.entries] == ["storage.blocked", "storage.blocked"]


@pytest.mark.parametrize("last", ["And NOSTORE. And more and more and more.", "At the end NOSTORE"])
def test_an_answer_that_may_not_be_stored_ends_denied_and_is_stored_as_far_as_shown(
    line: Line, last: str
) -> None:
    line.inference.pieces = ("A long enough beginning. ", last)
    events = line.run()
    ended = _ended(events)
    assert ended.outcome is Outcome.DENIED
    assert line.audit.outcomes() == ["denied"]
    assert line.audit.entries[-1].fields["rule"] == "storage.blocked"
    assert "NOSTORE" not in "".join(event.text for event in events if isinstance(event, Released))
    assert "NOSTORE" not in "".join(line.store.rows[ended.turn])


def test_what_is_shown_as_asked_is_what_the_model_gets(line: Line) -> None:
    events = line.run(f"My number is {SSN}, {STORED_ONLY}.")
    assert isinstance(events[0], Decided)
    assert line.inference.seen == ((Role.USER, events[0].prompt),)
    assert line.store.prompts == [events[0].prompt]
    assert STORED_ONLY not in events[0].prompt


def test_the_model_and_history_see_the_redacted_prompt_only(line: Line) -> None:
    line.run(f"My number is {SSN}.")
    assert line.store.prompts == ["My number is [US_SSN]."]
    assert line.inference.seen == ((Role.USER, "My number is [US_SSN]."),)
    assert line.audit.entries[0].fields["findings"] == {"US_SSN": 1}


def test_no_record_holds_content(line: Line) -> None:
    line.inference.pieces = ("canary-answer",)
    line.run("canary-prompt")
    assert "canary" not in repr(line.audit.entries)


def test_the_answer_is_shown_and_stored_redacted(line: Line) -> None:
    line.inference.pieces = ("It is SECRET", "WORD, and so on and on.")
    ended = _ended(line.run())
    assert ended.text == "It is [US_SSN], and so on and on."
    assert SSN not in "".join(line.store.rows[ended.turn])
    assert line.audit.entries[-1].fields["findings"] == {"US_SSN": 1}


def test_a_blocked_answer_ends_denied_and_nothing_of_it_is_shown(line: Line) -> None:
    line.inference.pieces = ("A long enough beginning. ", "Then BLOCKME and more.", "And more.")
    events = line.run()
    ended = _ended(events)
    assert ended.outcome is Outcome.DENIED
    assert "BLOCKME" not in "".join(event.text for event in events if isinstance(event, Released))
    assert line.inference.cancelled
    assert line.audit.outcomes() == ["denied"]


def test_cancel_keeps_what_came_and_discards_what_is_held(line: Line) -> None:
    line.inference.pieces = ("0123456789abcdefghij", "never")
    events = []
    for event in line.chat.run_turn(None, "Hello"):
        events.append(event)
        if isinstance(event, Released):
            line.chat.cancel()
    ended = _ended(events)
    assert ended.outcome is Outcome.CANCELLED
    assert ended.text == "01234567"
    assert line.audit.outcomes() == ["cancelled"]


def test_a_failed_worker_is_an_outcome_that_explains(line: Line) -> None:
    line.inference.pieces = (
        "A beginning that is long enough.",
        WorkerError("It crashed.", todo="Ask again."),
    )
    ended = _ended(line.run())
    assert ended.outcome is Outcome.FAILED
    assert ended.explanation == "It crashed. Ask again."
    assert line.store.outcomes[ended.turn] is Outcome.FAILED
    assert line.audit.outcomes() == ["failed"]


def test_a_bug_is_audited_and_raised(line: Line) -> None:
    line.inference.pieces = (ZeroDivisionError("ours"),)
    with pytest.raises(ZeroDivisionError):
        line.run()
    assert line.audit.outcomes() == ["failed"]
    line.inference.pieces = (BugError("ours"),)
    assert _ended(line.run()).outcome is Outcome.FAILED


def test_a_view_that_goes_away_leaves_one_outcome(line: Line) -> None:
    events = line.chat.run_turn(None, "Hello")
    next(events)
    next(events)
    events.close()
    assert line.audit.outcomes() == ["cancelled"]
    assert line.inference.cancelled


def test_a_full_disk_is_said_and_still_recorded(line: Line) -> None:
    line.store.appends_that_fail = 100
    ended = _ended(line.run())
    assert ended.outcome is Outcome.FAILED
    assert "disk" in ended.explanation
    assert line.audit.outcomes() == ["failed"]


def test_a_disk_that_was_full_for_a_moment_leaves_no_hole(line: Line) -> None:
    line.inference.pieces = tuple(f"part {number} of the answer, " for number in range(8))
    line.store.appends_that_fail = 2
    ended = _ended(line.run())
    assert ended.outcome is Outcome.COMPLETED
    assert "".join(line.store.rows[ended.turn]) == ended.text
    assert len(line.store.rows[ended.turn]) > 1, "it was stored as it streamed"


def test_what_an_answer_failed_to_store_at_its_last_tick_is_stored_at_its_end(line: Line) -> None:
    line.inference.pieces = ("A beginning that is long. ", "A middle that is long. ", WorkerError("Crashed."))
    line.store.appends_that_fail = 1
    ended = _ended(line.run())
    assert ended.outcome is Outcome.FAILED
    assert "".join(line.store.rows[ended.turn]) == ended.text != ""


def test_the_prompt_and_the_answer_are_redacted_for_storage_too(line: Line) -> None:
    line.inference.pieces = (f"The {STORED_ONLY} is shown, ", "and not stored.")
    ended = _ended(line.run(f"My {STORED_ONLY}."))
    assert line.store.prompts == ["My [STORED]."]
    assert STORED_ONLY in ended.text
    assert "".join(line.store.rows[ended.turn]) == ended.text.replace(STORED_ONLY, "[STORED]")


def test_a_bug_of_storage_is_raised_after_the_outcome(line: Line) -> None:
    line.store.appends_that_fail, line.store.append_error = 100, BugError("ours", code="bug.storage")
    with pytest.raises(BugError):
        line.run()
    assert line.audit.outcomes() == ["failed"]
    assert line.audit.entries[-1].fields["rule"] == "bug.storage"


def test_a_conversation_that_was_deleted_meanwhile_gives_one_outcome_and_is_said(line: Line) -> None:
    gone = UsageError("The conversation was deleted.", code="storage.no-turn")
    line.store.appends_that_fail, line.store.append_error, line.store.finish_error = 100, gone, gone
    ended = _ended(line.run())
    assert ended.outcome is Outcome.FAILED
    assert ended.explanation == "The conversation was deleted."
    assert line.audit.outcomes() == ["failed"]


def test_a_writer_that_goes_while_the_answer_streams_stops_it(line: Line) -> None:
    line.inference.pieces = tuple(f"part {number} of the answer, " for number in range(50))
    shown = ""
    with pytest.raises(AuditClosedError):
        for event in line.chat.run_turn(None, "Hello"):
            if isinstance(event, Released):
                shown += event.text
                line.audit.gone = len(shown) > 60
    assert len(shown) < 100, "nothing more was shown"
    assert line.inference.left, "the worker was left"
    (stored,) = line.store.rows.values()
    assert "".join(stored).startswith(shown), "what came is kept"
    assert line.store.outcomes == {}, "the next start gives it its one outcome"


def test_when_the_outcome_cannot_be_recorded_nothing_goes_on(line: Line) -> None:
    line.audit.fails_at = Event.TURN_OUTCOME
    with pytest.raises(AuditClosedError):
        line.run()
    assert line.store.outcomes == {}


def test_what_a_crash_left_open_is_closed_as_interrupted(line: Line) -> None:
    line.store.open = (TurnId("a"), TurnId("b"))
    assert line.chat.recover({}) == 2
    assert line.audit.outcomes() == ["interrupted", "interrupted"]
    assert set(line.store.outcomes.values()) == {Outcome.INTERRUPTED}


def test_an_outcome_that_was_recorded_before_the_crash_is_not_recorded_again(line: Line) -> None:
    line.store.open = (TurnId("a"), TurnId("b"))
    line.chat.recover({TurnId("a"): ("completed", RecordSeq(7))})
    assert line.audit.outcomes() == ["interrupted"]
    assert line.store.outcomes == {"a": Outcome.COMPLETED, "b": Outcome.INTERRUPTED}


@pytest.mark.parametrize(
    ("prompt", "title"),
    [("Hello", "Hello"), ("\n  \n Second line \nthird", "Second line"), ("", "New conversation")],
)
def test_titles(prompt: str, title: str) -> None:
    assert title_of(prompt) == title


def test_a_long_title_is_cut_at_a_word() -> None:
    title = title_of("word " * 40)
    assert title.endswith("word…")
    assert len(title) <= 61


def test_a_turn_that_failed_without_an_answer_does_not_stand_in_the_way(line: Line) -> None:
    old = (
        Message(Role.USER, "far too long", TurnId("old"), 0),
        Message(Role.ASSISTANT, "", TurnId("old"), 0, outcome=Outcome.FAILED),
    )
    fresh = line.store.messages
    line.store.messages = lambda conversation: (*old, *fresh(conversation))  # type: ignore[method-assign]
    ended = list(line.chat.run_turn(ConversationId("c1"), "short"))[-1]
    assert ended.outcome is Outcome.COMPLETED  # type: ignore[attr-defined]
    assert line.inference.seen == ((Role.USER, "short"),)
