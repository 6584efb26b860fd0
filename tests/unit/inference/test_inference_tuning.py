"""What was measured is kept for what it was measured with; a damaged file is as none; quiet moments only."""

from __future__ import annotations

import dataclasses
import os
import stat
import threading
from pathlib import Path

import pytest

from govdesk import config
from govdesk.domain.frames import (
    LoadModel,
    ReadAhead,
    ReadDone,
    SetThreads,
    Timing,
    Tune,
    Tuned,
)
from govdesk.domain.ids import ModelDigest, TurnId
from govdesk.domain.record import Event
from govdesk.domain.turn import ModelInfo, Role, Sampling
from govdesk.errors import WorkerError
from govdesk.inference import fit
from govdesk.inference import tuner as tuner_module
from govdesk.inference.processor import Processor
from govdesk.inference.supervisor import Supervisor
from govdesk.inference.tuner import Tuner
from govdesk.inference.tuning import QUIET_PERCENT, Tunings
from govdesk.inference.worker_line import LoadedModel
from tests.unit.inference.workers import ScriptedBroker, Worker, done, small_model
from tests.worker_memory import facts_of

MACHINE = Processor("A Processor", 8, 8, 8, 8, None, "ab" * 48)
MODEL = ModelDigest("cd" * 48)
WORK = 1e8
FACTS = facts_of(config.MODELS / "smollm2-135m-instruct.gguf")


def _tunings(folder: Path, machine: Processor = MACHINE, build: str = "b1") -> Tunings:
    return Tunings(folder / "tuning.json", machine, lambda: build)


def _tuned(
    order: Tune, decode: dict[int, int], read: dict[int, int], *, complete: bool = True, others: int = 0
) -> Tuned:
    timings = [
        Timing(reading=False, threads=count, token_microseconds=time) for count, time in decode.items()
    ]
    timings += [Timing(reading=True, threads=count, token_microseconds=time) for count, time in read.items()]
    return Tuned(turn=order.turn, timings=tuple(timings), complete=complete, others_percent=others)


def test_the_fastest_is_kept_and_fewer_threads_when_they_are_as_fast(tmp_path: Path) -> None:
    tunings = _tunings(tmp_path)
    order = tunings.order("t")
    assert {8, 6, 4} <= set(order.threads)
    tuned = _tuned(order, {8: 1000, 6: 1010, 4: 1500}, {8: 100, 6: 140, 4: 200})
    assert tunings.keep(MODEL, tuned, order, WORK, 77) is not None
    again = _tunings(tmp_path)
    assert again.threads(MODEL) == SetThreads(threads=6, batch_threads=8)
    kept = again.of(MODEL)
    assert kept is not None and (kept.at, kept.token_microseconds, kept.read_microseconds) == (77, 1010, 100)
    assert stat.S_IMODE((tmp_path / "tuning.json").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["tuning.json"]


@pytest.mark.parametrize("what", ["processor", "build", "model"])
def test_it_counts_only_for_what_it_was_measured_with(tmp_path: Path, what: str) -> None:
    tunings = _tunings(tmp_path)
    order = tunings.order("t")
    tunings.keep(MODEL, _tuned(order, {8: 9}, {8: 9}), order, WORK, 1)
    machine = dataclasses.replace(MACHINE, identity="ef" * 48) if what == "processor" else MACHINE
    other = _tunings(tmp_path, machine, "b2" if what == "build" else "b1")
    model = ModelDigest("ee" * 48) if what == "model" else MODEL
    assert other.of(model) is None
    assert _tunings(tmp_path).of(MODEL) is not None


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"\xff\xfe", b"[]", b"{}", b'{"schema":3,"tunings":[]}', b'{"schema":2,"tunings":[],"x":1}',
        b'{"schema":2,"tunings":[{"key":"zz"}]}', b'{"schema":2,"tunings":' + b"[" * 60_000,
        b" " * 70_000 + b'{"schema":2,"tunings":[]}', b'{"schema":1,"tunings":[]}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_as_none_and_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tuning.json").write_bytes(content)
    tunings = _tunings(tmp_path)
    assert tunings.of(MODEL) is None
    order = tunings.order("t")
    assert tunings.keep(MODEL, _tuned(order, {8: 9}, {8: 9}), order, WORK, 1) is not None
    assert tunings.of(MODEL) is not None


@pytest.mark.parametrize("threads", [0, -1, 100_000])
def test_numbers_that_no_machine_has_are_refused_in_the_file(tmp_path: Path, threads: int) -> None:
    tunings = _tunings(tmp_path)
    order = tunings.order("t")
    tunings.keep(MODEL, _tuned(order, {8: 9}, {8: 9}), order, WORK, 1)
    text = (tmp_path / "tuning.json").read_text()
    (tmp_path / "tuning.json").write_text(text.replace('"threads":8', f'"threads":{threads}'))
    assert tunings.of(MODEL) is None


def test_figures_that_say_nothing_are_not_kept(tmp_path: Path) -> None:
    tunings = _tunings(tmp_path)
    order = tunings.order("t")
    for tuned in (
        _tuned(order, {8: 9}, {8: 9}, complete=False),
        _tuned(order, {8: 9}, {8: 9}, others=QUIET_PERCENT + 1),
        _tuned(order, {}, {8: 9}),
        _tuned(order, {8: 9}, {}),
        _tuned(order, {7777: 9}, {7777: 9}),  # nobody asked for so many
    ):
        assert tunings.keep(MODEL, tuned, order, WORK, 1) is None
    assert not (tmp_path / "tuning.json").exists()


def test_a_folder_that_cannot_be_written_costs_nothing_but_the_result(tmp_path: Path) -> None:
    tunings = Tunings(tmp_path / "missing" / "tuning.json", MACHINE, lambda: "b")
    order = tunings.order("t")
    assert tunings.keep(MODEL, _tuned(order, {8: 9}, {8: 9}), order, WORK, 1) is not None
    assert tunings.of(MODEL) is None


def test_the_file_keeps_the_newest_few(tmp_path: Path) -> None:
    tunings = _tunings(tmp_path)
    order = tunings.order("t")
    for number in range(40):
        tunings.keep(ModelDigest(f"{number:096x}"), _tuned(order, {8: 9}, {8: 9}), order, WORK, number)
    assert tunings.of(ModelDigest(f"{39:096x}")) is not None
    assert tunings.of(ModelDigest(f"{0:096x}")) is None


def test_a_speed_is_told_from_the_model_most_like_it_that_was_measured_here(tmp_path: Path) -> None:
    tunings = _tunings(tmp_path)
    assert tunings.bytes_per_second(1e9) is None
    order = tunings.order("t")
    tunings.keep(ModelDigest("01" * 48), _tuned(order, {8: 10_000}, {8: 9}), order, 1e8, 1)
    assert tunings.bytes_per_second(5e9) == pytest.approx(1e10)
    tunings.keep(ModelDigest("02" * 48), _tuned(order, {8: 500_000}, {8: 9}), order, 4e9, 2)
    assert tunings.bytes_per_second(5e9) == pytest.approx(8e9)
    assert tunings.bytes_per_second(2e8) == pytest.approx(1e10)
    elsewhere = dataclasses.replace(MACHINE, identity="ef" * 48)
    assert _tunings(tmp_path, elsewhere).bytes_per_second(5e9) is None
    assert _tunings(tmp_path, build="b2").bytes_per_second(5e9) is None


# ── the moment ───────────────────────────────────────────────────────────────


class FakeWorker:
    def __init__(self) -> None:
        order = LoadModel(context_tokens=64, threads=8)
        self.held: LoadedModel | None = LoadedModel(ModelInfo("m", MODEL, 64), order, "", FACTS)
        self.answers: list[Tuned | None] = []
        """What it says one after the other, and the last for ever; nothing: what there is to say."""
        self.orders: list[Tune] = []
        self.set: list[SetThreads] = []

    def tune(self, order: Tune) -> Tuned | None:
        self.orders.append(order)
        if not self.answers:
            return _tuned(order, {8: 1000, 4: 500}, {8: 100})
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def tell(self, order: SetThreads) -> None:
        self.set.append(order)


class FakeOthers:
    used: float | None = 0.0

    def begin(self) -> int:
        return 0

    def look(self) -> float | None:
        return self.used


@pytest.fixture
def moment(monkeypatch: pytest.MonkeyPatch) -> type[FakeOthers]:
    monkeypatch.setattr(tuner_module, "Others", FakeOthers)
    monkeypatch.setattr(tuner_module, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(FakeOthers, "used", 0.0)
    return FakeOthers


def test_it_measures_once_and_the_worker_is_told(tmp_path: Path, moment: type[FakeOthers]) -> None:
    worker = FakeWorker()
    tuner = Tuner(worker, _tunings(tmp_path), threading.Event())
    assert tuner.step()
    assert worker.set == [SetThreads(threads=4, batch_threads=8)]
    assert tuner.step()
    speed = _tunings(tmp_path).bytes_per_second(1e8)
    assert speed == pytest.approx(fit.reading_rate(FACTS, 1e6 / 500), rel=0.001)
    assert tuner.step()
    assert len(worker.orders) == 1


def test_it_waits_for_a_model_and_for_quiet(
    tmp_path: Path, moment: type[FakeOthers], monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = FakeWorker()
    held, worker.held = worker.held, None
    tuner = Tuner(worker, _tunings(tmp_path), threading.Event())
    assert not tuner.step()
    worker.held = held
    monkeypatch.setattr(moment, "used", 1.5)
    assert not tuner.step()
    assert worker.orders == []
    monkeypatch.setattr(moment, "used", 0.1)
    assert tuner.step()


def test_a_model_on_a_graphics_card_is_not_measured(tmp_path: Path, moment: type[FakeOthers]) -> None:
    worker = FakeWorker()
    order = LoadModel(context_tokens=64, threads=8, devices=("card",), device_layers=(3,))
    worker.held = LoadedModel(ModelInfo("m", MODEL, 64), order, "", FACTS)
    tuner = Tuner(worker, _tunings(tmp_path), threading.Event())
    assert not tuner.step()
    assert worker.orders == []


NOISY = Tuned(turn="x", timings=(), complete=True, others_percent=90)
INTERRUPTED = Tuned(turn="x", timings=(), complete=False, others_percent=0, interrupted=True)


def test_it_gives_up_where_what_is_measured_says_nothing(tmp_path: Path, moment: type[FakeOthers]) -> None:
    worker = FakeWorker()
    worker.answers = [NOISY]
    tuner = Tuner(worker, _tunings(tmp_path), threading.Event())
    assert not any(tuner.step() for _ in range(50))
    assert len(worker.orders) == 20


@pytest.mark.parametrize("answer", [None, INTERRUPTED])
def test_what_was_refused_or_interrupted_is_tried_again_however_often(
    tmp_path: Path, moment: type[FakeOthers], answer: Tuned | None
) -> None:
    worker = FakeWorker()
    worker.answers = [answer] * 50 + [NOISY] * 19 + [_tuned(_tunings(tmp_path).order("t"), {8: 9}, {8: 9})]
    tuner = Tuner(worker, _tunings(tmp_path), threading.Event())
    assert not any(tuner.step() for _ in range(69))
    assert tuner.step()
    assert worker.set == [SetThreads(threads=8, batch_threads=8)]


# ── the supervisor's part ────────────────────────────────────────────────────


class Line:
    def __init__(self, folder: Path, *scripts: object) -> None:
        self.broker = ScriptedBroker(*scripts)  # type: ignore[arg-type]
        self.records: list[Event] = []
        model = small_model(folder)
        self.supervisor = Supervisor(
            self.broker,
            lambda: model,
            lambda entry: self.records.append(entry.event),  # type: ignore[arg-type,return-value]
            lambda _probes: None,
            tuned=lambda _digest: SetThreads(threads=3, batch_threads=5),
        )


def _loaded(worker: Worker) -> Tune:
    worker.hello()
    worker.load()
    first, second = worker.channel.receive(10), worker.channel.receive(10)
    assert first is not None and first[0] == SetThreads(threads=3, batch_threads=5)
    assert second is not None and isinstance(second[0], Tune)
    return second[0]


def test_what_was_measured_is_told_to_every_new_worker_and_tune_is_answered(tmp_path: Path) -> None:
    def script(worker: Worker) -> None:
        order = _loaded(worker)
        worker.send(_tuned(order, {2: 5}, {2: 5}))
        worker.until_closed()

    line = Line(tmp_path, script)
    order = Tune(turn="x", threads=(2,), batch_threads=(2,), milliseconds=100)
    assert line.supervisor.tune(order) is None  # no worker is started for that
    assert line.broker.started == 0
    line.supervisor.model()
    tuned = line.supervisor.tune(order)
    assert tuned is not None and tuned.complete


def test_a_question_ends_it(tmp_path: Path) -> None:
    asked = threading.Event()

    def script(worker: Worker) -> None:
        order = _loaded(worker)
        asked.set()
        cancel = worker.channel.receive(10)
        assert cancel is not None and cancel[0].turn == order.turn
        worker.send(_tuned(order, {}, {}, complete=False))
        question = worker.next_order()
        worker.read(question.turn)
        worker.send(done(question.turn, answer=0))
        worker.until_closed()

    line = Line(tmp_path, script)
    line.supervisor.model()
    found: list[Tuned | None] = []
    order = Tune(turn="x", threads=(2,), batch_threads=(2,), milliseconds=100_000)
    tuning = threading.Thread(target=lambda: found.append(line.supervisor.tune(order)))
    tuning.start()
    assert asked.wait(10)
    assert list(line.supervisor.answer("t", ((Role.USER, "Hello"),), Sampling(max_tokens=8)))  # type: ignore[arg-type]
    tuning.join(10)
    assert found[0] is not None and not found[0].complete


def test_a_reading_ahead_ends_it_and_is_carried_out(tmp_path: Path) -> None:
    asked = threading.Event()

    def script(worker: Worker) -> None:
        order = _loaded(worker)
        asked.set()
        cancel = worker.channel.receive(10)
        assert cancel is not None and cancel[0].turn == order.turn
        worker.send(_tuned(order, {}, {}, complete=False))
        ahead = worker.channel.receive(10)
        assert ahead is not None and isinstance(ahead[0], ReadAhead)
        worker.send(ReadDone(turn=ahead[0].turn, prompt_tokens=9, reused_tokens=0, read_tokens=9))
        worker.until_closed()

    line = Line(tmp_path, script)
    line.supervisor.model()
    order = Tune(turn="x", threads=(2,), batch_threads=(2,), milliseconds=100_000)
    tuning = threading.Thread(target=lambda: line.supervisor.tune(order))
    tuning.start()
    assert asked.wait(10)
    read = line.supervisor.read_ahead(TurnId("t"), ((Role.USER, "Hello"),), "c", lambda: True)
    tuning.join(10)
    assert read is not None and read.read_tokens == 9


def test_a_worker_that_answers_it_with_something_else_is_stopped(tmp_path: Path) -> None:
    def script(worker: Worker) -> None:
        _loaded(worker)
        worker.send(Tuned(turn="another", timings=(), complete=True, others_percent=0))
        worker.until_closed()

    line = Line(tmp_path, script)
    line.supervisor.model()
    with pytest.raises(WorkerError) as caught:
        line.supervisor.tune(Tune(turn="x", threads=(2,), batch_threads=(2,), milliseconds=100))
    assert caught.value.code == "worker.garbage"
    assert line.records[-1] is Event.WORKER_FAILURE
