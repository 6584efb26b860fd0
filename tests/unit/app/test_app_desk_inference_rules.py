"""What policy says of reading ahead and of sealed states reaches both; and no blocked answer is ever sealed.

The desk is the real one, with the real writer and history; its worker is scripted, and does both whenever it
is asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from govdesk.app import desk as desk_module
from govdesk.app import rules
from govdesk.cli.desk import Unlocked
from govdesk.domain.frames import (
    AnswerDone,
    AnswerPiece,
    Generate,
    PromptProgress,
    ReadAhead,
    ReadDone,
    SaveState,
    StateSize,
    StateWritten,
    Tune,
    Tuned,
    WriteState,
)
from govdesk.domain.policy import InferenceRules, PolicyInForce
from govdesk.domain.prompt_state import HEADER, MAGIC, VERSION
from govdesk.domain.record import Event
from govdesk.domain.turn import Counted, Ended, Outcome
from govdesk.inference.supervisor import Supervisor
from tests.unit.app.test_app_desk import PASSPHRASE, Bench
from tests.unit.inference.workers import ScriptedBroker, Worker, small_model

PROMPT_TOKENS = 600
CONTEXT_TOKENS = 1024
STATE_BYTES = 5000
PLAIN = "It is a port."
BLOCKED = "It says TOP SECRET//SI//NOFORN in the header, and goes on to name the place."


class Scripted:
    """A worker that answers, reads ahead and gives its state; of more tokens than were sent, if it is told to."""

    def __init__(self, answer: str = PLAIN, held: int = PROMPT_TOKENS) -> None:
        self._answer, self._held = answer, held
        self.asked: list[type] = []

    def __call__(self, worker: Worker) -> None:
        worker.hello()
        worker.load(CONTEXT_TOKENS)
        while (received := worker.channel.receive(30)) is not None:
            order, descriptors = received
            self.asked.append(type(order))
            match order:
                case Generate(turn=turn):
                    worker.read(turn, PROMPT_TOKENS)
                    for piece in (self._answer, "."):
                        worker.send(AnswerPiece(turn=turn, text=piece, tokens=1))
                    worker.send(
                        AnswerDone(
                            turn=turn,
                            reason="end",
                            prompt_tokens=PROMPT_TOKENS,
                            read_tokens=PROMPT_TOKENS,
                            answer_tokens=2,
                        )
                    )
                case ReadAhead(turn=turn):
                    worker.send(PromptProgress(turn=turn, done_tokens=0, total_tokens=9))
                    worker.send(ReadDone(turn=turn, prompt_tokens=9, reused_tokens=0, read_tokens=9))
                case SaveState(conversation=name):
                    worker.send(StateSize(conversation=name, tokens=self._held, state_bytes=STATE_BYTES))
                case WriteState(conversation=name):
                    os.pwrite(descriptors[0], HEADER.pack(MAGIC, VERSION, self._held, 0), 0)
                    os.close(descriptors[0])
                    worker.send(StateWritten(conversation=name, state_bytes=STATE_BYTES))
                case Tune(turn=turn):
                    worker.send(Tuned(turn=turn, timings=(), complete=False, others_percent=0))


@pytest.fixture
def made() -> Iterator[list[Bench]]:
    benches: list[Bench] = []
    yield benches
    for bench in benches:
        bench.close()


def unlocked(
    made: list[Bench],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    allowed: InferenceRules,
    script: Scripted,
) -> tuple[Bench, Unlocked]:
    policy, problem = rules.load_policy()
    changed = msgspec.structs.replace(policy.policy, inference=allowed)
    in_force: PolicyInForce = msgspec.structs.replace(policy, policy=changed)
    monkeypatch.setattr(desk_module, "load_policy", lambda: (in_force, problem))
    bench = Bench(folder / "home")
    made.append(bench)
    model = small_model(folder, CONTEXT_TOKENS)
    bench.desk._inference = Supervisor(
        ScriptedBroker(script), lambda: model, bench.log.append, lambda _probes: None
    )
    return bench, bench.with_profile().unlock(PASSPHRASE)


def ask(one: Unlocked) -> Ended:
    *_, ended = one.chat.run_turn(None, "Which port is it?")
    assert isinstance(ended, Ended)
    return ended


def _files(bench: Bench) -> list[Path]:
    return list(bench.profile.caches.iterdir()) if bench.profile.caches.is_dir() else []


@pytest.mark.parametrize("allowed", [True, False])
def test_nothing_is_read_ahead_where_policy_forbids_it(
    made: list[Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, allowed: bool
) -> None:
    script = Scripted()
    rules_ = InferenceRules(read_ahead=allowed, prompt_state_cache=True)
    bench, one = unlocked(made, tmp_path, monkeypatch, rules_, script)
    found = one.ahead.read(None, "Which port ")
    assert isinstance(found, Counted) is allowed
    assert (ReadAhead in script.asked) is allowed
    outcomes = [record.outcome for record in bench.records(Event.DRAFT_READ)]
    assert outcomes == (["intent", "success"] if allowed else [])


@pytest.mark.parametrize("allowed", [True, False])
def test_nothing_is_kept_where_policy_forbids_it(
    made: list[Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, allowed: bool
) -> None:
    script = Scripted()
    rules_ = InferenceRules(read_ahead=True, prompt_state_cache=allowed)
    bench, one = unlocked(made, tmp_path, monkeypatch, rules_, script)
    assert ask(one).outcome is Outcome.COMPLETED
    bench.desk.close()
    assert (WriteState in script.asked) is allowed
    assert len(_files(bench)) == allowed
    outcomes = [record.outcome for record in bench.records(Event.STATE_SAVE)]
    assert outcomes == (["intent", "success"] if allowed else [])


@pytest.mark.parametrize("held", [PROMPT_TOKENS, PROMPT_TOKENS + 1, PROMPT_TOKENS + 2])
def test_of_a_blocked_answer_nothing_is_sealed(
    made: list[Bench], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int
) -> None:
    script = Scripted(BLOCKED, held)
    bench, one = unlocked(made, tmp_path, monkeypatch, InferenceRules(), script)
    ended = ask(one)
    assert ended.outcome is Outcome.DENIED and "NOFORN" not in ended.text
    bench.desk.close()
    told = [(record.outcome, record.fields) for record in bench.records(Event.STATE_SAVE)]
    if held == PROMPT_TOKENS:
        assert told[-1] == ("success", {"tokens": PROMPT_TOKENS, "bytes": STATE_BYTES})
        assert len(_files(bench)) == 1
    else:
        assert told[-1] == ("failure", {"code": "state.beyond-prompt"})
        assert WriteState not in script.asked
        assert _files(bench) == []
    assert bench.records(Event.WORKER_FAILURE) == []
