"""The worker's life behind its walls: hello, one model, answers, end. One thread, one channel."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from govdesk.domain.frames import (
    WORKER_OUT_OF_MEMORY,
    Cancel,
    CountTokens,
    Devices,
    ForgetState,
    Generate,
    ListDevices,
    LoadFailed,
    LoadModel,
    Probe,
    ReadAhead,
    RestoreState,
    SaveState,
    SetThreads,
    Shutdown,
    ToWorker,
    Tune,
    WorkerHello,
    WriteState,
)
from govdesk.errors import FrameError
from govdesk.process.channel import Channel, close_all
from govdesk.worker import backends, devices
from govdesk.worker.engine import Engine, LoadFailedError

MAX_WAITING = 16
"""More orders than the other side ever sends ahead: it waits for the answer to each but `ForgetState`."""
MAX_FORGOTTEN = 4096
"""More conversations than anybody deletes while one answer is made."""


class Service:
    """Serves one channel.

    Args:
        channel: to the session process.
        probes: what the self-test found, for the hello.
        gpu: the graphics backend that the walls were made for, or empty.
    """

    def __init__(self, channel: Channel[ToWorker], probes: tuple[Probe, ...], gpu: str = "") -> None:
        self._channel = channel
        self._gpu = gpu
        self._probes = probes
        self._engine: Engine | None = None
        self._waiting: deque[tuple[ToWorker, list[int]]] = deque()
        """Orders that came while another was carried out."""
        self._forgotten: set[str] = set()
        """Conversations to be forgotten before the next order."""
        self._cancelled: set[str] = set()
        """Turns among those that are not to be begun any more."""
        self._ending = False
        self._broken = False

    def run(self) -> int:
        """Until the channel closes or `Shutdown` comes; 0, or 1 when the other end broke the rules.

        `WORKER_OUT_OF_MEMORY` when there was no more of it.
        """
        try:
            self._channel.send(WorkerHello(probes=self._probes))
            while not self._ending and (received := self._next()) is not None:
                frame, descriptors = received
                if not self._take(frame, descriptors):
                    return 1
                close_all(descriptors)
                self._forget()
        except (FrameError, BrokenPipeError):
            return 1
        except MemoryError:  # what is half done in the library cannot be undone: a fresh worker is better
            return WORKER_OUT_OF_MEMORY
        return 1 if self._broken else 0

    def _next(self) -> tuple[ToWorker, list[int]] | None:
        return self._waiting.popleft() if self._waiting else self._channel.receive()

    def _take(self, frame: ToWorker, descriptors: list[int]) -> bool:
        match frame:
            case LoadModel() if descriptors and self._engine is None:
                try:
                    self._engine = Engine(tuple(descriptors), frame)
                    self._channel.send(self._engine.loaded())
                except LoadFailedError as error:
                    self._channel.send(LoadFailed(code=error.code))
            case ListDevices() if self._gpu and self._engine is None:
                self._channel.send(self._devices(compute=frame.compute))
            case Cancel():
                pass  # what it was to stop ended before it arrived
            case Shutdown():
                self._ending = True
            case _:
                return self._engine is not None and self._serve(self._engine, frame, descriptors)
        return True

    def _serve(self, engine: Engine, frame: ToWorker, descriptors: list[int]) -> bool:
        """What a loaded model is asked; False for what it cannot be."""
        match frame, descriptors:
            case Generate(), []:
                for event in engine.answer(frame, self._watch(frame.turn, yields=False)):
                    self._channel.send(event)
            case ReadAhead(), []:
                for step in engine.read_ahead(frame, self._watch(frame.turn, yields=True)):
                    self._channel.send(step)
            case CountTokens(), []:
                self._channel.send(engine.count(frame, self._watch(frame.turn, yields=False)))
            case SaveState(), []:
                self._channel.send(engine.states.size(frame.conversation))
            case WriteState(), [descriptor]:
                self._channel.send(engine.states.write(frame.conversation, descriptor))
            case RestoreState(), [descriptor]:
                self._channel.send(engine.states.restore(frame.conversation, descriptor))
            case ForgetState(), []:
                engine.states.forget(frame.conversation)
            case Tune(), []:
                self._channel.send(engine.tune(frame, self._watch(frame.turn, yields=True)))
            case SetThreads(), []:
                engine.set_threads(frame)
            case _:
                return False
        return True

    def _set_aside(self, frame: ToWorker, descriptors: list[int]) -> bool:
        """Do an order afterwards; False for more than anybody sends.

        Deletions come in any number, and each may be told more than once. They are kept by name and done
        first; but where an order for the same conversation waits, after that.
        """
        if isinstance(frame, ForgetState) and not descriptors:
            name = frame.conversation
            same = [order for order, _ in self._waiting if getattr(order, "conversation", None) == name]
            if not same:
                self._forgotten.add(name)
                return len(self._forgotten) <= MAX_FORGOTTEN
            if same[-1] == frame:
                return True
        self._waiting.append((frame, descriptors))
        return len(self._waiting) <= MAX_WAITING

    def _forget(self) -> None:
        while self._forgotten and self._engine is not None:
            self._engine.states.forget(self._forgotten.pop())

    def _devices(self, *, compute: bool) -> Devices:
        try:
            backends.load_cpu()
            backends.load_gpu(self._gpu)
        except backends.BackendError as error:
            return Devices(devices=(), code=error.code)
        return Devices(devices=devices.computing() if compute else devices.found())

    def _watch(self, turn: str, *, yields: bool) -> Callable[[], bool]:
        """What is asked again and again while one order is carried out: shall it stop?

        It stops for its own `Cancel` and at the end of everything; what `yields`, for any other order as
        well. An order that comes meanwhile is taken up afterwards.
        """
        stopped = turn in self._cancelled
        self._cancelled.discard(turn)

        def stop() -> bool:
            """Also called from inside llama.cpp, where an exception would be swallowed: none leaves it."""
            nonlocal stopped
            if not stopped and self._channel.readable():
                try:
                    received = self._channel.receive()
                except (FrameError, OSError):
                    received, self._broken = None, True
                match received:
                    case None | (Shutdown(), _):
                        self._ending = stopped = True
                    case (Cancel(turn=cancelled), descriptors):
                        stopped = cancelled == turn
                        if any(getattr(order, "turn", None) == cancelled for order, _ in self._waiting):
                            self._cancelled.add(cancelled)
                        close_all(descriptors)
                    case (order, descriptors):
                        stopped = yields
                        if not self._set_aside(order, descriptors):
                            self._broken = self._ending = stopped = True
            return stopped

        return stop
