"""Promise: an audit record holds ids, counts, codes and markings; no word of a prompt, an answer or a title.

The turn, the history and the redact command run with real redaction and a log that keeps what it is given;
canaries stand in everything that a person and the model wrote, in places that redaction finds and in
places that it does not.
"""

import argparse
import io
import itertools
import re
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import msgspec
import pytest

from govdesk.app.rules import build_redactor
from govdesk.chat.history import AuditedHistory
from govdesk.chat.service import ChatService
from govdesk.cli import redact
from govdesk.domain.ids import ModelDigest, RecordSeq, TurnId
from govdesk.domain.inference import Piece, Stopped
from govdesk.domain.policy import MAX_PROMPT_CHARACTERS
from govdesk.domain.record import Entry, Event
from govdesk.domain.turn import Ended, ModelInfo, Outcome, Role, Usage
from govdesk.errors import WorkerError
from govdesk.policy.builtin import strict_policy
from govdesk.policy.decisions import Decider
from tests import audit_fields
from tests.fakes import FakeStore

CANARIES = ("zyxwvcanary", "219-09-9999", "kqjxcanary", "hbvcanary", "jane.canary@example.gov")
POLICY = strict_policy()
REDACTOR = build_redactor(POLICY)
NO_WORD = re.compile(
    r"|[a-z]+(?:[._:-][a-z0-9]+)*"  # a code, an outcome, a rule, a field's name
    r"|c?[0-9a-f]{1,96}"  # an id or a digest
    r"|[A-Z][A-Z0-9_]*(?:\.[A-Z_]+)?"  # an entity type, a marking
    r"|[a-z0-9.-]+@[0-9a-f]{16}"  # a policy's stamp
)


class Log(list[Entry]):
    def append(self, entry: Entry) -> RecordSeq:
        audit_fields.check(entry)
        super().append(entry)
        return RecordSeq(len(self))

    def require_open(self) -> None: ...


class Store(FakeStore):
    """A fake history that takes turns."""

    def begin_turn(self, *_: object) -> None: ...
    def append_answer(self, turn: TurnId, text: str) -> None: ...
    def append_thinking(self, turn: TurnId, text: str) -> None: ...
    def finish_turn(self, *_: object) -> None: ...


class Inference:
    def __init__(self, *pieces: str | Exception) -> None:
        self.pieces = pieces

    def model(self) -> ModelInfo:
        return ModelInfo("M", ModelDigest("d" * 96), 4096)

    def answer(self, *_: object) -> Iterator[Piece | Stopped]:
        for piece in self.pieces:
            if isinstance(piece, Exception):
                raise piece
            yield Piece(piece)
        yield Stopped("end", Usage())

    def cancel(self) -> None: ...


def turn(log: Log, prompt: str, inference: Inference, redactor: object = REDACTOR) -> Outcome:
    clock = itertools.count()
    service = ChatService(
        audit=log, decider=Decider(POLICY), redactor=redactor, inference=inference, store=Store(),
        clock=SimpleNamespace(utc_ns=lambda: 1, monotonic=lambda: float(next(clock))),
        marking=POLICY.policy.system_high, policy_stamp=POLICY.stamp,
    )  # fmt: skip
    *_, last = service.run_turn(None, prompt)
    assert isinstance(last, Ended)
    return last.outcome


def texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from (key, *texts(inner))


def check(log: Log) -> None:
    assert log
    for entry in log:
        encoded = msgspec.json.encode(entry).decode()
        assert not any(canary in encoded for canary in CANARIES), encoded
        for text in texts(msgspec.to_builtins(entry)):
            assert NO_WORD.fullmatch(text), text


@pytest.mark.parametrize(
    ("prompt", "pieces", "outcome"),
    [
        (
            "zyxwvcanary and 219-09-9999",
            ("kqjxcanary, ", "write to jane.canary@example.gov"),
            Outcome.COMPLETED,
        ),
        ("SECRET//NOFORN zyxwvcanary", (), Outcome.DENIED),
        ("zyxwvcanary", ("kqjxcanary SECRET//", "NOFORN hbvcanary"), Outcome.DENIED),
        (
            "zyxwvcanary",
            ("kqjxcanary", WorkerError("hbvcanary broke it", code="worker.crashed")),
            Outcome.FAILED,
        ),
        ("\u200b", (), Outcome.DENIED),
    ],
)
def test_turns(prompt: str, pieces: tuple[str | Exception, ...], outcome: Outcome) -> None:
    log = Log()
    assert turn(log, prompt, Inference(*pieces)) is outcome
    assert {entry.event for entry in log} == {Event.TURN_INTENT, Event.TURN_OUTCOME}
    check(log)


def test_a_prompt_that_is_too_long_is_denied_before_redaction_looks_at_it() -> None:
    log = Log()
    nobody = SimpleNamespace(redact=None, stream=REDACTOR.stream)  # calling it would raise
    assert turn(log, "zyxwvcanary" + "x" * MAX_PROMPT_CHARACTERS, Inference(), nobody) is Outcome.DENIED
    assert log[0].fields["rule"] == "prompt.too-long"
    check(log)


@pytest.mark.parametrize(
    "use",
    [
        lambda history, which: history.messages(which),
        lambda history, which: history.rename(which, "kqjxcanary"),
        lambda history, which: history.search("zyxwvcanary"),
        lambda history, which: history.delete(which),
    ],
)
def test_history(use: Callable[[AuditedHistory, object], object]) -> None:
    log, store = Log(), Store()
    which = store.put("hbvcanary", [(Role.USER, "zyxwvcanary")])
    use(AuditedHistory(store, log, POLICY.policy.system_high, POLICY.stamp), which)
    check(log)


@pytest.mark.parametrize("form", [[], ["--json"], ["--jsonl"]])
def test_the_redact_command(
    form: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Log()
    given = io.BytesIO(b'{"text":"zyxwvcanary 219-09-9999"}\n')
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=given))
    parser = argparse.ArgumentParser()
    redact.add_arguments(parser)
    redact.run(parser.parse_args(form), SimpleNamespace(audit=log, policy=POLICY, redactor=REDACTOR))
    assert [entry.outcome for entry in log] == ["intent", "success"]
    assert "zyxwvcanary" in capsys.readouterr().out
    check(log)


def test_the_check_sees_words() -> None:
    assert all(NO_WORD.fullmatch(canary) is None for canary in CANARIES if not canary.isalpha())
    with pytest.raises(AssertionError):
        check(Log([Entry(Event.SEARCH, "success", object="what was sought")]))
