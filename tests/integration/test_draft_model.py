"""A manifest names a small model: it is admitted as any other, loaded beside the large one, and never in the way."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from govdesk.domain.frames import Loaded, LoadModel
from govdesk.domain.ids import RecordSeq, TurnId
from govdesk.domain.inference import Piece
from govdesk.domain.record import Entry, Event
from govdesk.domain.turn import Role, Sampling
from govdesk.errors import ModelError, WorkerError
from govdesk.inference import draft, fit, plan
from govdesk.inference.catalogue import Found, draft_for
from govdesk.inference.fit import Machine
from govdesk.inference.manifest import ModelFile, Variant
from govdesk.inference.store import Model
from govdesk.inference.supervisor import Supervisor
from govdesk.sandbox import selftest
from tests.processes import DirectBroker
from tests.tiny_models import TEMPLATE, tiny_bytes
from tests.unit.inference.test_inference_supervisor import Line
from tests.unit.inference.workers import TEMPLATE as SCRIPTED
from tests.unit.inference.workers import Worker, small_model
from tests.worker_memory import facts_of

GREEDY = Sampling(max_tokens=40, temperature=0.0)


def a_model(folder: Path, name: str, kind: str, seed: int, drafted_by: str = "") -> Model:
    folder = folder / name
    folder.mkdir()
    content = tiny_bytes(kind, seed=seed)
    (folder / "small.gguf").write_bytes(content)
    file = ModelFile(
        file="small.gguf",
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        sha384=hashlib.sha384(content).hexdigest(),
    )
    manifest = msgspec.structs.replace(
        small_model(folder, context_tokens=512).manifest,
        name=name,
        draft=drafted_by,
        architecture=kind,
        template_sha384=hashlib.sha384(TEMPLATE.encode()).hexdigest(),
        variants=(Variant(quantization="none", files=(file,)),),
    )
    (folder / "small.gguf").write_bytes(content)
    return Model(manifest, folder / "small.gguf")


class Talk:
    """A real worker under a supervisor, and what was recorded."""

    def __init__(self, model: Model, find: Callable[[Model], Model | None] = lambda _model: None) -> None:
        self.records: list[Entry] = []
        self.supervisor = Supervisor(
            DirectBroker(), lambda: model, self.record, selftest.require_closed, find_draft=find
        )

    def record(self, entry: Entry) -> RecordSeq:
        self.records.append(entry)
        return RecordSeq(len(self.records))

    def say(self, text: str) -> str:
        events = self.supervisor.answer(TurnId("t"), ((Role.USER, text),), GREEDY)
        return "".join(event.untrusted_text for event in events if isinstance(event, Piece))

    @property
    def loads(self) -> list[tuple[str, str, object, object]]:
        return [
            (one.object, one.outcome, one.fields.get("drafts-for"), one.fields.get("code"))
            for one in self.records
            if one.event is Event.MODEL_LOAD
        ]


@pytest.fixture
def large(tmp_path: Path) -> Model:
    return a_model(tmp_path, "large", "qwen3", 1, drafted_by="small")


@pytest.fixture
def alone(large: Model) -> str:
    talk = Talk(large)
    try:
        return talk.say("the user and the system")
    finally:
        talk.supervisor.stop()


def test_both_are_loaded_and_recorded_and_the_answer_is_the_same(
    tmp_path: Path, large: Model, alone: str
) -> None:
    small = a_model(tmp_path, "small", "qwen3", 2)
    before = len(os.listdir("/proc/self/fd"))
    talk = Talk(large, lambda model: small if model is large else None)
    try:
        assert talk.say("the user and the system") == alone
        assert talk.loads == [("large", "success", None, None), ("small", "success", "large", None)]
        loaded = talk.supervisor.loaded
        assert loaded is not None and loaded[0].draft_files == 0  # what is kept of prompts is not bound to it
    finally:
        talk.supervisor.stop()
    assert len(os.listdir("/proc/self/fd")) == before


def test_one_with_other_tokens_is_left_out(tmp_path: Path, large: Model, alone: str) -> None:
    small = a_model(tmp_path, "small", "gemma3", 2)
    talk = Talk(large, lambda _model: small)
    try:
        said = talk.say("the user and the system")
    finally:
        talk.supervisor.stop()
    assert said == alone
    assert talk.loads[1:] == [
        ("small", "success", "large", None),
        ("small", "failure", "large", "draft.vocabulary"),
    ]


def test_one_that_is_not_what_was_signed_is_left_out(tmp_path: Path, large: Model, alone: str) -> None:
    small = a_model(tmp_path, "small", "qwen3", 2)
    content = bytearray(small.path.read_bytes())
    content[-1] ^= 1
    small.path.write_bytes(content)
    talk = Talk(large, lambda _model: small)
    try:
        assert talk.say("the user and the system") == alone
    finally:
        talk.supervisor.stop()
    assert talk.loads[1:] == [("small", "failure", "large", "model.digest")]


def test_one_that_has_no_room_is_left_out(
    tmp_path: Path, large: Model, alone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = a_model(tmp_path, "small", "qwen3", 2)
    here = Machine(2**34, 2**20)  # so much is left beside the large one
    monkeypatch.setattr(draft, "plan", SimpleNamespace(machine=lambda: here, loaded_as=plan.loaded_as))
    talk = Talk(large, lambda _model: small)
    try:
        assert talk.say("the user and the system") == alone
    finally:
        talk.supervisor.stop()
    assert talk.loads[1:] == [("small", "failure", "large", "draft.memory")]


def test_one_that_is_not_approved_is_left_out(large: Model, alone: str) -> None:
    def find(model: Model) -> Model | None:
        return draft_for(model, Found((large,), ()), (large.digest,), "UNCLASSIFIED", lambda _a, _b: True)

    talk = Talk(large, find)
    try:
        assert talk.say("the user and the system") == alone
    finally:
        talk.supervisor.stop()
    assert talk.loads == [("large", "success", None, None), ("large", "failure", None, "draft.none-approved")]


def test_it_is_found_where_it_is_approved_whole_and_marked_high_enough(tmp_path: Path, large: Model) -> None:
    small = a_model(tmp_path, "small", "qwen3", 2)
    found, approved = Found((large, small), ()), (large.digest, small.digest)

    def ask(
        digests: tuple[str, ...] = approved, *, covers: bool = True, model: Model = large
    ) -> Model | None:
        return draft_for(model, found, digests, "UNCLASSIFIED", lambda _a, _b: covers)

    assert ask() is small and ask(model=small) is None
    for digests, covers, code in [
        ((large.digest,), True, "draft.none-approved"),
        (approved, False, "model.marking"),
    ]:
        with pytest.raises(ModelError) as caught:
            ask(digests, covers=covers)
        assert caught.value.code == code
    small.path.unlink()
    with pytest.raises(ModelError) as caught:
        ask()
    assert caught.value.code == "model.missing"


@pytest.mark.parametrize("said", ["used", "draft.memory", "draft.<b>", "x"])
def test_a_worker_that_says_what_cannot_be_is_stopped(tmp_path: Path, said: str) -> None:
    def script(worker: Worker) -> None:
        worker.hello()
        worker.channel.receive(10)
        worker.send(Loaded(context_tokens=64, template_sha384=SCRIPTED, draft=said))
        worker.until_closed()

    line = Line(tmp_path, script)
    with pytest.raises(WorkerError) as caught:
        line.supervisor.model()
    assert caught.value.code == "worker.garbage"


def test_what_is_kept_in_an_order_of_its_own_counts(large: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = facts_of(large.path)
    order = LoadModel(context_tokens=512, threads=1, aside_bytes=0)
    alone = fit.memory(facts, plan.loaded_as(order))
    free = 2 * (alone.peak - facts.file_bytes)

    def fits(free_bytes: int, repacked: frozenset[str]) -> bool:
        monkeypatch.setattr(plan, "machine", lambda: Machine(2**40, free_bytes, repacked))
        return draft._fit(facts, facts, order)

    assert fits(free, frozenset()) and not fits(free - 1, frozenset())
    assert not fits(free, frozenset(use.name for use in facts.formats))
