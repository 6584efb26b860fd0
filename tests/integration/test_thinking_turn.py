"""Turns with a model that thinks, through the whole line: real worker, real redaction, real encrypted history."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from govdesk.app.rules import build_redactor
from govdesk.chat.service import ChatService
from govdesk.domain.ids import ConversationId, RecordSeq
from govdesk.domain.record import Entry, Event
from govdesk.domain.turn import Ended, Outcome, Released, Sampling
from govdesk.inference.manifest import Manifest, ModelFile, Variant
from govdesk.inference.store import Model
from govdesk.inference.supervisor import Supervisor
from govdesk.policy.builtin import strict_policy
from govdesk.policy.decisions import Decider
from govdesk.sandbox import selftest
from govdesk.storage.conversations import EncryptedConversations
from govdesk.storage.database import Database
from tests import audit_fields
from tests.processes import DirectBroker
from tests.scripted_model import CONTEXT_TOKENS, THINK, scripted_bytes
from tests.template_families import FAMILIES

QWEN = FAMILIES["qwen3"].source("qwen3")
SSN = "219-09-9999"
SCRIPT = ("<think>", "The number is 219-", "09-99", "99, and ", "I keep it.", "</think>", "It is ", "known.")
THOUGHT = "The number is [US_SSN], and I keep it."
EXACT = Sampling(max_tokens=60, temperature=0.0)


class Audit(list[Entry]):
    def append(self, entry: Entry) -> RecordSeq:
        audit_fields.check(entry)
        super().append(entry)
        return RecordSeq(len(self))

    def require_open(self) -> None: ...


class Line:
    """A session's line with a model of the test's own in place of the embedded one."""

    def __init__(self, folder: Path, content: bytes, template: str) -> None:
        self.audit = Audit()
        self.broker = DirectBroker()
        model = _admitted(folder, content, template)
        self.supervisor = Supervisor(self.broker, lambda: model, self.audit.append, selftest.require_closed)
        self.database = Database.create(folder / "history.db", bytearray(range(32)))
        self.store = EncryptedConversations(self.database)
        policy = strict_policy()
        clock = itertools.count()
        self.chat = ChatService(
            audit=self.audit,
            decider=Decider(policy),
            redactor=build_redactor(policy),
            inference=self.supervisor,
            store=self.store,
            clock=SimpleNamespace(utc_ns=lambda: 1, monotonic=lambda: next(clock) / 10),
            marking=policy.policy.system_high,
            policy_stamp=policy.stamp,
        )

    def ask(
        self, conversation: ConversationId | None = None, sampling: Sampling = EXACT
    ) -> tuple[Ended, list[Released]]:
        events = list(self.chat.run_turn(conversation, "Which number?", sampling))
        ended = events[-1]
        assert isinstance(ended, Ended)
        return ended, [event for event in events if isinstance(event, Released)]


def _admitted(folder: Path, content: bytes, template: str) -> Model:
    path = folder / "scripted.gguf"
    path.write_bytes(content)
    file = ModelFile(
        file=path.name,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        sha384=hashlib.sha384(content).hexdigest(),
    )
    manifest = Manifest(
        schema=2,
        name="scripted",
        title="Scripted",
        version=1,
        license="none",
        provenance="made by a test",
        shipped=False,
        architecture="llama",
        context_tokens=CONTEXT_TOKENS,
        template_sha384=hashlib.sha384(template.encode()).hexdigest(),
        roles=("system", "user", "assistant"),
        highest_marking="UNCLASSIFIED",
        variants=(Variant(quantization="F32", files=(file,)),),
    )
    return Model(manifest, path)


@pytest.fixture
def lines(tmp_path: Path) -> Iterator[list[Line]]:
    made: list[Line] = []
    yield made
    for line in made:
        line.supervisor.stop()
        line.database.close()


def _line(lines: list[Line], folder: Path, *script: str, loops: bool = False) -> Line:
    content = scripted_bytes(script, template=QWEN, specials=THINK, loops=loops)
    lines.append(Line(folder, content, QWEN))
    return lines[-1]


def test_thinking_goes_through_the_whole_line_apart(lines: list[Line], tmp_path: Path) -> None:
    line = _line(lines, tmp_path, *SCRIPT)
    ended, released = line.ask()
    assert (ended.outcome, ended.thinking.text, ended.text) == (Outcome.COMPLETED, THOUGHT, "It is known.")
    assert "".join(event.text for event in released if event.thinking) == THOUGHT
    assert "".join(event.text for event in released if not event.thinking) == "It is known."
    assert [finding.type for finding in ended.thinking.findings] == ["US_SSN"]
    assert ended.answer_findings == ()
    [outcome] = [entry for entry in line.audit if entry.event is Event.TURN_OUTCOME]
    assert outcome.fields["findings"] == {"US_SSN": 1}
    assert outcome.fields["thinking_characters"] == len(THOUGHT)
    assert outcome.fields["tokens"] == {**outcome.fields["tokens"], "answer": len(SCRIPT)}
    _, answer = line.store.messages(ended.conversation)
    assert (answer.thinking.text, answer.text) == (THOUGHT, "It is known.")
    assert SSN not in repr(line.audit)
    for path in tmp_path.glob("history.db*"):
        assert b"I keep it" not in path.read_bytes()


def test_a_model_is_not_given_its_thinking_again(lines: list[Line], tmp_path: Path) -> None:
    line = _line(lines, tmp_path, *SCRIPT)
    first, _ = line.ask()
    second, _ = line.ask(first.conversation)
    # <|im_end|> and a line end, the question again, and the answer: letters are tokens, its two texts perhaps one each
    most = 2 * first.usage.prompt_tokens + len("It is known.") + 2
    assert first.usage.prompt_tokens < second.usage.prompt_tokens <= most
    assert second.thinking.text == THOUGHT


@pytest.mark.parametrize("tokens", [3, 4])
def test_a_limit_inside_the_thinking_is_explained(lines: list[Line], tmp_path: Path, tokens: int) -> None:
    line = _line(lines, tmp_path, *SCRIPT)
    ended, _ = line.ask(sampling=Sampling(max_tokens=tokens, temperature=0.0))
    assert (ended.outcome, ended.text) == (Outcome.COMPLETED, "")
    assert ended.thinking.text.startswith("The number is ") and SSN not in ended.thinking.text
    assert f"limit of {tokens} tokens while it was still thinking" in ended.explanation
    assert line.audit[-1].fields["rule"] == "thinking.cut"
    again, _ = line.ask(ended.conversation)
    assert again.text == "It is known."  # what it only thought about does not stand in the way


def test_thinking_without_end_is_bounded_and_explained(lines: list[Line], tmp_path: Path) -> None:
    line = _line(lines, tmp_path, "<think>", "and ", "again ", loops=True)
    ended, _ = line.ask()
    assert ended.usage.answer_tokens == 60 and ended.text == "" and "again" in ended.thinking.text
    assert "still thinking" in ended.explanation


def test_stopping_it_while_it_thinks_keeps_what_it_thought(lines: list[Line], tmp_path: Path) -> None:
    line = _line(lines, tmp_path, "<think>", *(f"thought {number}, " for number in range(40)), loops=True)
    ended = None
    for event in line.chat.run_turn(None, "Which number?", Sampling(max_tokens=3000, temperature=0.0)):
        if isinstance(event, Released) and event.text:
            line.chat.cancel()
        ended = event
    assert isinstance(ended, Ended)
    assert (ended.outcome, ended.text) == (Outcome.CANCELLED, "")
    assert line.store.messages(ended.conversation)[1].thinking.text == ended.thinking.text != ""
