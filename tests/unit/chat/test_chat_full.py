"""A turn that does not fit: nothing is stored, answered or cut; what is chosen is recorded, stored and holds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from govdesk.chat import fitting
from govdesk.chat.service import ChatService
from govdesk.domain.ids import ConversationId, ModelDigest, RecordSeq, TurnId
from govdesk.domain.inference import Count, Piece, Stopped
from govdesk.domain.record import Entry, Event
from govdesk.domain.turn import (
    Cut,
    Decided,
    Ended,
    Length,
    ModelInfo,
    Outcome,
    Role,
    Sampling,
    TooLong,
    Usage,
    WhenFull,
)
from govdesk.errors import WorkerError
from govdesk.storage.conversations import EncryptedConversations
from govdesk.storage.database import Database
from tests import audit_fields
from tests.unit.chat.test_chat_service import Clock, Decider, Log, Redactor

KEY = bytes(range(32))


@dataclass
class Audit:
    entries: list[Entry] = field(default_factory=list)

    def append(self, entry: Entry) -> RecordSeq:
        audit_fields.check(entry)
        self.entries.append(entry)
        return RecordSeq(len(self.entries))

    def require_open(self) -> None: ...

    def last(self) -> tuple[Entry, Entry]:
        """Intent and outcome of the last turn."""
        return self.entries[-2], self.entries[-1]


class Worker:
    """A word is a token; 100 of them are seen."""

    def __init__(self) -> None:
        self.answers: list[str | Exception] = []
        self.seen: list[tuple[tuple[Role, str], ...]] = []
        self.conversations: list[str] = []
        self.reason = "end"

    def model(self) -> ModelInfo:
        return ModelInfo("M", ModelDigest("d" * 96), 100)

    def count(self, turn: TurnId, history) -> Count:
        return Count(sum(len(text.split()) + 2 for _, text in history))

    def answer(self, turn: TurnId, history, sampling, conversation="") -> Iterator[Piece | Stopped]:
        self.seen.append(history)
        self.conversations.append(conversation)
        self.sampling = sampling
        answer = self.answers.pop(0) if self.answers else "An answer."
        if isinstance(answer, Exception):
            raise answer
        yield Piece(answer)
        yield Stopped(self.reason, Usage(prompt_tokens=7, answer_tokens=2))

    def cancel(self) -> None: ...


class Line:
    def __init__(self, path) -> None:
        self.path = path
        self.database = Database.create(path, bytearray(KEY))
        self.audit = Audit()
        self.worker = Worker()
        self.make()

    def make(self) -> None:
        self.store = EncryptedConversations(self.database)
        self.chat = ChatService(
            audit=self.audit, decider=Decider(), redactor=Redactor(Log()), inference=self.worker,
            store=self.store, clock=Clock(), marking="U", policy_stamp="p@h",
        )  # fmt: skip

    def reopen(self) -> None:
        self.database.close()
        self.database = Database.open(self.path, bytearray(KEY))
        self.make()

    def ask(self, conversation, prompt, when_full=WhenFull.STOP):
        return list(self.chat.run_turn(conversation, prompt, None, when_full))

    def asked(self) -> list[str]:
        """First words of what people said, as the model was given it last."""
        return [text.split()[0] for role, text in self.worker.seen[-1] if role is Role.USER]


@pytest.fixture
def line(tmp_path):
    made = Line(tmp_path / "history.db")
    yield made
    made.database.close()


@pytest.fixture
def ports(line) -> ConversationId:
    """A conversation of four turns, 16 tokens each: 64 of the 75 that are for a prompt."""
    conversation = None
    for number in range(4):
        *_, ended = line.ask(conversation, f"{number} " + "w " * 9)
        conversation = ended.conversation
    return conversation


LONG = "long " + "w " * 13


def test_stopped_nothing_is_stored_answered_or_cut(line, ports) -> None:
    before, asked = line.store.messages(ports), len(line.worker.seen)
    too_long, ended = line.ask(ports, LONG)
    assert isinstance(too_long, TooLong) and len(too_long.oldest) == 1
    assert isinstance(ended, Ended) and ended.outcome is Outcome.FAILED
    assert "Nothing was cut" in ended.explanation
    assert line.store.messages(ports) == before
    assert len(line.worker.seen) == asked
    intent, outcome = line.audit.last()
    assert (intent.event, intent.outcome) == (Event.TURN_INTENT, "permit")
    assert (outcome.event, outcome.outcome) == (Event.TURN_OUTCOME, "failed")
    assert outcome.fields["rule"] == "context.full"
    assert "unseen" not in outcome.fields


def test_a_view_that_goes_away_at_the_question_leaves_one_outcome(line, ports) -> None:
    events = line.chat.run_turn(ports, LONG)
    assert isinstance(next(events), TooLong)
    events.close()
    intent, outcome = line.audit.last()
    assert (intent.object, outcome.outcome) == (outcome.object, "failed")


def test_a_first_message_that_is_too_long_makes_no_conversation(line) -> None:
    too_long, ended = line.ask(None, "w " * 90)
    assert isinstance(too_long, TooLong) and too_long.oldest == ()
    assert ended.conversation == ""
    assert line.store.conversations() == ()


def test_dropping_is_recorded_said_stored_and_holds(line, ports) -> None:
    decided, *_, ended = line.ask(ports, LONG, WhenFull.DROP_OLDEST)
    assert isinstance(decided, Decided) and decided.cut == Cut(1)
    assert ended.outcome is Outcome.COMPLETED
    assert line.asked() == ["1", "2", "3", "long"]
    intent, outcome = line.audit.last()
    assert intent.fields["when_full"] == "drop-oldest"
    assert (outcome.fields["unseen"], outcome.fields["summary"]) == (1, None)
    line.reopen()
    assert [one.cut for one in line.store.messages(ports)[-2:]] == [Cut(1), Cut(1)]
    assert [one.cut for one in line.store.messages(ports)[:8]] == [Cut()] * 8
    line.ask(ports, "on")
    assert line.asked() == ["1", "2", "3", "long", "on"]
    intent, outcome = line.audit.last()
    assert "when_full" not in intent.fields
    assert outcome.fields["unseen"] == 1


def test_a_turn_that_sees_everything_has_no_such_fields(line, ports) -> None:
    for entry in line.audit.entries:
        assert not {"unseen", "summary", "when_full", "summarise", "summarised"} & set(entry.fields)


def test_a_summary_is_a_turn_of_its_own_with_its_own_records(line, ports) -> None:
    line.worker.answers = ["Ports were compared."]
    decided, *_, ended = list(line.chat.summarise(ports, 2))
    assert ended.outcome is Outcome.COMPLETED
    assert line.asked() == ["0", "1", fitting.SUMMARY_PROMPT.split()[0]]
    assert decided.cut == Cut(2, ended.turn)
    intent, outcome = line.audit.last()
    assert intent.object == outcome.object == ended.turn
    assert intent.fields["summarise"] == 2
    assert outcome.fields["summarised"] == 2
    line.reopen()
    prompt, answer = line.store.messages(ports)[-2:]
    assert prompt.is_summary and answer.is_summary
    *_, ended = line.ask(ports, "on")
    assert line.worker.seen[-1][1] == (Role.ASSISTANT, "Ports were compared.")
    assert line.asked() == [fitting.SUMMARY_PROMPT.split()[0], "2", "3", "on"]
    _, outcome = line.audit.last()
    assert (outcome.fields["unseen"], outcome.fields["summary"]) == (2, answer.turn)
    assert line.store.messages(ports)[-1].cut == Cut(2, answer.turn)
    assert not line.store.messages(ports)[-1].is_summary


def test_a_summary_that_failed_changes_nothing(line, ports) -> None:
    line.worker.answers = [WorkerError("It crashed.", code="worker.crashed")]
    *_, ended = list(line.chat.summarise(ports, 2))
    assert ended.outcome is Outcome.FAILED
    line.ask(ports, "on")
    assert line.asked() == ["0", "1", "2", "3", "on"]


@pytest.mark.parametrize("reason", ["length", "loop"])
def test_a_summary_that_did_not_come_to_its_end_changes_nothing(line, ports, reason) -> None:
    line.worker.reason = reason
    *_, ended = list(line.chat.summarise(ports, 2))
    assert (ended.outcome, ended.code, ended.is_whole) == (Outcome.COMPLETED, reason, False)
    assert ended.explanation.startswith("The summary did not come to its end")
    line.worker.reason = "end"
    line.reopen()
    line.ask(ports, "on")
    assert line.asked() == ["0", "1", "2", "3", "on"]


def test_the_length_is_a_number_of_the_models_context_in_the_record_of_the_end(line, ports) -> None:
    intent, outcome = line.audit.last()
    assert intent.fields["length"] == "usual" and "max_tokens" not in intent.fields["sampling"]
    assert outcome.fields["max_tokens"] == line.worker.sampling.max_tokens == 512
    list(line.chat.run_turn(ports, "on", Sampling(length=Length.SHORT)))
    assert line.worker.sampling.max_tokens == 256
    list(line.chat.run_turn(ports, "on", Sampling(max_tokens=9)))
    intent, outcome = line.audit.last()
    assert intent.fields["sampling"]["max_tokens"] == outcome.fields["max_tokens"] == 9
    assert "length" not in intent.fields
    list(line.chat.summarise(ports, 1))
    assert line.worker.sampling.max_tokens == fitting.summary_limit(100)


def test_more_turns_than_there_are_cannot_be_summarised(line, ports) -> None:
    (ended,) = list(line.chat.summarise(ports, 5))
    assert ended.outcome is Outcome.FAILED
    assert line.audit.entries[-1].fields["rule"] == "summary.turns"
    assert len(line.store.messages(ports)) == 8


def test_the_worker_hears_whose_conversation_it_is(line, ports) -> None:
    assert set(line.worker.conversations) == {ports}
