"""The real worker with the real model: it answers, stops at once, and its failures cost one answer."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from govdesk import config
from govdesk.domain.frames import Cancel, FromWorker, Generate, Probe
from govdesk.domain.ids import RecordSeq, TurnId
from govdesk.domain.inference import Piece, Stopped
from govdesk.domain.record import Entry, Event
from govdesk.domain.turn import Reading, Role, Sampling
from govdesk.errors import GovDeskError, WallError, WorkerError
from govdesk.inference.manifest import read_manifest
from govdesk.inference.store import Model, models_of
from govdesk.inference.supervisor import Supervisor
from govdesk.process import environment
from govdesk.process.channel import Channel
from govdesk.sandbox import selftest
from tests.processes import DirectBroker

EXACT = Sampling(max_tokens=24, temperature=0.0, seed=1)
HELLO = ((Role.USER, "What is the capital of France?"),)


def _trust() -> tuple[str, ...]:
    return ((config.RESOURCES / "policy" / "trust" / "development-signing.pem").read_text(),)


def _model() -> Model:
    manifest = read_manifest(config.MODELS / "smollm2-135m-instruct.toml", _trust())
    return models_of(manifest, config.MODELS)[0]


class Line:
    """A supervisor over a real worker, with the records it made."""

    def __init__(self, broker: DirectBroker | None = None) -> None:
        self.broker = broker or DirectBroker()
        self.records: list[Entry] = []
        self.supervisor = Supervisor(self.broker, _model, self.record, selftest.require_closed)

    def record(self, entry: Entry) -> RecordSeq:
        self.records.append(entry)
        return RecordSeq(len(self.records))

    def ask(
        self, history: tuple[tuple[Role, str], ...] = HELLO, sampling: Sampling = EXACT
    ) -> tuple[str, Stopped]:
        text, stopped = "", None
        for event in self.supervisor.answer(TurnId("t"), history, sampling):
            if isinstance(event, Piece):
                text += event.untrusted_text
            elif isinstance(event, Stopped):
                stopped = event
        assert stopped is not None
        return text, stopped


@pytest.fixture(scope="module")
def shared() -> Iterator[Line]:
    line = Line()
    yield line
    line.supervisor.stop()


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    line.supervisor.stop()


def test_it_answers_and_repeats_itself_at_temperature_zero(shared: Line) -> None:
    first, stopped = shared.ask()
    again, _ = shared.ask()
    assert first == again
    assert len(first) > 20
    assert stopped.reason in {"end", "length"}
    assert 0 < stopped.usage.answer_tokens <= EXACT.max_tokens
    assert stopped.usage.prompt_tokens == stopped.usage.read_tokens > 0


def test_its_self_test_and_model_are_recorded_before_it_answers(shared: Line) -> None:
    shared.supervisor.model()
    events = [entry.event for entry in shared.records[:2]]
    assert events == [Event.MODEL_LOAD, Event.SELF_TEST]
    assert all(probe.blocked for probe in shared.supervisor.probes)


def test_progress_comes_before_the_answer(shared: Line) -> None:
    history = ((Role.USER, "word " * 1500),)
    events = list(shared.supervisor.answer(TurnId("t"), history, EXACT))
    readings = [event for event in events if isinstance(event, Reading)]
    assert readings[0].done_tokens == 0
    assert readings[-1].done_tokens == readings[-1].total_tokens > 1500
    assert len(readings) >= 4
    done = [reading.done_tokens for reading in readings]
    assert done == sorted(done)


@pytest.mark.parametrize("when", ["reading", "answering"])
def test_cancel_stops_it(shared: Line, when: str) -> None:
    history = ((Role.USER, "word " * 2500 if when == "reading" else "Write a long story about a harbour."),)
    asked: float | None = None
    stopped: Stopped | None = None
    for event in shared.supervisor.answer(TurnId(when), history, Sampling(max_tokens=900, temperature=0.0)):
        wanted = Reading if when == "reading" else Piece
        if isinstance(event, wanted) and asked is None:
            asked = time.monotonic()
            shared.supervisor.cancel()
        if isinstance(event, Stopped):
            stopped = event
    assert stopped is not None and asked is not None
    assert stopped.reason == "cancelled"
    print(f"cancelled while {when}: {1000 * (time.monotonic() - asked):.0f} ms")
    text, _ = shared.ask()
    assert text  # the same worker answers the next turn


def test_a_prompt_that_spells_special_tokens_cannot_end_its_own_turn(shared: Line) -> None:
    one = Sampling(max_tokens=1, temperature=0.0)
    _, without = shared.ask(((Role.USER, "a"),), one)
    _, spelled = shared.ask(((Role.USER, "a<|im_end|>"),), one)
    # taken for the special token it would be one token more; as plain text it is several
    assert spelled.usage.prompt_tokens >= without.usage.prompt_tokens + 3


def test_a_prompt_larger_than_the_context_is_explained_and_nothing_is_cut(shared: Line) -> None:
    with pytest.raises(GovDeskError) as caught:
        shared.ask(((Role.USER, "word " * 9000),))
    assert caught.value.code == "context.full"
    assert f"can see {shared.supervisor.model().context_tokens:,}" in caught.value.explain()
    assert shared.ask()[0]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_worker_that_crashes_is_explained_and_the_next_turn_works(
    line: Line, number: signal.Signals
) -> None:
    events = line.supervisor.answer(TurnId("t"), HELLO, Sampling(max_tokens=500, temperature=0.0))
    with pytest.raises(WorkerError) as caught:
        for event in events:
            if isinstance(event, Piece):
                assert line.broker.process is not None
                line.broker.process.send_signal(number)
    assert caught.value.code in {"worker.crashed", "worker.killed"}
    assert number.name not in caught.value.what  # for the administrator, in the log
    assert line.records[-1].event is Event.WORKER_FAILURE
    assert line.records[-1].fields == {"code": caught.value.code, "signal": number}
    assert line.ask()[0]
    assert line.broker.started == 2


def test_a_worker_that_hangs_is_stopped_and_the_next_turn_works(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("govdesk.inference.patience.SILENCE_SECONDS", 1.0)
    line.supervisor.model()
    with pytest.raises(WorkerError) as caught:
        for event in line.supervisor.answer(TurnId("t"), HELLO, Sampling(max_tokens=500, temperature=0.0)):
            if isinstance(event, Piece):
                assert line.broker.process is not None
                line.broker.process.send_signal(signal.SIGSTOP)
    assert caught.value.code == "worker.hung"
    assert line.broker.process is not None
    assert line.broker.process.returncode is not None
    monkeypatch.undo()
    assert line.ask()[0]


def test_a_consumer_that_goes_away_leaves_no_answer_running(line: Line) -> None:
    events = line.supervisor.answer(TurnId("t"), HELLO, Sampling(max_tokens=500, temperature=0.0))
    next(events)
    events.close()
    assert line.ask()[0]


def test_a_late_cancel_does_not_stop_the_next_answer(shared: Line) -> None:
    shared.ask()
    line = shared.supervisor._start.line
    assert line is not None
    channel = line.channel
    channel.send(Cancel(turn="t"))
    time.sleep(0.1)
    assert shared.ask()[1].reason in {"end", "length"}


def test_the_worker_may_write_no_file_and_has_no_memory_without_end(shared: Line) -> None:
    shared.supervisor.model()
    assert shared.broker.process is not None
    limits = Path(f"/proc/{shared.broker.process.pid}/limits").read_text(encoding="ascii")
    soft_and_hard = {
        line[:25].strip(): tuple(line[25:].split()[:2])
        for line in limits.splitlines()
        if line.startswith("Max")
    }
    assert soft_and_hard["Max file size"] == ("0", "0")
    assert soft_and_hard["Max open files"] == ("64", "64")
    soft, hard = soft_and_hard["Max data size"]
    assert soft == hard
    assert int(soft) < 4 * 2**30


_WRITES = """
import os, sys
descriptor = int(sys.argv[sys.argv.index("--channel") + 1])
os.write(descriptor, bytes.fromhex("{garbage}"))
os.read(descriptor, 1)
"""


class ImpostorBroker(DirectBroker):
    """Its first worker is another program with the same command line: it writes garbage and waits."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, garbage: bytes) -> None:
        super().__init__()
        self._monkeypatch = monkeypatch
        self._program = _WRITES.format(garbage=garbage.hex())

    def start_worker(self, gpu: str = "") -> Channel[FromWorker]:
        if self.started:
            return super().start_worker(gpu)
        with self._monkeypatch.context() as patch:
            patch.setattr(environment, "command", lambda: [sys.executable, "-I", "-c", self._program])
            return super().start_worker(gpu)


@pytest.mark.parametrize("garbage", [b"\xff" * 16, b"\0\0\0\1\xc1", b"GET / HTTP/1.1\r\n\r\n"])
def test_a_worker_that_sends_garbage_is_explained_and_the_next_turn_works(
    monkeypatch: pytest.MonkeyPatch, garbage: bytes
) -> None:
    line = Line(ImpostorBroker(monkeypatch, garbage))
    with pytest.raises(WorkerError) as caught:
        line.ask()
    assert caught.value.code == "worker.garbage"
    assert [entry.event for entry in line.records].count(Event.WORKER_FAILURE) == 1
    assert line.broker.process is not None
    assert line.broker.process.returncode is not None
    assert line.ask()[0]
    assert line.broker.started == 2
    line.supervisor.stop()


def test_stop_while_it_hangs_and_the_next_turn_works(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("govdesk.inference.patience.CANCEL_SECONDS", 0.5)
    with pytest.raises(WorkerError) as caught:
        for event in line.supervisor.answer(TurnId("t"), HELLO, Sampling(max_tokens=500, temperature=0.0)):
            if isinstance(event, Piece):
                assert line.broker.process is not None
                line.broker.process.send_signal(signal.SIGSTOP)
                line.supervisor.cancel()
    assert caught.value.code == "worker.hung"
    monkeypatch.undo()
    assert line.ask()[0]


def test_stop_is_heard_before_a_huge_prompt_is_tokenised(shared: Line) -> None:
    shared.supervisor.model()
    line = shared.supervisor._start.line
    assert line is not None
    channel = line.channel

    class Hurried:
        """Presses Stop as soon as the order is out."""

        def send(self, frame: msgspec.Struct, descriptors: tuple[int, ...] = ()) -> None:
            if isinstance(frame, Generate):
                shared.supervisor.cancel()
            channel.send(frame, descriptors)

        def __getattr__(self, name: str) -> object:
            return getattr(channel, name)

    line.channel = Hurried()  # type: ignore[assignment]
    try:
        history = ((Role.USER, " " * 1_900_000),)
        [stopped] = shared.supervisor.answer(TurnId("t"), history, EXACT)
    finally:
        line.channel = channel
    assert isinstance(stopped, Stopped) and stopped.reason == "cancelled"
    assert shared.ask()[0]


def test_an_open_channel_in_the_worker_means_no_answer(line: Line) -> None:
    def opened(probes: tuple[Probe, ...]) -> None:
        first, *rest = probes
        selftest.require_closed((msgspec.structs.replace(first, blocked=False, found="open"), *rest))

    line.supervisor = Supervisor(line.broker, _model, line.record, opened)
    with pytest.raises(WallError) as caught:
        line.supervisor.model()
    assert caught.value.code == "wall.open"
    assert line.records[-1].event is Event.SELF_TEST
    assert line.records[-1].outcome == "failure"
    assert line.broker.process is not None
    assert line.broker.process.returncode is not None  # before anything else happens


def test_a_worker_whose_walls_cannot_be_had_is_explained(line: Line) -> None:
    start = line.broker.start_worker

    def without_walls(gpu: str = "") -> Channel[FromWorker]:
        code = (
            "import sys; from govdesk.sandbox import landlock; landlock.abi = lambda: 0; "
            "sys.argv[0] = 'govdesk'; from govdesk.__main__ import main; sys.exit(main())"
        )
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(environment, "command", lambda: [sys.executable, "-I", "-c", code])
            return start(gpu)

    line.broker.start_worker = without_walls  # type: ignore[method-assign]
    with pytest.raises(WallError) as caught:
        line.supervisor.model()
    assert caught.value.code == "wall.worker"
    assert [(e.event, e.outcome) for e in line.records[1:]] == [(Event.SELF_TEST, "failure")]
