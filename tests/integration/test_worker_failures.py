"""A worker that fails costs one answer: what happened is explained, what came is kept, the next is well.

The workers are real, behind their real walls, and really break: in native code, at a token of an answer.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from govdesk import config
from govdesk.domain.frames import FromWorker, Tune, Tuned
from govdesk.domain.ids import RecordSeq, TurnId
from govdesk.domain.inference import Piece, Stopped
from govdesk.domain.record import Entry, Event
from govdesk.domain.turn import Ended, Outcome, Role, Sampling
from govdesk.errors import WorkerError
from govdesk.inference.manifest import read_manifest
from govdesk.inference.store import Model, models_of
from govdesk.inference.supervisor import Supervisor
from govdesk.process import environment
from govdesk.process.channel import Channel
from govdesk.sandbox import selftest
from tests.bench.line import WholeLine
from tests.processes import DirectBroker

BROKEN = Path(__file__).parents[1] / "broken_worker.py"
LONG = Sampling(max_tokens=400, temperature=0.0)
STORY = ((Role.USER, "Write a long story about a harbour."),)


def _model() -> Model:
    trust = ((config.RESOURCES / "policy" / "trust" / "development-signing.pem").read_text(),)
    manifest = read_manifest(config.MODELS / "smollm2-135m-instruct.toml", trust)
    return models_of(manifest, config.MODELS)[0]


class BreakingBroker(DirectBroker):
    """Its first worker breaks; the others are well."""

    def __init__(self, how: str, at: int) -> None:
        super().__init__()
        self._how, self._at = how, at

    def start_worker(self, gpu: str = "") -> Channel[FromWorker]:
        if self.started:
            return super().start_worker(gpu)
        with pytest.MonkeyPatch.context() as patch:
            program = [sys.executable, "-I", str(BROKEN), self._how, str(self._at)]
            patch.setattr(environment, "command", lambda: program)
            return super().start_worker(gpu)


class Line:
    """A supervisor over a worker, the records it made and the text that came."""

    def __init__(self, broker: DirectBroker) -> None:
        self.broker = broker
        self.records: list[Entry] = []
        self.supervisor = Supervisor(broker, _model, self.record, selftest.require_closed)
        self.text = ""

    def record(self, entry: Entry) -> RecordSeq:
        self.records.append(entry)
        return RecordSeq(len(self.records))

    def ask(self, sampling: Sampling = LONG) -> Stopped:
        self.text = ""
        stopped = None
        for event in self.supervisor.answer(TurnId("t"), STORY, sampling):
            if isinstance(event, Piece):
                self.text += event.untrusted_text
            if isinstance(event, Stopped):
                stopped = event
        assert stopped is not None
        return stopped

    @property
    def failure(self) -> dict[str, object]:
        [entry] = [entry for entry in self.records if entry.event is Event.WORKER_FAILURE]
        return dict(entry.fields)


@pytest.fixture
def lines() -> Iterator[list[Line]]:
    made: list[Line] = []
    yield made
    for line in made:
        line.supervisor.stop()


def _line(lines: list[Line], how: str, at: int = 12) -> Line:
    lines.append(Line(BreakingBroker(how, at)))
    return lines[-1]


@pytest.mark.parametrize(
    ("how", "number", "code", "said"),
    [
        ("segv", signal.SIGSEGV, "worker.crashed", "ended unexpectedly"),
        ("abort", signal.SIGABRT, "worker.crashed", "gave up"),
        ("divide", signal.SIGFPE, "worker.crashed", "ended unexpectedly"),
        ("illegal", signal.SIGILL, "worker.instruction", "processor lacks"),
        ("exit", 0, "worker.crashed", "ended unexpectedly"),
        ("memory", 0, "worker.memory", "more memory than it may have"),
        ("native-memory", signal.SIGABRT, "worker.crashed", "Perhaps it got no more memory"),
    ],
)
def test_a_crash_is_explained_the_text_is_kept_and_the_next_question_is_answered(
    lines: list[Line], how: str, number: int, code: str, said: str
) -> None:
    line = _line(lines, how)
    with pytest.raises(WorkerError) as caught:
        line.ask()
    assert caught.value.code == code
    assert said in caught.value.explain()
    assert caught.value.kept and caught.value.todo
    assert line.text  # what came before it broke
    assert line.failure == {"code": code, "signal": number}
    assert line.ask(Sampling(max_tokens=8, temperature=0.0)).reason == "length"
    assert line.broker.started == 2


def test_the_whole_turn_keeps_what_came_and_has_one_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Policy, audit writer, worker and encrypted history, all real; the worker breaks at its 60th token."""
    monkeypatch.setattr("tests.bench.line.DirectBroker", lambda: BreakingBroker("segv", 60))
    line = WholeLine(tmp_path)
    try:
        [*_, ended] = line.chat.run_turn(None, "Write a long story about a harbour.", LONG)
        assert isinstance(ended, Ended)
        assert ended.outcome is Outcome.FAILED
        assert ended.text
        assert "ended unexpectedly" in ended.explanation
        question, answer = line.store.messages(ended.conversation)
        assert (answer.text, answer.outcome, answer.code) == (ended.text, Outcome.FAILED, "worker.crashed")
        assert not line.store.unfinished_turns()
        [*_, again] = line.chat.run_turn(ended.conversation, "Go on.", Sampling(max_tokens=4))
        assert isinstance(again, Ended) and again.outcome is Outcome.COMPLETED
        assert question.text
    finally:
        line.close()
        line.audit._channel.close()


def test_a_crash_while_the_prompt_is_read(lines: list[Line]) -> None:
    line = _line(lines, "segv", at=0)  # at the first decode of all
    with pytest.raises(WorkerError) as caught:
        line.ask()
    assert caught.value.code == "worker.crashed"
    assert line.text == ""
    assert line.ask(Sampling(max_tokens=8, temperature=0.0)).reason == "length"


def test_what_the_system_kills_for_its_memory_is_explained(lines: list[Line]) -> None:
    line = _line(lines, "nothing")
    with pytest.raises(WorkerError) as caught:
        for event in line.supervisor.answer(TurnId("t"), STORY, LONG):
            if isinstance(event, Piece):  # as the kernel's OOM killer does
                assert line.broker.process is not None
                line.broker.process.send_signal(signal.SIGKILL)
    assert caught.value.code == "worker.killed"
    assert "ran out of memory" in caught.value.explain()
    assert "smaller model or context" in caught.value.explain()


@pytest.mark.parametrize("stopped", [False, True])
def test_a_native_call_that_never_returns_is_ended(
    lines: list[Line], monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    line = _line(lines, "spin")
    line.supervisor.model()
    monkeypatch.setattr("govdesk.inference.patience.SILENCE_SECONDS", 600.0 if stopped else 3.0)
    monkeypatch.setattr("govdesk.inference.patience.CANCEL_SECONDS", 0.5)
    with pytest.raises(WorkerError) as caught:
        for event in line.supervisor.answer(TurnId("t"), STORY, LONG):
            if isinstance(event, Piece):
                line.text += event.untrusted_text
                if stopped and _is_spinning(line):
                    line.supervisor.cancel()
    assert caught.value.code == "worker.hung"
    assert line.text
    process = line.broker.process
    assert process is not None and process.returncode is not None
    monkeypatch.undo()
    assert line.ask(Sampling(max_tokens=8, temperature=0.0)).reason == "length"


def _is_spinning(line: Line) -> bool:
    time.sleep(1.0)  # the last piece has come by then: its call does not return
    return line.text != ""


def test_broken_characters_are_shown_as_such_and_end_nothing(lines: list[Line]) -> None:
    line = _line(lines, "utf8", at=4)
    stopped = line.ask(Sampling(max_tokens=40, temperature=0.0))
    assert stopped.reason in {"end", "length"}
    assert "\ufffd" in line.text
    assert line.text.encode("utf-8")  # no half character, no surrogate
    assert line.broker.started == 1


def test_a_model_that_repeats_itself_for_ever_is_stopped_and_it_is_said(lines: list[Line]) -> None:
    line = _line(lines, "loop")
    stopped = line.ask(Sampling(max_tokens=4000, temperature=0.0))
    assert stopped.reason == "loop"
    assert line.text.count("The harbour is quiet. ") < 1000
    assert line.broker.started == 1  # it is well: it was only asked to stop


def test_memory_comes_back_when_a_worker_is_stopped(lines: list[Line]) -> None:
    line = _line(lines, "nothing")
    before = (_descriptors(), _memfds(os.getpid()))
    line.ask(Sampling(max_tokens=4, temperature=0.0))
    process = line.broker.process
    assert process is not None
    assert _own_bytes(process.pid) > _model().variant.bytes  # here is room for weights of its own
    assert _memfds(process.pid) == []  # and the sealed copy is gone
    line.supervisor.stop()
    assert process.returncode is not None
    assert not Path(f"/proc/{process.pid}").exists()  # reaped: its memory is the system's again
    assert (_descriptors(), _memfds(os.getpid())) == before  # nor does this process hold the model


def _worked_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _own_bytes(pid: int) -> int:
    """A process's private memory."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssAnon:"))


def _descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def _memfds(pid: int) -> list[int]:
    """Bytes of each memfd that a process holds, by descriptor or by mapping."""
    sizes = []
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if str(link.readlink()).startswith("/memfd:"):
                sizes.append(link.stat().st_size)
        except OSError:
            continue  # the one that lists the folder
    maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    for line in maps:
        if "/memfd:" in line:
            start, end = line.split()[0].split("-")
            sizes.append(int(end, 16) - int(start, 16))
    return sizes


def test_it_measures_itself_and_a_question_is_answered_as_before(lines: list[Line]) -> None:
    line = _line(lines, "nothing")
    short = Sampling(max_tokens=8, temperature=0.0)
    line.supervisor.model()
    tuned = line.supervisor.tune(Tune(turn="x", threads=(1, 2), batch_threads=(1, 2, 999), milliseconds=9000))
    assert tuned is not None
    asked = {(timing.reading, timing.threads) for timing in tuned.timings}
    assert asked <= {(False, 1), (False, 2), (True, 1), (True, 2)}
    assert asked
    line.ask(short)
    first = line.text
    fresh = _line(lines, "nothing")
    fresh.ask(short)
    assert fresh.text == first  # nothing of it is left in the context


def test_measuring_gives_way_to_a_question(lines: list[Line]) -> None:
    line = _line(lines, "nothing")
    line.supervisor.model()
    process = line.broker.process
    assert process is not None
    found: list[tuple[Tuned | None, float]] = []
    order = Tune(turn="x", threads=(2, 1), batch_threads=(2, 1), milliseconds=60_000)
    rested = _worked_seconds(process.pid)
    measuring = threading.Thread(target=lambda: found.append((line.supervisor.tune(order), time.monotonic())))
    measuring.start()
    while _worked_seconds(process.pid) < rested + 0.05:
        assert measuring.is_alive()
        time.sleep(0.005)
    asked = time.monotonic()
    assert line.ask(Sampling(max_tokens=4, temperature=0.0)).reason == "length"
    measuring.join(30)
    [(tuned, gave_way)] = found
    assert tuned is not None
    assert tuned.complete is False, "it was ended in the middle"
    assert gave_way - asked < 5
    assert line.broker.started == 1


def test_what_was_read_is_there_again_after_measuring(lines: list[Line]) -> None:
    line = _line(lines, "nothing")
    history = ((Role.USER, "Name three rivers, and say of each where it ends."),)

    def ask() -> Stopped:
        events = list(
            line.supervisor.answer(TurnId("t"), history, Sampling(max_tokens=2, temperature=0.5), "c")
        )
        assert isinstance(events[-1], Stopped)
        return events[-1]

    assert ask().usage.read_tokens > 10
    tuned = line.supervisor.tune(Tune(turn="x", threads=(1,), batch_threads=(1,), milliseconds=9000))
    assert tuned is not None and tuned.complete and len(tuned.timings) == 2
    assert ask().usage.read_tokens == 1
