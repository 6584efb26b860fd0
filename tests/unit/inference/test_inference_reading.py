"""Reading ahead and counting: one order at a time, a reading gives way to all else, and nothing is believed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from govdesk.domain.frames import (
    AnswerPiece,
    Cancel,
    Counted,
    CountTokens,
    PromptProgress,
    ReadAhead,
    ReadDone,
)
from govdesk.domain.ids import TurnId
from govdesk.domain.inference import Count, Read, Stopped
from govdesk.domain.turn import Role
from govdesk.errors import ModelError, WorkerError
from govdesk.inference import patience
from tests.unit.inference.test_inference_supervisor import HISTORY, LIMIT, Line
from tests.unit.inference.workers import ScriptedBroker, Worker, done

T = TurnId("t")


@pytest.fixture(autouse=True)
def all_workers_end() -> Iterator[None]:
    yield
    while ScriptedBroker.made:
        ScriptedBroker.made.pop().close()


def answers(*frames) -> Callable[[Worker], None]:
    """A worker that answers its first order with these."""

    def script(worker: Worker) -> None:
        worker.hello()
        worker.load()
        received = worker.channel.receive(10)
        assert received is not None and isinstance(received[0], ReadAhead | CountTokens)
        worker.orders = [received[0]]  # type: ignore[attr-defined]
        worker.send(*frames)
        worker.until_closed()

    return script


def read(line: Line, wanted: Callable[[], bool] = lambda: True) -> Read | None:
    return line.supervisor.read_ahead(T, HISTORY, "c", wanted)


def test_what_was_read_is_counted(tmp_path: Path) -> None:
    line = Line(tmp_path, answers(ReadDone(turn="t", prompt_tokens=30, reused_tokens=10, read_tokens=16)))
    assert read(line) == Read(30, 10, 16)


def test_a_reading_that_goes_on_is_not_silent(tmp_path: Path, monkeypatch) -> None:
    """Each stretch that was read starts the patience again."""
    monkeypatch.setattr(patience, "SILENCE_SECONDS", 0.5)

    def script(worker: Worker) -> None:
        worker.hello()
        worker.load()
        worker.channel.receive(10)
        for read_so_far in range(0, 24, 4):
            worker.send(PromptProgress(turn="t", done_tokens=read_so_far, total_tokens=26))
            time.sleep(0.15)
        worker.send(ReadDone(turn="t", prompt_tokens=30, reused_tokens=0, read_tokens=26))
        worker.until_closed()

    assert read(Line(tmp_path, script)) == Read(30, 0, 26)


def test_what_is_not_wanted_any_more_is_not_sent(tmp_path: Path) -> None:
    sent: list[object] = []

    def script(worker: Worker) -> None:
        worker.hello()
        worker.load()
        while (received := worker.channel.receive(10)) is not None:
            sent.append(received[0])

    line = Line(tmp_path, script)
    line.supervisor.model()
    assert read(line, lambda: False) is None
    line.supervisor.stop()
    line.broker.close()
    assert not [frame for frame in sent if isinstance(frame, ReadAhead)]


def test_a_prompt_that_is_too_long_is_counted_and_not_read(tmp_path: Path) -> None:
    full = ReadDone(
        turn="t", prompt_tokens=99, reused_tokens=0, read_tokens=0, code="context.full", estimated=True
    )
    line = Line(tmp_path, answers(full))
    assert read(line) == Read(99, 0, 0, estimated=True)


@pytest.mark.parametrize(
    "frame",
    [
        ReadDone(turn="other", prompt_tokens=30, reused_tokens=10, read_tokens=16),
        ReadDone(turn="t", prompt_tokens=20, reused_tokens=10, read_tokens=16),
        ReadDone(turn="t", prompt_tokens=65, reused_tokens=0, read_tokens=65),
        ReadDone(turn="t", prompt_tokens=65, reused_tokens=1, read_tokens=0, code="context.full"),
        Counted(turn="t", prompt_tokens=3),
        PromptProgress(turn="t", done_tokens=3, total_tokens=65),
        PromptProgress(turn="t", done_tokens=3, total_tokens=2),
        PromptProgress(turn="x", done_tokens=3, total_tokens=4),
        AnswerPiece(turn="t", text="a", tokens=1),
    ],
)
def test_what_a_reading_worker_may_not_say_ends_it(tmp_path: Path, frame) -> None:
    line = Line(tmp_path, answers(frame))
    with pytest.raises(WorkerError):
        read(line)
    assert line.failures() == ["worker.garbage"]
    assert isinstance(line.ask()[-1], Stopped)  # a fresh one answers


def test_a_template_that_fails_is_explained_and_the_worker_lives(tmp_path: Path) -> None:
    failed = ReadDone(turn="t", prompt_tokens=0, reused_tokens=0, read_tokens=0, code="template.failed")
    line = Line(tmp_path, answers(failed))
    with pytest.raises(ModelError):
        read(line)
    assert line.broker.stopped == 0


@pytest.mark.parametrize(
    ("frame", "count"),
    [
        (Counted(turn="t", prompt_tokens=31), Count(31)),
        (Counted(turn="t", prompt_tokens=9000, estimated=True), Count(9000, estimated=True)),
    ],
)
def test_a_count_is_given(tmp_path: Path, frame: Counted, count: Count) -> None:
    assert Line(tmp_path, answers(frame)).supervisor.count(T, ((Role.USER, "Hello"),)) == count


@pytest.mark.parametrize("frame", [Counted(turn="x", prompt_tokens=1), done("t")])
def test_what_a_counting_worker_may_not_say_ends_it(tmp_path: Path, frame) -> None:
    line = Line(tmp_path, answers(frame))
    with pytest.raises(WorkerError):
        line.supervisor.count(T, HISTORY)
    assert line.failures() == ["worker.garbage"]


class Slow:
    """Reads for ever, and stops when it is told; then answers."""

    def __init__(self) -> None:
        self.reading = threading.Event()
        self.seen: list[str] = []

    def __call__(self, worker: Worker) -> None:
        worker.hello()
        worker.load()
        while (received := worker.channel.receive(10)) is not None:
            frame = received[0]
            self.seen.append(type(frame).__name__)
            match frame:
                case ReadAhead():
                    self.reading.set()
                case Cancel(turn=turn):
                    worker.send(
                        ReadDone(
                            turn=turn, prompt_tokens=30, reused_tokens=0, read_tokens=5, code="cancelled"
                        )
                    )
                case CountTokens(turn=turn):
                    worker.send(Counted(turn=turn, prompt_tokens=9))
                case _ if hasattr(frame, "max_tokens"):
                    worker.read(frame.turn)
                    worker.send(AnswerPiece(turn=frame.turn, text="Well.", tokens=1), done(frame.turn))


def in_thread(line: Line, slow: Slow) -> tuple[threading.Thread, list[Read | None]]:
    result: list[Read | None] = []
    thread = threading.Thread(target=lambda: result.append(read(line)))
    thread.start()
    assert slow.reading.wait(10)
    return thread, result


@pytest.mark.parametrize("what", ["answer", "count", "stop_reading"])
def test_a_reading_gives_way(tmp_path: Path, what: str) -> None:
    slow = Slow()
    line = Line(tmp_path, slow)
    line.supervisor.model()
    thread, result = in_thread(line, slow)
    if what == "answer":
        assert isinstance(line.ask("now")[-1], Stopped)
    elif what == "count":
        assert line.supervisor.count(TurnId("now"), HISTORY) == Count(9)
    else:
        line.supervisor.stop_reading()
    thread.join(10)
    assert result == [Read(30, 0, 5, cancelled=True)]
    assert slow.seen[:2] == ["ReadAhead", "Cancel"]
    assert line.failures() == []
    assert isinstance(line.ask("after")[-1], Stopped)


def test_a_stop_of_the_reading_does_not_touch_an_answer_nor_the_other_way_round(tmp_path: Path) -> None:
    slow = Slow()
    line = Line(tmp_path, slow)
    line.supervisor.model()
    events = line.supervisor.answer(T, HISTORY, LIMIT)
    next(events)
    line.supervisor.stop_reading()
    assert isinstance(list(events)[-1], Stopped)
    assert "Cancel" not in slow.seen
    thread, _ = in_thread(line, slow)
    line.supervisor.cancel()
    assert "Cancel" not in slow.seen
    line.supervisor.stop_reading()
    thread.join(10)


def test_while_an_answer_comes_nothing_is_read(tmp_path: Path) -> None:
    slow = Slow()
    line = Line(tmp_path, slow)
    events = line.supervisor.answer(T, HISTORY, LIMIT)
    next(events)
    assert read(line) is None
    list(events)
    assert "ReadAhead" not in slow.seen


def test_a_reading_that_does_not_stop_ends_the_worker(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(patience, "CANCEL_SECONDS", 0.05)
    begun = threading.Event()

    def deaf(worker: Worker) -> None:
        worker.hello()
        worker.load()
        worker.channel.receive(10)
        begun.set()
        worker.until_closed()

    line = Line(tmp_path, deaf)
    errors: list[Exception] = []

    def try_it() -> None:
        try:
            read(line)
        except WorkerError as error:
            errors.append(error)

    thread = threading.Thread(target=try_it)
    thread.start()
    assert begun.wait(10)
    time.sleep(0.01)
    assert isinstance(line.ask("now")[-1], Stopped)  # from a fresh worker
    thread.join(10)
    assert [error.code for error in errors] == ["worker.hung"]
    assert line.broker.started == 2
