"""States leave and enter a worker by descriptor, and nothing that it says of them is believed."""

from __future__ import annotations

import fcntl
import mmap
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from govdesk.domain.frames import (
    AnswerDone,
    AnswerPiece,
    Generate,
    LoadModel,
    PromptProgress,
    RestoreState,
    SaveState,
    StateRestored,
    StateSize,
    StateWritten,
    WriteState,
)
from govdesk.domain.ids import TurnId
from govdesk.domain.inference import Stopped
from govdesk.domain.prompt_state import HEADER, MAGIC, TOKEN_BYTES, VERSION, PromptState
from govdesk.domain.record import Event
from govdesk.domain.turn import ModelInfo
from govdesk.errors import MachineError, WorkerError
from govdesk.inference import prompt_states
from govdesk.inference.prompt_states import PromptStates, new_memfd
from govdesk.inference.worker_line import LoadedModel
from tests.unit.inference.test_inference_supervisor import HISTORY, LIMIT, Line
from tests.unit.inference.workers import Worker

MANY = 2**30


def loaded(folder: Path, script: Callable[[Worker], None]) -> tuple[Line, PromptStates]:
    def whole(worker: Worker) -> None:
        worker.hello()
        worker.load()
        script(worker)
        worker.until_closed()

    line = Line(folder, whole)
    line.supervisor.model()
    return line, PromptStates(line.supervisor)


def size(tokens: int = 9, state_bytes: int = 4096, conversation: str = "c") -> StateSize:
    return StateSize(conversation=conversation, tokens=tokens, state_bytes=state_bytes)


def head(tokens: int = 9, among_many: int = 0, magic: bytes = MAGIC, version: int = VERSION) -> bytes:
    return HEADER.pack(magic, version, tokens, among_many) + bytes(TOKEN_BYTES * min(tokens, 64))


def writing(content: bytes, said: int) -> Callable[[Worker], None]:
    def script(worker: Worker) -> None:
        assert isinstance(worker.channel.receive(10)[0], SaveState)
        worker.send(size(state_bytes=4096))
        frame, (descriptor,) = worker.channel.receive(10)
        assert isinstance(frame, WriteState) and os.fstat(descriptor).st_size == 4096
        os.pwrite(descriptor, content, 0)
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 8192)
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, 1)
        os.close(descriptor)
        worker.send(StateWritten(conversation="c", state_bytes=said))

    return script


def test_a_state_is_written_into_a_memfd_of_fixed_size(tmp_path: Path) -> None:
    _, states = loaded(tmp_path, writing(head() + b"state", 4096))
    state = states.save("c", 9, MANY)
    assert state is not None
    assert (state.tokens, state.state_bytes) == (9, 4096)
    assert os.pread(state.descriptor, 5, len(head())) == b"state"
    with pytest.raises(PermissionError):  # what was looked at is what will be sealed
        os.pwrite(state.descriptor, b"x", 0)
    os.close(state.descriptor)


def test_what_could_not_be_written_is_none(tmp_path: Path) -> None:
    _, states = loaded(tmp_path, writing(b"", 0))
    assert states.save("c", 9, MANY) is None


@pytest.mark.parametrize(
    ("found", "most", "code"),
    [
        (size(tokens=0, state_bytes=0), MANY, ""),
        (size(), 4095, ""),
        (size(tokens=10), MANY, "state.beyond-prompt"),
    ],
    ids=["nothing", "too large", "more than was sent"],
)
def test_what_is_not_wanted_is_not_written(tmp_path: Path, found: StateSize, most: int, code: str) -> None:
    orders = []

    def script(worker: Worker) -> None:
        orders.append(worker.channel.receive(10)[0])
        worker.send(found)
        worker.send(size(tokens=1))

    line, states = loaded(tmp_path, script)
    if code:
        with pytest.raises(MachineError) as caught:
            states.save("c", 9, most)
        assert caught.value.code == code
    else:
        assert states.save("c", 9, most) is None
    assert states.tokens("c") == 1, "the worker is well, and stays"
    line.supervisor.stop()
    assert [type(order) for order in orders] == [SaveState]


@pytest.mark.parametrize(
    "content",
    [
        head(10),
        head(8),
        head(2**31),
        head(among_many=10),
        head(magic=b"GDSTATX\0"),
        head(version=2),
        b"",
    ],
    ids=["more tokens", "fewer tokens", "far more", "more among many", "another magic", "another version",
         "nothing"],
)  # fmt: skip
def test_a_state_whose_header_says_another_thing_ends_the_worker(tmp_path: Path, content: bytes) -> None:
    line, states = loaded(tmp_path, writing(content, 4096))
    with pytest.raises(WorkerError) as caught:
        states.save("c", 64, MANY)
    assert caught.value.code == "worker.garbage"
    assert line.supervisor.loaded is None
    line.broker.close()
    held = [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    assert not [name for name in held if name.startswith("/memfd:state")]


def test_a_worker_that_could_still_change_it_is_ended(tmp_path: Path) -> None:
    kept = []

    def script(worker: Worker) -> None:
        worker.channel.receive(10)
        worker.send(size())
        _, (descriptor,) = worker.channel.receive(10)
        kept.append(mmap.mmap(descriptor, 4096))
        kept[0][: len(head())] = head()
        os.close(descriptor)
        worker.send(StateWritten(conversation="c", state_bytes=4096))

    _, states = loaded(tmp_path, script)
    with pytest.raises(WorkerError, match="unexpected"):
        states.save("c", 64, MANY)
    kept[0].close()


@pytest.mark.parametrize(
    "frame",
    [
        size(conversation="another"),
        size(tokens=65),
        size(tokens=9, state_bytes=len(head())),
        size(tokens=0, state_bytes=4096),
        size(tokens=9, state_bytes=0),
        StateWritten(conversation="c", state_bytes=4096),
        AnswerPiece(turn="c", text="x", tokens=1),
    ],
    ids=["another's", "more than the context", "too small for its tokens", "bytes of nothing", "no bytes",
         "not asked", "an answer"],
)  # fmt: skip
def test_a_size_that_cannot_be_ends_the_worker(tmp_path: Path, frame: object) -> None:
    line, states = loaded(tmp_path, lambda worker: (worker.channel.receive(10), worker.send(frame)))
    with pytest.raises(WorkerError) as caught:
        states.save("c", 64, MANY)
    assert caught.value.code == "worker.garbage"
    assert line.records[-1].event is Event.WORKER_FAILURE
    assert line.supervisor.loaded is None


@pytest.mark.parametrize("said", [1, 4095, 4097])
def test_another_number_of_bytes_written_ends_the_worker(tmp_path: Path, said: int) -> None:
    _, states = loaded(tmp_path, writing(b"", said))
    with pytest.raises(WorkerError, match="unexpected"):
        states.save("c", 64, MANY)


@pytest.mark.parametrize("said", [9, 0])
def test_a_state_is_given_back(tmp_path: Path, said: int) -> None:
    def script(worker: Worker) -> None:
        frame, (descriptor,) = worker.channel.receive(10)
        assert isinstance(frame, RestoreState) and os.pread(descriptor, 5, 0) == b"state"
        os.close(descriptor)
        worker.send(StateRestored(conversation="c", tokens=said))

    _, states = loaded(tmp_path, script)
    descriptor = new_memfd(4096)
    os.pwrite(descriptor, b"state", 0)
    assert states.restore("c", PromptState(descriptor, 9, 4096)) == said
    os.close(descriptor)


@pytest.mark.parametrize(
    "frame",
    [StateRestored(conversation="c", tokens=8), StateRestored(conversation="d", tokens=9), size()],
    ids=["other tokens", "another's", "not asked"],
)
def test_a_restoring_that_cannot_be_ends_the_worker(tmp_path: Path, frame: object) -> None:
    def script(worker: Worker) -> None:
        os.close(worker.channel.receive(10)[1][0])
        worker.send(frame)

    _, states = loaded(tmp_path, script)
    descriptor = new_memfd(4096)
    with pytest.raises(WorkerError, match="unexpected"):
        states.restore("c", PromptState(descriptor, 9, 4096))
    os.close(descriptor)


def test_a_worker_that_hangs_over_it_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt_states, "PATIENCE_SECONDS", 0.2)
    line, states = loaded(tmp_path, lambda worker: None)
    with pytest.raises(WorkerError) as caught:
        states.tokens("c")
    assert caught.value.code == "worker.hung"
    assert line.records[-1].event is Event.WORKER_FAILURE
    assert line.supervisor.loaded is None


def test_a_worker_that_is_not_done_by_the_end_of_the_session_is_not_called_hung(tmp_path: Path) -> None:
    line, states = loaded(tmp_path, lambda worker: None)
    end = time.monotonic() + 1.3
    with pytest.raises(MachineError) as caught:
        states.tokens("c", left=lambda: end - time.monotonic())
    assert caught.value.code == "time"
    assert 1.2 < time.monotonic() - end + 1.3 < 5.0
    assert all(entry.event is not Event.WORKER_FAILURE for entry in line.records)


def test_before_each_order_it_is_looked_how_much_time_is_left(tmp_path: Path) -> None:
    """The first answer took what there was: nothing more is asked, and the worker stays."""
    orders, left = [], iter([5.0, 5.0, 0.9])

    def script(worker: Worker) -> None:
        orders.append(worker.channel.receive(10)[0])
        worker.send(size())
        worker.send(size(tokens=1))

    line, states = loaded(tmp_path, script)
    with pytest.raises(MachineError) as caught:
        states.save("c", 64, MANY, left=lambda: next(left))
    assert caught.value.code == "time"
    assert [type(order) for order in orders] == [SaveState]
    assert states.tokens("c") == 1
    assert line.supervisor.loaded is not None


def test_with_less_than_a_second_left_nothing_is_asked(tmp_path: Path) -> None:
    orders = []
    line, states = loaded(tmp_path, lambda worker: orders.append(worker.channel.receive(10)))
    for ask in (states.tokens, lambda name, left: states.save(name, 64, MANY, left=left)):
        with pytest.raises(MachineError) as caught:
            ask("c", left=lambda: 0.99)
        assert caught.value.code == "time"
    line.supervisor.stop()
    line.broker.close()
    assert [received for received in orders if received and isinstance(received[0], SaveState)] == []


def test_without_a_worker_nothing_is_asked_and_none_is_started(tmp_path: Path) -> None:
    line = Line(tmp_path)
    states = PromptStates(line.supervisor)
    assert states.tokens("c") is None
    assert states.save("c", 64, MANY) is None
    states.forget("c")
    assert states.binding == b""
    assert line.broker.started == 0


def test_while_an_answer_comes_nothing_is_asked(tmp_path: Path) -> None:
    go_on = threading.Event()

    def script(worker: Worker) -> None:
        order = worker.next_order()
        worker.send(PromptProgress(turn=order.turn, done_tokens=0, total_tokens=4))
        go_on.wait(10)
        worker.send(PromptProgress(turn=order.turn, done_tokens=4, total_tokens=4))
        worker.send(
            AnswerDone(turn=order.turn, reason="end", prompt_tokens=4, read_tokens=4, answer_tokens=0)
        )

    line, states = loaded(tmp_path, script)
    events = line.supervisor.answer(TurnId("t"), HISTORY, LIMIT, "c")
    next(events)
    assert states.tokens("c") is None
    go_on.set()
    assert isinstance(list(events)[-1], Stopped)


def test_the_binding_is_of_model_template_context_and_library(tmp_path: Path) -> None:
    line, states = loaded(tmp_path, lambda worker: None)
    order, model, template = line.supervisor.loaded
    seen = {states.binding}
    others = [
        (msgspec.structs.replace(order, kv="q8_0"), model, template),
        (msgspec.structs.replace(order, context_tokens=order.context_tokens + 1), model, template),
        (msgspec.structs.replace(order, template="{{ another }}"), model, template),
        (order, "cd" * 48, template),
        (order, model, "cd" * 48),
    ]

    def load(loaded: tuple[LoadModel, str, str]) -> None:
        order, model, template = loaded
        info = ModelInfo("Small", model, order.context_tokens)
        line.supervisor._start.line.ready(LoadedModel(info, order, template, line.supervisor.held.facts))

    for other in others:
        load(other)
        seen.add(states.binding)
    load((msgspec.structs.replace(order, threads=7), model, template))
    seen.add(states.binding)
    assert len(seen) == 1 + len(others), "threads alone change nothing"


def test_a_memfd_has_its_size_for_good() -> None:
    descriptor = new_memfd(10)
    seals = fcntl.fcntl(descriptor, fcntl.F_GET_SEALS)
    assert seals & fcntl.F_SEAL_GROW and seals & fcntl.F_SEAL_SHRINK
    os.close(descriptor)


@pytest.mark.parametrize(
    ("progress", "read", "good"),
    [
        ([(3, 4), (4, 4)], 1, True),
        ([(0, 4), (4, 4)], 4, True),
        ([(3, 4), (4, 4)], 4, False),
        ([(0, 4), (4, 4)], 1, False),
        ([(4, 4)], 0, False),
    ],
    ids=["reused", "read whole", "more than was new", "less than was new", "all reused"],
)
def test_read_tokens_are_what_was_new(
    tmp_path: Path, progress: list[tuple[int, int]], read: int, *, good: bool
) -> None:
    def script(worker: Worker) -> None:
        order = worker.next_order()
        assert isinstance(order, Generate) and order.conversation == "c"
        for at, total in progress:
            worker.send(PromptProgress(turn=order.turn, done_tokens=at, total_tokens=total))
        worker.send(
            AnswerDone(turn=order.turn, reason="end", prompt_tokens=4, read_tokens=read, answer_tokens=0)
        )

    line, _ = loaded(tmp_path, script)
    answer = line.supervisor.answer(TurnId("t"), HISTORY, LIMIT, "c")
    if good:
        assert list(answer)[-1].usage.read_tokens == read
    else:
        with pytest.raises(WorkerError, match="unexpected"):
            list(answer)
