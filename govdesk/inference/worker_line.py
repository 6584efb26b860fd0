"""The line to one worker, from its start to its end: orders, frames, patience, cancelling, and why it ended.

Nothing that comes over it is believed: silence, garbage and an end stop the worker, are recorded once and are
explained. A line that ended stays ended; the next worker has a line of its own.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import msgspec

from govdesk.domain.frames import Cancel, FromWorker, GpuBackend, LoadModel, Shutdown, WorkerEnded
from govdesk.domain.ids import RecordSeq, TurnId
from govdesk.domain.record import Entry
from govdesk.domain.turn import ModelInfo
from govdesk.errors import FrameError, GovDeskError, WorkerError
from govdesk.inference import failures, patience, records, words
from govdesk.inference.answer import GarbageError
from govdesk.inference.computing import Computing
from govdesk.inference.gguf import GgufFacts
from govdesk.inference.worker_ports import Broker

_POLL_SECONDS = 0.5
"""How often a wait for a frame looks whether the order was cancelled meanwhile."""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """The model a worker holds, and how it was loaded."""

    info: ModelInfo
    order: LoadModel
    template_sha384: str
    facts: GgufFacts
    computing: Computing = field(default_factory=Computing)


class WorkerLine:
    """Starts a worker and speaks with it. One thread gives orders; any may cancel, tell and stop.

    Args:
        broker: starts and stops workers.
        record: makes an audit record durable.
        gpu: the graphics backend that the worker may use, or empty.
    """

    def __init__(self, broker: Broker, record: Callable[[Entry], RecordSeq], gpu: GpuBackend = "") -> None:
        self.gpu = gpu
        self._broker = broker
        self._record = record
        self._loaded: LoadedModel | None = None
        self._on_failure: Callable[[WorkerError], None] = lambda _: None
        self._turn: TurnId | None = None
        self._ordered = False
        """The worker has the running turn's order, so a cancel may be sent."""
        self._cancelled_at: float | None = None
        """When the running turn was cancelled; never outlives it."""
        self._reading = False
        """The running order is a reading ahead: it gives way to any other."""
        self._state = threading.Lock()
        self._ended = False
        self.channel = broker.start_worker(gpu)

    @property
    def loaded(self) -> LoadedModel | None:
        """The model that this worker can answer with; None before it is loaded and after the end."""
        return None if self._ended else self._loaded

    def ready(self, loaded: LoadedModel, on_failure: Callable[[WorkerError], None] = lambda _: None) -> None:
        """From now on it can answer.

        Args:
            loaded: what it holds.
            on_failure: hears of its failure, if it fails, once that is on record; not of a stop on purpose.
        """
        self._on_failure = on_failure
        self._loaded = loaded

    @property
    def silence_seconds(self) -> float:
        """Longest that it may say nothing while it works."""
        return patience.silence_seconds(self._loaded.facts.file_bytes if self._loaded is not None else 0)

    @property
    def cancelled(self) -> bool:
        """Whether the running turn was cancelled."""
        return self._cancelled_at is not None

    @contextlib.contextmanager
    def turn(self, turn: TurnId, *, reading: bool = False) -> Iterator[None]:
        """While this lasts, the turn can be cancelled. `reading`: it gives way to any other."""
        with self._state:
            self._turn, self._reading, self._ordered, self._cancelled_at = turn, reading, False, None
        try:
            yield
        finally:
            with self._state:
                self._turn = self._cancelled_at = None
                self._reading = False

    @contextlib.contextmanager
    def judged(self) -> Iterator[None]:
        """A worker whose words turn out to be garbage in here is stopped, and that is explained."""
        try:
            yield
        except GarbageError:
            raise self.broken("sent something unexpected", "worker.garbage") from None

    def cancel(self, *, reading: bool) -> None:
        """Ask the running turn to stop, if it is a reading ahead or if it is not; from any thread."""
        with self._state:
            turn = self._turn
            if self._reading is not reading or turn is None or self._ended:
                return
            if self._cancelled_at is not None:
                return
            self._cancelled_at = time.monotonic()
            if not self._ordered:
                return  # it follows the order
        with contextlib.suppress(OSError):
            self.channel.send(Cancel(turn=turn))

    def order(self, order: msgspec.Struct, descriptors: tuple[int, ...] = ()) -> None:
        """Send the turn's order; a worker forgets a cancel that comes before it: such a one follows here."""
        self.send(order, descriptors)
        with self._state:
            self._ordered = True
            turn = self._turn if self._cancelled_at is not None else None
        if turn is not None:
            self.send(Cancel(turn=turn))

    def exchange(
        self,
        order: msgspec.Struct,
        descriptors: tuple[int, ...] = (),
        patience_seconds: float | None = None,
        goes_on: Callable[[FromWorker], bool] = lambda _: False,
        silent: Callable[[], GovDeskError] | None = None,
    ) -> FromWorker:
        """One order and the frame that ends it; left before that, the worker is stopped: it is lost track of.

        Args:
            order: what to do.
            descriptors: ride on the order.
            patience_seconds: longest between two frames; None: as long as for an answer.
            goes_on: hears each frame, and says whether another one follows.
            silent: what to raise when its silence is no fault of its own, the session ends, say.

        Raises:
            GarbageError: from `goes_on`; to be met in `judged`.
            GovDeskError: the worker failed, or was stopped.
        """
        seconds = self.silence_seconds if patience_seconds is None else patience_seconds
        heard = False
        try:
            self.order(order, descriptors)
            while goes_on(frame := self.next(seconds, silent=silent)):
                pass
            heard = True
        except GarbageError:
            heard = True  # it is stopped for that, and on record
            raise
        finally:
            if not heard:
                self.stop()
        return frame

    def send(self, frame: msgspec.Struct, descriptors: tuple[int, ...] = ()) -> None:
        """Send one frame.

        Raises:
            GovDeskError: the worker is gone.
        """
        try:
            self.channel.send(frame, descriptors)
        except OSError:
            raise self._gone(self.failed) from None

    def next(
        self,
        patience_seconds: float,
        explain: Callable[[WorkerEnded | None], GovDeskError] | None = None,
        silent: Callable[[], GovDeskError] | None = None,
    ) -> FromWorker:
        """The worker's next frame; its silence, its end or its garbage stops it and is explained.

        Args:
            patience_seconds: longest to wait.
            explain: what to raise for a worker that ended, in place of the usual; it also records it.
            silent: what to raise for one that said nothing, in place of calling it hung.

        Raises:
            GovDeskError: there is none.
        """
        explain = explain or self.failed
        deadline = time.monotonic() + patience_seconds
        while True:
            now = time.monotonic()
            cancelled_at = self._cancelled_at
            limit = deadline
            if cancelled_at is not None:
                limit = min(deadline, cancelled_at + patience.cancel_seconds(self.gpu))
            if now >= limit and silent is not None:
                raise silent()
            if now >= limit:
                raise self.broken("stopped answering", "worker.hung")
            try:
                received = self.channel.receive(min(limit - now, _POLL_SECONDS))
            except TimeoutError:
                continue
            except FrameError as error:
                raise self.broken("sent what is no message of ours", "worker.garbage") from error
            except (OSError, ValueError):  # ValueError: we closed it meanwhile, and it has no number any more
                raise self._gone(explain) from None
            if received is None:
                raise self._gone(explain)
            frame, descriptors = received
            for descriptor in descriptors:
                os.close(descriptor)
            return frame

    def stop(self) -> None:
        """Stop the worker, if it is not yet: ask, grace, terminate, kill. From any thread."""
        if self._end():
            self._stop()

    def broken(self, what: str, code: str) -> WorkerError:
        """What to raise for a worker that did wrong; it is stopped, and that is recorded."""
        if not self._end():
            return words.stopped()
        self._stop()
        error = words.worker_failed(f"The part of GovDesk that runs the model {what}.", code)
        return self._recorded(error, {})

    def failed(self, end: WorkerEnded | None) -> WorkerError:
        """What to raise for a worker that ended by itself, as the broker saw it; that is recorded."""
        return self._recorded(failures.ended(end), {"signal": end.signal if end is not None else 0})

    def _recorded(self, error: WorkerError, found: dict[str, int]) -> WorkerError:
        self._record(records.failure(error.code, found, self.gpu))
        self._on_failure(error)
        return error

    def _gone(self, explain: Callable[[WorkerEnded | None], GovDeskError]) -> GovDeskError:
        """What to raise for a worker whose channel ended: it died, or `stop` was called meanwhile."""
        if not self._end():
            return words.stopped()
        self.channel.close()
        self._broker.stop_worker()
        return explain(self._broker.worker_end(patience.START_SECONDS))

    def _end(self) -> bool:
        """The line ends now; False when it had ended before."""
        with self._state:
            before, self._ended = self._ended, True
        return not before

    def _stop(self) -> None:
        with contextlib.suppress(OSError):
            self.channel.send(Shutdown())
        self.channel.close()
        self._broker.stop_worker()
        self._broker.worker_end(patience.STOP_SECONDS)
