"""Promise: nothing reaches the worker before it passed policy, spillage and redaction and is durably on record.

Not to be answered, not to be counted, not to be read ahead. The real policy, the real redaction; the worker
and the log only note what came to them, and in which order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import msgspec
import pytest

from govdesk.app.rules import build_redactor, load_policy
from govdesk.chat.reading_ahead import RECORD_SECONDS, ReadingAhead
from govdesk.chat.service import ChatService
from govdesk.domain.ids import ConversationId, ModelDigest, RecordSeq, TurnId
from govdesk.domain.inference import Count, Read, Stopped
from govdesk.domain.policy import RedactionRules
from govdesk.domain.record import Entry
from govdesk.domain.redaction import Operator
from govdesk.domain.turn import Counted, Later, ModelInfo, Outcome, Role, Usage
from govdesk.errors import AuditClosedError
from govdesk.policy.builtin import strict_policy
from govdesk.policy.decisions import Decider
from tests import audit_fields
from tests.fakes import FakeStore

SSN = "-".join(("219", "09", "9999"))
PRIVATE_KEY = "-----BEGIN " + "PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END " + "PRIVATE KEY-----"
SPILL = "TOP SECRET//SI//NOFORN\nThe source in Vienna."


@dataclass
class Log:
    """What happened, in order: records by event and outcome, and what came to the worker."""

    steps: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    closed: bool = False

    def append(self, entry: Entry) -> RecordSeq:
        audit_fields.check(entry)
        if self.closed:
            raise AuditClosedError("closed")
        self.steps.append(f"{entry.event.value} {entry.outcome}")
        self.entries.append(entry)
        return RecordSeq(len(self.entries))

    def require_open(self) -> None:
        if self.closed:
            raise AuditClosedError("closed")


class Worker:
    """Notes everything that it is given."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def _came(self, step: str, history: tuple[tuple[Role, str], ...]) -> None:
        self._log.steps.append(step)
        self._log.texts += [text for _, text in history]

    def model(self) -> ModelInfo:
        return ModelInfo("M", ModelDigest("d" * 96), 64)

    def answer(self, turn: TurnId, history, sampling, conversation="") -> Iterator[Stopped]:
        self._came("worker answers", history)
        yield Stopped("end", Usage())

    def count(self, turn: TurnId, history) -> Count:
        self._came("worker counts", history)
        return Count(1)

    def read_ahead(self, turn: TurnId, history, conversation: str, wanted) -> Read | None:
        if not wanted():
            return None
        self._came("worker reads", history)
        return Read(12, 0, 12)

    def cancel(self) -> None: ...
    def stop_reading(self) -> None: ...


class Store(FakeStore):
    def begin_turn(self, *_: object) -> None: ...
    def append_answer(self, *_: object) -> None: ...
    def finish_turn(self, *_: object) -> None: ...


class Clock:
    now = 100.0

    def utc_ns(self) -> int:
        return 1

    def monotonic(self) -> float:
        return self.now


class Line:
    def __init__(self, policy=None, *, allowed: bool = True) -> None:
        self.log = Log()
        self.clock = Clock()
        self.store = Store()
        in_force = policy or load_policy()[0]
        parts = {
            "audit": self.log, "decider": Decider(in_force), "redactor": build_redactor(in_force),
            "inference": Worker(self.log), "store": self.store, "clock": self.clock,
            "marking": in_force.policy.system_high, "policy_stamp": in_force.stamp,
        }  # fmt: skip
        self.ahead = ReadingAhead(**parts, allowed=allowed)
        self.chat = ChatService(**parts)


@pytest.fixture
def line() -> Line:
    return Line()


def reached(log: Log) -> list[str]:
    return [step for step in log.steps if step.startswith("worker")]


def test_a_draft_is_read_after_its_record_and_redacted(line: Line) -> None:
    assert line.ahead.read(None, f"My number is {SSN}.") == Counted(12, 48)
    assert line.log.steps == ["draft.read intent", "worker reads", "draft.read success"]
    assert line.log.texts == ["My number is [US_SSN]."]


@pytest.mark.parametrize("text", [SPILL, f"Look at this: {PRIVATE_KEY}", "\u200b"])
def test_what_could_not_be_sent_is_not_read(line: Line, text: str) -> None:
    assert line.ahead.read(None, text) is None
    assert line.log.steps == ["draft.read denied"]
    assert line.log.texts == []


def test_what_may_not_be_stored_is_not_read() -> None:
    in_force, _ = load_policy()
    blocks = {"storage": RedactionRules(types={"EMAIL_ADDRESS": Operator.BLOCK}),
              "prompt": RedactionRules(types={"EMAIL_ADDRESS": Operator.ALLOW})}  # fmt: skip
    strict = msgspec.structs.replace(
        in_force, policy=msgspec.structs.replace(in_force.policy, redaction=blocks)
    )
    line = Line(strict)
    assert line.ahead.read(None, "Write to jane@example.gov") is None
    assert line.log.steps == ["draft.read denied"]
    assert line.log.entries[0].fields["rule"] == "storage.blocked"


def test_without_a_durable_record_nothing_is_read(line: Line) -> None:
    line.log.closed = True
    with pytest.raises(AuditClosedError):
        line.ahead.read(None, "harmless")
    assert line.log.steps == []
    assert line.log.texts == []


def test_a_stored_conversation_is_read_under_a_record_too(line: Line) -> None:
    known = line.store.put("Ports", [(Role.USER, "What is a port?"), (Role.ASSISTANT, "A harbour.")])
    assert line.ahead.read(known, "") is None  # read, and nothing to say to the person
    assert line.log.steps == ["draft.read intent", "worker reads", "draft.read success"]
    assert line.log.texts == ["What is a port?", "A harbour.", ""]
    assert {entry.object for entry in line.log.entries} == {known}


def test_policy_can_switch_it_off() -> None:
    assert strict_policy().policy.inference.read_ahead is False
    line = Line(allowed=False)
    assert line.ahead.read(None, "harmless") is None
    assert line.ahead.read(ConversationId("c"), "") is None
    assert line.log.steps == []


def test_records_are_coalesced_because_nothing_is_read_in_between(line: Line) -> None:
    line.ahead.read(None, "first")
    for text in ("first words", "first words of", SPILL):
        line.clock.now += RECORD_SECONDS / 10
        later = line.ahead.read(None, text)
        assert isinstance(later, Later) and 0 < later.seconds <= RECORD_SECONDS
    assert len(line.log.entries) == 2
    assert line.log.texts == ["first"]
    line.clock.now += RECORD_SECONDS
    line.ahead.read(None, "first words of a question")
    assert line.log.texts == ["first", "first words of a question"]
    assert line.log.steps.count("draft.read intent") == 2


def test_the_record_has_ids_and_counts_only(line: Line) -> None:
    line.ahead.read(ConversationId(line.store.put("T", [])), f"quartermaine-canary {SSN}")
    line.clock.now += RECORD_SECONDS
    line.ahead.read(None, SPILL)
    for entry in line.log.entries:
        encoded = msgspec.json.encode(entry).decode()
        assert not re.search(f"canary|{SSN}|Vienna", encoded)
    assert line.log.entries[0].fields == {"characters": 31, "findings": {"US_SSN": 1}}


def test_what_was_stopped_before_it_began_is_not_read(line: Line) -> None:
    append = line.log.append

    def stop_at_the_record(entry: Entry) -> RecordSeq:
        if entry.outcome == "intent":
            line.ahead.stop()
        return append(entry)

    line.log.append = stop_at_the_record  # type: ignore[method-assign]
    assert line.ahead.read(None, "not any more") is None
    assert line.log.texts == []
    assert line.log.steps == ["draft.read intent", "draft.read cancelled"]


def test_a_message_is_counted_and_answered_after_its_record(line: Line) -> None:
    *_, ended = line.chat.run_turn(None, f"{SSN} " + "harbour " * 20)
    assert ended.outcome is Outcome.COMPLETED
    assert line.log.steps == [
        "turn.intent permit", "worker counts", "worker answers", "turn.outcome completed",
    ]  # fmt: skip
    assert not any(SSN in text for text in line.log.texts)


@pytest.mark.parametrize("text", [SPILL, PRIVATE_KEY + " harbour" * 40])
def test_a_denied_message_is_not_even_counted(line: Line, text: str) -> None:
    *_, ended = line.chat.run_turn(None, text)
    assert ended.outcome is Outcome.DENIED
    assert reached(line.log) == []


def test_without_its_record_a_message_is_not_even_counted(line: Line) -> None:
    line.log.closed = True
    with pytest.raises(AuditClosedError):
        list(line.chat.run_turn(None, "harbour " * 40))
    assert reached(line.log) == []
