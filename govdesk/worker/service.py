"""The worker's life behind its walls: hello, one model, answers, end. One thread, one channel."""

from __future__ import annotations

from govdesk.domain.frames import (
    Cancel,
    Devices,
    Generate,
    ListDevices,
    LoadFailed,
    LoadModel,
    Probe,
    Shutdown,
    ToWorker,
    WorkerHello,
)
from govdesk.errors import FrameError
from govdesk.process.channel import Channel, close_all
from govdesk.worker import backends, devices
from govdesk.worker.engine import Engine, LoadFailedError


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
        self._ending = False
        self._broken = False

    def run(self) -> int:
        """Until the channel closes or `Shutdown` comes; 0, or 1 when the other end broke the rules."""
        try:
            self._channel.send(WorkerHello(probes=self._probes))
            while not self._ending and (received := self._channel.receive()) is not None:
                frame, descriptors = received
                if not self._take(frame, descriptors):
                    return 1
                close_all(descriptors)
        except (FrameError, BrokenPipeError):
            return 1
        return 1 if self._broken else 0

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
            case Generate() if self._engine is not None:
                self._answer(self._engine, frame)
            case Cancel():
                pass  # the answer ended before the cancel arrived
            case Shutdown():
                self._ending = True
            case _:
                return False
        return True

    def _devices(self, *, compute: bool) -> Devices:
        try:
            backends.load_cpu()
            backends.load_gpu(self._gpu)
        except backends.BackendError as error:
            return Devices(devices=(), code=error.code)
        return Devices(devices=devices.computing() if compute else devices.found())

    def _answer(self, engine: Engine, order: Generate) -> None:
        stopped = False

        def cancelled() -> bool:
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
                    case (Cancel(turn=order.turn), _):
                        stopped = True
                    case (_, descriptors):
                        close_all(descriptors)
            return stopped

        for event in engine.answer(order, cancelled):
            self._channel.send(event)
