"""The supervisor believes nothing: whatever a worker does costs one answer, is recorded once, and the next works."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from govdesk import wire
from govdesk.domain.frames import (
    AnswerFailed,
    AnswerPiece,
    Cancel,
    Generate,
    Loaded,
    LoadFailed,
    Probe,
    PromptProgress,
    WorkerEnded,
)
from govdesk.domain.ids import RecordSeq, TurnId
from govdesk.domain.inference import Piece, Stopped
from govdesk.domain.record import Entry, Event
from govdesk.domain.turn import Reading, Role, Sampling
from govdesk.errors import AuditClosedError, GovDeskError, WallError, WorkerError
from govdesk.inference import patience
from govdesk.inference.supervisor import Supervisor
from govdesk.process.channel import Channel
from tests import audit_fields
from tests.unit.inference.workers import PROBES, TEMPLATE, ScriptedBroker, Worker, done, good, small_model

HISTORY = ((Role.USER, "Hello"),)
LIMIT = Sampling(max_tokens=8)


def _require_closed(probes: tuple[Probe, ...]) -> None:
    if not all(probe.blocked for probe in probes) or {p.channel for p in probes} != {
        p.channel for p in PROBES
    }:
        raise WallError("open", code="wall.open")


class Line:
    def __init__(
        self, folder: Path, *scripts: Callable[[Worker], None], end: WorkerEnded | None = None
    ) -> None:
        self.broker = ScriptedBroker(*scripts, end=end)
        self.records: list[Entry] = []
        self.fails_at: Event | None = None
        model = small_model(folder)
        self.find_model = lambda: model
        self.supervisor = Supervisor(self.broker, self.find_model, self.record, _require_closed)

    def record(self, entry: Entry) -> RecordSeq:
        audit_fields.check(entry)
        if entry.event is self.fails_at:
            raise AuditClosedError("closed")
        self.records.append(entry)
        return RecordSeq(len(self.records))

    def ask(self, turn: str = "t") -> list[Reading | Piece | Stopped]:
        return list(self.supervisor.answer(TurnId(turn), HISTORY, LIMIT))

    def failures(self) -> list[object]:
        return [entry.fields["code"] for entry in self.records if entry.event is Event.WORKER_FAILURE]


# ── what a worker may not say ────────────────────────────────────────────────


def _raw(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


def _bad_length(worker: Worker, _turn: str) -> None:
    worker.raw.sendall(b"\xff\xff\xff\xff")


def _unknown_tag(worker: Worker, _turn: str) -> None:
    worker.raw.sendall(_raw(msgspec.msgpack.encode({"type": "Nonsense"})))


def _unknown_key(worker: Worker, turn: str) -> None:
    worker.raw.sendall(
        _raw(msgspec.msgpack.encode({"type": "AnswerPiece", "turn": turn, "text": "a", "tokens": 1, "x": 1}))
    )


def _invalid_utf8(worker: Worker, turn: str) -> None:
    worker.read(turn)
    worker.raw.sendall(
        wire.encode(AnswerPiece(turn=turn, text="QQQQ", tokens=1)).replace(b"QQQQ", b"\xff\xfe\xff\xfe")
    )


def _cut_frame(worker: Worker, turn: str) -> None:
    worker.raw.sendall(wire.encode(AnswerPiece(turn=turn, text="whole", tokens=1))[:-2])
    worker.raw.close()


def _wrong_turn(worker: Worker, _turn: str) -> None:
    worker.read("another")


def _piece_before_reading(worker: Worker, turn: str) -> None:
    worker.send(PromptProgress(turn=turn, done_tokens=0, total_tokens=4))
    worker.send(AnswerPiece(turn=turn, text="a", tokens=1))


def _done_before_reading(worker: Worker, turn: str) -> None:
    worker.send(PromptProgress(turn=turn, done_tokens=0, total_tokens=4), done(turn))


def _progress_after_piece(worker: Worker, turn: str) -> None:
    worker.read(turn, total=4)
    worker.send(AnswerPiece(turn=turn, text="a", tokens=1))
    worker.send(PromptProgress(turn=turn, done_tokens=5, total_tokens=5))


def _progress_that_stands_still(worker: Worker, turn: str) -> None:
    for _ in range(3):
        worker.send(PromptProgress(turn=turn, done_tokens=0, total_tokens=4))


def _progress_past_the_context(worker: Worker, turn: str) -> None:
    worker.send(PromptProgress(turn=turn, done_tokens=0, total_tokens=65))


def _more_threads_than_there_are(worker: Worker, turn: str) -> None:
    worker.send(PromptProgress(turn=turn, done_tokens=0, total_tokens=4, threads=3, most_threads=2))


def _no_threads_of_some(worker: Worker, turn: str) -> None:
    worker.read(turn)
    worker.send(msgspec.structs.replace(done(turn, answer=0), most_threads=2))


def _progress_that_moves_its_goal(worker: Worker, turn: str) -> None:
    worker.send(PromptProgress(turn=turn, done_tokens=0, total_tokens=4))
    worker.send(PromptProgress(turn=turn, done_tokens=5, total_tokens=5))


def _loads_again(worker: Worker, _turn: str) -> None:
    worker.send(Loaded(context_tokens=64, template_sha384=""))


def _unknown_reason(worker: Worker, turn: str) -> None:
    worker.read(turn)
    worker.send(done(turn, reason="bored"))


def _cancelled_by_nobody(worker: Worker, turn: str) -> None:
    worker.read(turn)
    worker.send(AnswerPiece(turn=turn, text="a", tokens=1), done(turn, reason="cancelled"))


def _counts_past_every_record(worker: Worker, turn: str) -> None:
    worker.read(turn)
    worker.send(done(turn, prompt=2**60))


def _counts_past_the_context(worker: Worker, turn: str) -> None:
    worker.read(turn)
    worker.send(done(turn, prompt=65))


def _counts_past_the_limit(worker: Worker, turn: str) -> None:
    worker.read(turn)
    worker.send(done(turn, answer=9))


def _pieces_without_end(worker: Worker, turn: str) -> None:
    worker.read(turn)
    for _ in range(200):
        worker.send(AnswerPiece(turn=turn, text="a", tokens=0))
    worker.send(done(turn, answer=0))


def _tokens_without_end(worker: Worker, turn: str) -> None:
    worker.read(turn)
    worker.send(AnswerPiece(turn=turn, text="a", tokens=5), AnswerPiece(turn=turn, text="a", tokens=5))


def _text_without_end(worker: Worker, turn: str) -> None:
    worker.read(turn)
    worker.send(AnswerPiece(turn=turn, text="a" * 8 * 513, tokens=1), done(turn))


def _thinking_after_the_answer(worker: Worker, turn: str) -> None:
    worker.read(turn)
    worker.send(
        AnswerPiece(turn=turn, text="a", tokens=1),
        AnswerPiece(turn=turn, text="b", tokens=1, thinking=True),
        done(turn, answer=2),
    )


def _empty_piece(worker: Worker, turn: str) -> None:
    worker.read(turn)
    worker.send(AnswerPiece(turn=turn, text="", tokens=1), done(turn))


GARBAGE = [value for name, value in sorted(globals().items()) if name.startswith("_") and name[1:] in {
    "bad_length", "unknown_tag", "unknown_key", "invalid_utf8", "cut_frame", "wrong_turn",
    "piece_before_reading", "done_before_reading", "progress_after_piece", "progress_that_stands_still",
    "progress_past_the_context", "progress_that_moves_its_goal", "loads_again", "unknown_reason",
    "counts_past_every_record", "counts_past_the_context", "counts_past_the_limit", "pieces_without_end",
    "tokens_without_end", "text_without_end", "empty_piece", "thinking_after_the_answer", "more_threads_than_there_are", "no_threads_of_some", "cancelled_by_nobody",
}]  # fmt: skip


@pytest.mark.parametrize("misbehave", GARBAGE, ids=lambda value: value.__name__.strip("_"))
def test_garbage_is_explained_and_the_next_turn_works(
    tmp_path: Path, misbehave: Callable[[Worker, str], None]
) -> None:
    def script(worker: Worker) -> None:
        misbehave(worker, worker.order().turn)
        worker.until_closed()

    line = Line(tmp_path, script)
    with pytest.raises(WorkerError) as caught:
        line.ask()
    assert caught.value.code == "worker.garbage"
    assert caught.value.kept and caught.value.todo
    assert line.failures() == ["worker.garbage"]
    assert line.broker.stopped == 1
    assert isinstance(line.ask()[-1], Stopped)
    assert line.failures() == ["worker.garbage"]
    assert line.broker.started == 2


def test_there_are_enough_kinds_of_garbage() -> None:
    assert len(GARBAGE) == 25


@pytest.mark.parametrize(
    ("end", "code"),
    [
        (WorkerEnded(exit_code=0, signal=11), "worker.crashed"),
        (WorkerEnded(exit_code=5, signal=0), "worker.crashed"),  # after its hello: not the walls
        (WorkerEnded(exit_code=0, signal=9), "worker.killed"),
        (WorkerEnded(exit_code=0, signal=4000), "worker.crashed"),
        (None, "worker.crashed"),
    ],
)
def test_an_end_is_explained_and_the_next_turn_works(
    tmp_path: Path, end: WorkerEnded | None, code: str
) -> None:
    def script(worker: Worker) -> None:
        worker.read(worker.order().turn)

    line = Line(tmp_path, script, end=end)
    with pytest.raises(WorkerError) as caught:
        line.ask()
    assert caught.value.code == code
    assert line.failures() == [code]
    assert isinstance(line.ask()[-1], Stopped)


def test_silence_is_explained_and_the_next_turn_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(worker: Worker) -> None:
        worker.read(worker.order().turn)
        worker.until_closed()

    line = Line(tmp_path, script)
    line.supervisor.model()
    monkeypatch.setattr(patience, "SILENCE_SECONDS", 0.2)
    with pytest.raises(WorkerError) as caught:
        line.ask()
    assert caught.value.code == "worker.hung"
    monkeypatch.undo()
    assert line.failures() == ["worker.hung"]
    assert isinstance(line.ask()[-1], Stopped)


def test_an_answer_that_cannot_be_made_leaves_the_worker_alone(tmp_path: Path) -> None:
    def script(worker: Worker) -> None:
        worker.send(AnswerFailed(turn=worker.order().turn, code="prompt.tokenize"))
        order = worker.next_order()
        worker.read(order.turn)
        worker.send(done(order.turn, answer=0))
        worker.until_closed()

    line = Line(tmp_path, script)
    with pytest.raises(WorkerError) as caught:
        line.ask()
    assert caught.value.code == "prompt.tokenize"
    assert isinstance(line.ask()[-1], Stopped)
    assert line.failures() == []
    assert line.broker.started == 1


@pytest.mark.parametrize(("estimated", "word"), [(True, "about 70 tokens"), (False, "has 70 tokens")])
def test_a_full_context_says_whether_it_was_counted(tmp_path: Path, estimated: bool, word: str) -> None:
    def script(worker: Worker) -> None:
        turn = worker.order().turn
        worker.send(
            AnswerFailed(
                turn=turn, code="context.full", prompt_tokens=70, context_tokens=64, estimated=estimated
            )
        )
        worker.until_closed()

    with pytest.raises(GovDeskError) as caught:
        Line(tmp_path, script).ask()
    assert caught.value.code == "context.full"
    assert word in caught.value.what


# ── cancel ───────────────────────────────────────────────────────────────────


def test_a_cancelled_worker_that_goes_on_is_stopped_and_the_next_turn_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(worker: Worker) -> None:
        turn = worker.order().turn
        for count in range(40):  # never silent, and never stopping
            worker.send(PromptProgress(turn=turn, done_tokens=count, total_tokens=40))
            time.sleep(0.05)
        worker.send(PromptProgress(turn=turn, done_tokens=40, total_tokens=40), done(turn, answer=0))

    monkeypatch.setattr(patience, "CANCEL_SECONDS", 0.2)
    line = Line(tmp_path, script)
    with pytest.raises(WorkerError) as caught:
        for _ in line.supervisor.answer(TurnId("t"), HISTORY, LIMIT):
            line.supervisor.cancel()
    assert caught.value.code == "worker.hung"
    time.sleep(0.3)
    assert isinstance(line.ask()[-1], Stopped)


def test_a_cancel_before_the_consumer_goes_away_does_not_touch_the_next_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def script(worker: Worker) -> None:
        worker.read(worker.order().turn)
        worker.until_closed()

    monkeypatch.setattr(patience, "CANCEL_SECONDS", 0.1)
    line = Line(tmp_path, script)
    events = line.supervisor.answer(TurnId("t"), HISTORY, LIMIT)
    next(events)
    line.supervisor.cancel()
    events.close()  # type: ignore[attr-defined]
    time.sleep(0.2)
    assert isinstance(line.ask()[-1], Stopped)
    assert line.failures() == []


def test_a_cancel_while_the_order_is_sent_follows_the_order(tmp_path: Path) -> None:
    seen: list[object] = []

    def script(worker: Worker) -> None:
        turn = worker.order().turn
        received = worker.channel.receive(10)
        assert received is not None
        seen.append(received[0])
        worker.send(done(turn, reason="cancelled", prompt=0, answer=0))
        worker.until_closed()

    class Hurried(Channel):  # type: ignore[type-arg]
        def send(self, frame: msgspec.Struct, descriptors: tuple[int, ...] = ()) -> None:
            if isinstance(frame, Generate):
                line.supervisor.cancel()  # the person presses Stop exactly here
            super().send(frame, descriptors)

    line = Line(tmp_path, script)
    line.broker.channel_type = Hurried
    events = line.ask()
    assert seen == [Cancel(turn="t")]
    assert isinstance(events[-1], Stopped) and events[-1].reason == "cancelled"


def test_a_cancel_without_a_turn_is_forgotten(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.supervisor.cancel()
    assert isinstance(line.ask()[-1], Stopped)
    line.supervisor.cancel()
    assert line.broker.started == 1


def test_stopping_in_the_middle_is_no_failure_of_the_workers(tmp_path: Path) -> None:
    def script(worker: Worker) -> None:
        worker.read(worker.order().turn)
        worker.until_closed()

    line = Line(tmp_path, script)
    events = line.supervisor.answer(TurnId("t"), HISTORY, LIMIT)
    next(events)
    next(events)
    timer = threading.Timer(0.2, line.supervisor.stop)
    timer.start()
    with pytest.raises(WorkerError) as caught:
        next(events)
    timer.join()
    assert caught.value.code == "worker.stopped"
    assert line.failures() == []


# ── walls and loading ────────────────────────────────────────────────────────


def _self_tests(line: Line) -> list[tuple[str, object]]:
    return [(e.outcome, e.fields.get("code")) for e in line.records if e.event is Event.SELF_TEST]


OPEN = (msgspec.structs.replace(PROBES[0], blocked=False, found="open"), *PROBES[1:])


@pytest.mark.parametrize("probes", [OPEN, (), PROBES[1:]], ids=["open", "none tried", "one not tried"])
def test_a_wall_that_does_not_hold_is_recorded_and_the_worker_stopped(
    tmp_path: Path, probes: tuple[Probe, ...]
) -> None:
    def script(worker: Worker) -> None:
        worker.hello(probes)
        worker.until_closed()

    line = Line(tmp_path, script)
    with pytest.raises(WallError):
        line.supervisor.model()
    assert _self_tests(line) == [("failure", "wall.open")]
    assert line.records[-1].fields["channels"] == {probe.channel: int(probe.blocked) for probe in probes}
    assert line.broker.stopped == 1
    assert line.broker.channels[0].fileno() == -1
    assert line.supervisor.probes == ()
    assert isinstance(line.ask()[-1], Stopped)
    assert _self_tests(line)[-1] == ("success", None)


@pytest.mark.parametrize(
    "probes",
    [
        (*PROBES, PROBES[0]),
        (*PROBES, Probe(channel="a sentence", blocked=True, found="EPERM")),
        (*PROBES[1:], msgspec.structs.replace(PROBES[0], found="a sentence")),
        (*PROBES[1:], msgspec.structs.replace(PROBES[0], found="E" * 40)),
    ],
    ids=["one twice", "no name", "words", "too long"],
)
def test_a_self_test_of_another_kind_is_garbage(tmp_path: Path, probes: tuple[Probe, ...]) -> None:
    def script(worker: Worker) -> None:
        worker.hello(probes)
        worker.until_closed()

    line = Line(tmp_path, script)
    with pytest.raises(WorkerError) as caught:
        line.supervisor.model()
    assert caught.value.code == "worker.garbage"
    assert line.failures() == ["worker.garbage"]
    assert line.broker.stopped == 1
    assert not _self_tests(line)


def test_a_worker_without_walls_is_explained_and_recorded(tmp_path: Path) -> None:
    line = Line(tmp_path, lambda _worker: None, end=WorkerEnded(exit_code=5, signal=0))
    with pytest.raises(WallError) as caught:
        line.supervisor.model()
    assert caught.value.code == "wall.worker"
    assert "doctor" in caught.value.todo
    assert _self_tests(line) == [("failure", "wall.worker")]
    assert line.failures() == []


def test_a_worker_that_ends_before_its_hello_for_another_reason_crashed(tmp_path: Path) -> None:
    line = Line(tmp_path, lambda _worker: None, end=WorkerEnded(exit_code=1, signal=0))
    with pytest.raises(WorkerError) as caught:
        line.supervisor.model()
    assert caught.value.code == "worker.crashed"
    assert line.failures() == ["worker.crashed"]


def test_no_record_no_model(tmp_path: Path) -> None:
    line = Line(tmp_path)
    line.fails_at = Event.SELF_TEST
    with pytest.raises(AuditClosedError):
        line.supervisor.model()
    assert line.broker.stopped == 1
    assert line.broker.channels[0].fileno() == -1
    line.fails_at = Event.MODEL_LOAD
    with pytest.raises(AuditClosedError):
        line.supervisor.model()
    assert line.broker.started == 1


def test_another_template_than_the_manifests_is_refused(tmp_path: Path) -> None:
    def script(worker: Worker) -> None:
        worker.hello()
        worker.load(template="cd" * 48)
        worker.until_closed()

    line = Line(tmp_path, script)
    with pytest.raises(WorkerError) as caught:
        line.supervisor.model()
    assert caught.value.code == "model.template"
    assert line.failures() == ["model.template"]
    assert line.broker.stopped == 1


@pytest.mark.parametrize("context_tokens", [65, 0])
def test_a_context_that_was_not_asked_for_is_garbage(tmp_path: Path, context_tokens: int) -> None:
    def script(worker: Worker) -> None:
        worker.hello()
        worker.load(context_tokens=context_tokens)
        worker.until_closed()

    line = Line(tmp_path, script)
    with pytest.raises(WorkerError) as caught:
        line.supervisor.model()
    assert caught.value.code == "worker.garbage"


def test_a_refused_model_is_explained_and_the_worker_stopped(tmp_path: Path) -> None:
    def script(worker: Worker) -> None:
        worker.hello()
        worker.channel.receive(10)
        worker.send(LoadFailed(code="template.too-slow"))
        worker.until_closed()

    line = Line(tmp_path, script)
    with pytest.raises(GovDeskError) as caught:
        line.supervisor.model()
    assert caught.value.code == "template.too-slow"
    assert "takes too long" in caught.value.what
    assert line.broker.stopped == 1


def test_a_good_worker_is_good(tmp_path: Path) -> None:
    line = Line(tmp_path, good)
    kinds = [type(event) for event in line.ask()]
    assert kinds == [Reading, Reading, Piece, Stopped]
    assert line.failures() == []


def test_two_that_ask_for_the_model_at_once_get_the_same_worker(tmp_path: Path) -> None:
    """The window loads the model, and a turn that is sent meanwhile wants it too."""
    line = Line(tmp_path, good, good)
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(line.supervisor.model())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(found) == 2
    assert found[0] == found[1]
    assert line.broker.started == 1
    line.supervisor.stop()


# ── patience ─────────────────────────────────────────────────────────────────


def _slow_loader(worker: Worker) -> None:
    worker.hello()
    received = worker.channel.receive(10)
    assert received is not None
    time.sleep(0.6)
    worker.send(Loaded(context_tokens=64, template_sha384=TEMPLATE))
    order = worker.next_order()
    time.sleep(0.6)
    worker.read(order.turn)
    worker.send(done(order.turn, answer=0))
    worker.until_closed()


@pytest.mark.parametrize("grows", [True, False])
def test_patience_grows_with_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grows: bool) -> None:
    """A worker that is slower than the least patience is hung with a small model, and well with a large one."""
    line = Line(tmp_path, _slow_loader)
    rate = line.find_model().variant.bytes / 5.0 if grows else 1e12
    for name in ("LOAD", "SILENCE"):
        monkeypatch.setattr(patience, f"{name}_SECONDS", 0.2)
    monkeypatch.setattr(patience, "LOAD_BYTES_PER_SECOND", rate)
    monkeypatch.setattr(patience, "PART_BYTES_PER_SECOND", rate)
    if grows:
        assert isinstance(line.ask()[-1], Stopped)
        assert line.failures() == []
    else:
        with pytest.raises(WorkerError) as caught:
            line.supervisor.model()
        assert caught.value.code == "worker.hung"


def test_a_large_model_has_longer_than_a_small_one() -> None:
    gib = 2**30
    for seconds in (patience.load_seconds, patience.silence_seconds):
        assert seconds(0) == 120
        assert seconds(40 * gib) > 500
        assert seconds(gib // 8) < 125


@pytest.mark.parametrize(("seed", "repeats"), [(None, False), (0, True), (7, True)])
def test_only_an_answer_with_a_seed_of_somebodys_has_to_come_again(
    tmp_path: Path, seed: int | None, repeats: bool
) -> None:
    orders: list[Generate] = []

    def script(worker: Worker) -> None:
        order = worker.order()
        orders.append(order)
        worker.read(order.turn)
        worker.send(done(order.turn))
        worker.until_closed()

    line = Line(tmp_path, script)
    list(line.supervisor.answer(TurnId("t"), HISTORY, Sampling(max_tokens=8, seed=seed)))
    assert [order.repeats for order in orders] == [repeats]
    assert seed is None or orders[0].seed == seed
