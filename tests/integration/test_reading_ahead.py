"""Reading ahead and what does not fit, with the real worker, the real policy and the real history."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import msgspec
import pytest

from govdesk.app.rules import build_redactor, load_policy
from govdesk.chat.fitting import SUMMARY_PROMPT, answer_room
from govdesk.chat.reading_ahead import ReadingAhead
from govdesk.chat.service import ChatService
from govdesk.domain.frames import LoadModel, PromptProgress
from govdesk.domain.record import Event
from govdesk.domain.turn import Counted, Ended, Outcome, Role, Sampling, TooLong, WhenFull
from govdesk.inference.plan import default_plan
from govdesk.inference.reading import ReadHearing
from govdesk.inference.supervisor import Supervisor
from govdesk.policy.decisions import Decider
from govdesk.sandbox import selftest
from govdesk.storage.conversations import EncryptedConversations
from govdesk.storage.database import Database
from tests.integration.test_worker import _model
from tests.processes import DirectBroker
from tests.unit.chat.test_chat_full import Audit

EXACT = Sampling(max_tokens=12, temperature=0.0, seed=1)
TEXT = (
    "The harbour study compares three ports by depth, crane capacity and rail access. Vestmouth is the "
    "deepest of them; Nordhafen needs dredging; Port Alder has no railway. The committee meets in spring, "
    "and its chair asked for a recommendation of one page. Which port would you choose, and why? "
)
CONTEXT = 384


class Clock:
    """Each look is far later than the last: nothing waits for the time between two records."""

    now = 0.0

    def utc_ns(self) -> int:
        return 1_700_000_000_000_000_000

    def monotonic(self) -> float:
        self.now += 60.0
        return self.now


class Line:
    def __init__(self, path, context_tokens: int = 0) -> None:
        def plan(model: object, facts: object) -> LoadModel:
            order = default_plan(model, facts)  # type: ignore[arg-type]
            return msgspec.structs.replace(order, context_tokens=context_tokens or order.context_tokens)

        in_force, _ = load_policy()
        self.audit = Audit()
        self.database = Database.create(path, bytearray(os.urandom(32)))
        self.store = EncryptedConversations(self.database)
        self.supervisor = Supervisor(DirectBroker(), _model, self.audit.append, selftest.require_closed, plan)
        parts = {
            "audit": self.audit, "decider": Decider(in_force), "redactor": build_redactor(in_force),
            "inference": self.supervisor, "store": self.store, "clock": Clock(),
            "marking": "UNCLASSIFIED", "policy_stamp": in_force.stamp,
        }  # fmt: skip
        self.chat = ChatService(**parts)
        self.ahead = ReadingAhead(**parts, allowed=True)

    def ask(self, conversation, prompt, sampling=EXACT, when_full=WhenFull.STOP) -> Ended:
        *_, ended = self.chat.run_turn(conversation, prompt, sampling, when_full)
        assert isinstance(ended, Ended)
        return ended

    def close(self) -> None:
        self.supervisor.stop()
        self.database.close()


@pytest.fixture
def line(tmp_path) -> Iterator[Line]:
    made = Line(tmp_path / "history.db")
    yield made
    made.close()


@pytest.fixture
def small(tmp_path) -> Iterator[Line]:
    made = Line(tmp_path / "small.db", CONTEXT)
    yield made
    made.close()


@pytest.fixture(scope="module")
def unread(tmp_path_factory) -> tuple[str, str]:
    """Both answers of a conversation in which nothing was read ahead."""
    made = Line(tmp_path_factory.mktemp("unread") / "history.db")
    first = made.ask(None, TEXT)
    second = made.ask(first.conversation, "And which port would you never choose, and for what reason?")
    made.close()
    assert first.text and second.text
    return first.text, second.text


def test_the_answer_is_the_same_as_without(line, unread) -> None:
    for end in (7, 60, 61, 150, len(TEXT)):  # in the middle of words, and what is written goes on
        assert isinstance(line.ahead.read(None, TEXT[:end]), Counted)
    first = line.ask(None, TEXT)
    assert first.text == unread[0]
    question = "And which port would you never choose, and for what reason?"
    assert line.ahead.read(first.conversation, "") is None
    line.ahead.read(first.conversation, "Something else that turned out wrong " * 3)
    line.ahead.read(first.conversation, question[:31])
    assert line.ask(first.conversation, question).text == unread[1]


def test_what_was_read_ahead_is_counted_exactly_and_not_read_again(line) -> None:
    counted = line.ahead.read(None, TEXT)
    ended = line.ask(None, TEXT, Sampling(max_tokens=2))
    assert isinstance(counted, Counted)
    assert counted.prompt_tokens == ended.usage.prompt_tokens
    assert counted.room_tokens < line.supervisor.model().context_tokens
    assert 0 < ended.usage.read_tokens < 20 < ended.usage.prompt_tokens
    reads = [entry for entry in line.audit.entries if entry.event is Event.DRAFT_READ]
    assert [entry.outcome for entry in reads] == ["intent", "success"]


def test_redaction_of_the_draft_and_of_the_message_agree(line) -> None:
    """What is found late makes the common beginning shorter, and nothing else."""
    number = "-".join(("219", "09", "9999"))
    line.ahead.read(None, f"{TEXT} My number is {number[:6]}")
    line.ahead.read(None, f"{TEXT} My number is {number}.")
    ended = line.ask(None, f"{TEXT} My number is {number}.", Sampling(max_tokens=2))
    assert [finding.type for finding in ended.prompt_findings] == ["US_SSN"]
    assert ended.usage.read_tokens < 20


def test_a_reading_is_left_at_once_when_the_message_is_sent(line, unread, monkeypatch) -> None:
    line.supervisor.model()
    begun = threading.Event()
    goes_on = ReadHearing.goes_on

    def noted(hearing, frame):
        if isinstance(frame, PromptProgress) and frame.done_tokens > 0:
            begun.set()  # a part of the prompt was really read
        return goes_on(hearing, frame)

    monkeypatch.setattr(ReadHearing, "goes_on", noted)
    result: list[object] = []
    reading = threading.Thread(target=lambda: result.append(line.ahead.read(None, TEXT + "harbour " * 2500)))
    reading.start()
    assert begun.wait(60)
    ended = line.ask(None, TEXT)
    reading.join(60)
    assert ended.text == unread[0]
    intent, left = (entry for entry in line.audit.entries if entry.event is Event.DRAFT_READ)
    assert (intent.outcome, left.outcome) == ("intent", "cancelled")
    tokens = left.fields["tokens"]
    assert 0 < tokens["reused"] + tokens["read"] < tokens["prompt"] / 2, tokens
    assert result


def test_what_does_not_fit_is_chosen_recorded_and_holds(small) -> None:
    conversation, asked = None, 0
    while True:
        events = list(small.chat.run_turn(conversation, TEXT, EXACT))
        if isinstance(events[0], TooLong):
            break
        conversation, asked = events[-1].conversation, asked + 1
        assert asked < 20
    too_long = events[0]
    room = CONTEXT - answer_room(CONTEXT, EXACT.max_tokens)
    assert too_long.room_tokens == room < too_long.prompt_tokens
    assert too_long.oldest
    before = len(small.store.messages(conversation))
    assert before == 2 * asked
    ended = small.ask(conversation, TEXT, when_full=WhenFull.DROP_OLDEST)
    assert ended.outcome is Outcome.COMPLETED and ended.text
    assert ended.cut.turns == len(too_long.oldest)
    assert ended.usage.prompt_tokens == too_long.prompt_tokens - too_long.freed_tokens <= room
    assert small.audit.entries[-1].fields["unseen"] == ended.cut.turns
    again = small.ask(conversation, "Why?", Sampling(max_tokens=2))
    assert again.cut.turns == ended.cut.turns


def test_a_summary_by_the_real_model_stands_in_place(tmp_path) -> None:
    line = Line(tmp_path / "history.db", 1024)
    try:
        conversation = None
        for _ in range(8):
            ended = line.ask(conversation, TEXT, Sampling(max_tokens=8, temperature=0.0))
            conversation = ended.conversation
        too_long, _ = line.chat.run_turn(conversation, TEXT + "harbour " * 300, EXACT)
        assert isinstance(too_long, TooLong) and too_long.to_summarise
        *_, summary = line.chat.summarise(conversation, len(too_long.to_summarise))
        assert summary.outcome is Outcome.COMPLETED and summary.text
        ended = line.ask(conversation, TEXT + "harbour " * 300)
        assert ended.outcome is Outcome.COMPLETED
        assert ended.cut.summary == summary.turn
        messages = line.store.messages(conversation)
        assert [one.text for one in messages if one.is_summary and one.role is Role.USER] == [SUMMARY_PROMPT]
    finally:
        line.close()
