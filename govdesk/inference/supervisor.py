"""The trusted side of the worker: starts it when it is needed, believes nothing it says, explains its end.

It defends the person against a worker that crashes, hangs or sends garbage: that costs one answer;
the worker is stopped by the ladder and the next call starts a fresh one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import TypeVar

import msgspec

from govdesk.domain.frames import (
    AnswerFailed,
    Cancel,
    ChatMessage,
    CountTokens,
    Devices,
    FromWorker,
    Generate,
    GpuBackend,
    ListDevices,
    Loaded,
    LoadFailed,
    LoadModel,
    Probe,
    ReadAhead,
    SetThreads,
    Shutdown,
    Tune,
    Tuned,
    WorkerEnded,
    WorkerHello,
)
from govdesk.domain.ids import ModelDigest, RecordSeq, TurnId
from govdesk.domain.inference import Count, Piece, Read, Stopped
from govdesk.domain.record import Entry
from govdesk.domain.turn import ModelInfo, Reading, Role, Sampling
from govdesk.errors import FrameError, GovDeskError, ModelError, WallError, WorkerError
from govdesk.inference import failures, reading, records, store, words
from govdesk.inference.answer import GarbageError, Hearing
from govdesk.inference.gguf import GgufFacts
from govdesk.inference.graphics import Graphics
from govdesk.inference.manifest import Manifest
from govdesk.inference.plan import default_plan
from govdesk.inference.prompt_states import Ask
from govdesk.inference.repetition import Repetition
from govdesk.inference.store import Model
from govdesk.inference.worker_ports import Broker, WorkerChannel

_T = TypeVar("_T")
START_SECONDS = 20.0
LOAD_SECONDS = 120.0
PROBE_SECONDS = 30.0
"""Longest a graphics driver may take to start and to multiply two small matrices."""
STOP_SECONDS = 3.0
"""The broker's ladder takes less."""
SILENCE_SECONDS = 120.0
"""Longest the worker may say nothing while it answers: one batch of a prompt on a slow machine."""
CANCEL_SECONDS = 2.0
"""A cancelled worker that still has not ended its answer after this is stopped."""
_GIVE_WAY_SECONDS = 0.02
"""How often a reading ahead that is in the way is told to stop."""
_EXIT_WALLS = 5
"""How a worker ends whose walls cannot be had; it says nothing before they stand."""


class Supervisor:
    """Implements `chat.ports.Inference`.

    Args:
        broker: starts and stops workers.
        find_model: the approved model; raises ModelError.
        record: makes an audit record durable before the action.
        require_closed: raises WallError when a probe found an open channel, or one was not tried.
        plan: how a model is to be loaded on this machine now.
        tuned: what was measured to suit a model on this machine, if it was.
        graphics: whether it may compute on a graphics card; by default it may not.
    """

    def __init__(
        self,
        broker: Broker,
        find_model: Callable[[], Model],
        record: Callable[[Entry], RecordSeq],
        require_closed: Callable[[tuple[Probe, ...]], None],
        plan: Callable[[Manifest, GgufFacts], LoadModel] = default_plan,
        tuned: Callable[[ModelDigest], SetThreads | None] = lambda _digest: None,
        graphics: Graphics | None = None,
    ) -> None:
        self.graphics = graphics or Graphics()
        self._broker = broker
        self._find_model = find_model
        self._record = record
        self._require_closed = require_closed
        self._plan = plan
        self._tuned = tuned
        self._channel: WorkerChannel | None = None
        self._info: ModelInfo | None = None
        self._loading: tuple[LoadModel, str, str] | None = None
        self._turn: TurnId | None = None
        self._ordered = False
        """The worker has the running turn's order, so a cancel may be sent."""
        self._cancelled_at: float | None = None
        """When the running turn was cancelled; never outlives it."""
        self._reading = False
        """The running order is a reading ahead: it gives way to any other."""
        self._one_order = threading.Lock()
        self._state = threading.Lock()
        self._starting = threading.Lock()
        self.probes: tuple[Probe, ...] = ()
        """What the running worker's self-test found."""

    def model(self) -> ModelInfo:
        """The model that will answer; starts the worker and loads the model when that is needed."""
        with self._starting:  # two that ask at once get the same worker
            return self._info or self._start()

    def answer(
        self,
        turn: TurnId,
        history: tuple[tuple[Role, str], ...],
        sampling: Sampling,
        conversation: str = "",
    ) -> Generator[Reading | Piece | Stopped, None, None]:
        """Generate one answer; see `chat.ports.Inference`."""
        with self._only_order():
            yield from self._answer(turn, history, sampling, conversation)

    def _answer(
        self, turn: TurnId, history: tuple[tuple[Role, str], ...], sampling: Sampling, conversation: str
    ) -> Generator[Reading | Piece | Stopped, None, None]:
        info, channel = self._ready()
        order = Generate(
            turn=turn,
            conversation=conversation,
            messages=_messages(history),
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            repeat_penalty=sampling.repeat_penalty,
            seed=sampling.seed if sampling.seed is not None else secrets.randbits(31),
            min_p=sampling.min_p,
            grammar=sampling.grammar,
        )
        hearing = Hearing(turn, info.context_tokens, sampling.max_tokens)
        repetition, loop = Repetition(), False
        ended = False
        try:
            self._begin(turn, reading=False)
            self._order(channel, order)
            while not ended:
                try:
                    event = hearing.hear(self._next(channel, SILENCE_SECONDS))
                except GarbageError:
                    raise self._broken(channel, "sent something unexpected", "worker.garbage") from None
                ended = isinstance(event, Stopped | AnswerFailed)
                if isinstance(event, AnswerFailed):
                    raise words.answer_failed(event)
                if isinstance(event, Piece) and not loop and repetition.feed(event.untrusted_text):
                    loop = True
                    self.cancel()
                if isinstance(event, Stopped) and loop and event.reason == "cancelled":
                    event = Stopped("loop", event.usage)
                yield event
        finally:
            self._end()
            if not ended and self._channel is channel:
                # left in the middle (the consumer stopped, or an error): this worker's state is unknown
                self.stop()

    def count(self, turn: TurnId, history: tuple[tuple[Role, str], ...]) -> Count:
        """How many tokens a history takes; see `chat.ports.Inference`."""
        with self._only_order():
            _, channel = self._ready()
            try:
                self._begin(turn, reading=False)
                order = CountTokens(turn=turn, messages=_messages(history))
                return reading.count(self._exchange(channel, order), turn)
            except GarbageError:
                raise self._broken(channel, "sent something unexpected", "worker.garbage") from None
            finally:
                self._end()

    def read_ahead(
        self,
        turn: TurnId,
        history: tuple[tuple[Role, str], ...],
        conversation: str,
        wanted: Callable[[], bool],
    ) -> Read | None:
        """Read what is certain of a prompt; see `chat.ports.Inference`."""
        if not self._one_order.acquire(blocking=False):
            return None
        try:
            info, channel = self._ready()
            self._begin(turn, reading=True)
            if not wanted():  # looked at after a stop can find it: a stop is never lost between the two
                return None
            order = ReadAhead(turn=turn, conversation=conversation, messages=_messages(history))
            hearing = reading.ReadHearing(turn, info.context_tokens)
            last = self._exchange(channel, order, goes_on=hearing.goes_on)
            return hearing.end(last, cancelled=self._cancelled_at is not None)
        except GarbageError:
            raise self._broken(channel, "sent something unexpected", "worker.garbage") from None
        finally:
            self._end()
            self._one_order.release()

    def tune(self, order: Tune) -> Tuned | None:
        """Let the worker measure itself; any question ends that. None: it has no model, or is at something.

        Raises:
            WorkerError: it crashed, hung or sent something else.
        """
        if not self._one_order.acquire(blocking=False):
            return None
        try:
            channel = self._channel
            if channel is None or self._info is None:
                return None
            self._begin(TurnId(order.turn), reading=True)
            frame = self._exchange(channel, order)
            if isinstance(frame, Tuned) and frame.turn == order.turn:
                return frame
            raise self._broken(channel, "sent something unexpected", "worker.garbage")
        finally:
            self._end()
            self._one_order.release()

    def model_loaded(self) -> ModelInfo | None:
        """The model that is loaded now, if one is."""
        return self._info

    def _exchange(
        self,
        channel: WorkerChannel,
        order: msgspec.Struct,
        descriptors: tuple[int, ...] = (),
        patience_seconds: float = SILENCE_SECONDS,
        goes_on: Callable[[FromWorker], bool] = lambda _: False,
        silent: Callable[[], GovDeskError] | None = None,
    ) -> FromWorker:
        """One order and the frame that ends it; left before that, the worker's state is unknown.

        `goes_on` hears each frame, and says whether another one follows. `silent`: what to raise when it says
        nothing for too long, where that is not its fault.
        """
        heard = False
        try:
            self._order(channel, order, descriptors)
            while goes_on(frame := self._next(channel, patience_seconds, silent=silent)):
                pass
            heard = True
        except GarbageError:
            heard = True  # it is stopped for that, and on record
            raise
        finally:
            if not heard and self._channel is channel:
                self.stop()
        return frame

    @property
    def loaded(self) -> tuple[LoadModel, str, str] | None:
        """How the loaded model was loaded, its digest and its template's; None while none is."""
        return self._loading if self._info is not None else None

    def aside(
        self,
        work: Callable[[ModelInfo, Ask], _T],
        *,
        wait_seconds: float,
    ) -> _T | None:
        """Do something with the loaded worker while it does nothing else; None when it is not to be had.

        Args:
            work: gets the loaded model, and a way to send one order and hear one frame.
            wait_seconds: longest that something else may still be going on; a reading ahead is asked to stop.

        Raises:
            WorkerError: it crashed, hung or sent garbage; it is gone, and the next call starts a fresh one.
        """
        if wait_seconds:
            self.stop_reading()
        if not self._one_order.acquire(timeout=wait_seconds):
            return None
        try:
            channel, info = self._channel, self._info
            if channel is None or info is None:
                return None
            try:
                return work(info, partial(self._exchange, channel))
            except GarbageError:
                raise self._broken(channel, "sent something unexpected", "worker.garbage") from None
        finally:
            self._one_order.release()

    def tell(self, order: msgspec.Struct) -> None:
        """Tell the worker, if there is one, what needs no answer; it is done after what it does now.

        Raises:
            WorkerError: it is gone; the next call starts a fresh one.
        """
        if (channel := self._channel) is not None and self._info is not None:
            self._send(channel, order)

    def cancel(self) -> None:
        """Ask the running answer to stop; from any thread."""
        self._cancel(reading=False)

    def stop_reading(self) -> None:
        """Ask a reading ahead to stop, if there is one; from any thread."""
        self._cancel(reading=True)

    def _cancel(self, *, reading: bool) -> None:
        with self._state:
            turn, channel = self._turn, self._channel
            if self._reading is not reading or turn is None or channel is None:
                return
            if self._cancelled_at is not None:
                return
            self._cancelled_at = time.monotonic()
            if not self._ordered:
                return  # it follows the order
        with contextlib.suppress(OSError):
            channel.send(Cancel(turn=turn))

    @contextlib.contextmanager
    def _only_order(self) -> Iterator[None]:
        """The worker does one thing at a time; a reading ahead is told to stop, and ends at once."""
        while not self._one_order.acquire(timeout=_GIVE_WAY_SECONDS):
            self.stop_reading()  # again: it may have begun after the last time
        try:
            yield
        finally:
            self._one_order.release()

    def _ready(self) -> tuple[ModelInfo, WorkerChannel]:
        info = self.model()
        channel = self._channel
        if channel is None:  # stopped in between
            raise words.stopped()
        return info, channel

    def _begin(self, turn: TurnId, *, reading: bool) -> None:
        with self._state:
            self._turn, self._reading, self._ordered, self._cancelled_at = turn, reading, False, None

    def _end(self) -> None:
        with self._state:
            self._turn = self._cancelled_at = None
            self._reading = False

    def _order(
        self, channel: WorkerChannel, order: msgspec.Struct, descriptors: tuple[int, ...] = ()
    ) -> None:
        """Send the order; a worker forgets a cancel that comes before it, so such a cancel follows here."""
        self._send(channel, order, descriptors)
        with self._state:
            self._ordered = True
            turn = self._turn if self._cancelled_at is not None else None
        if turn is not None:
            self._send(channel, Cancel(turn=turn))

    def stop(self) -> None:
        """Stop the worker: ask, grace, terminate, kill. The next call starts a fresh one."""
        channel, self._channel, self._info = self._channel, None, None
        if channel is not None:
            with contextlib.suppress(OSError):
                channel.send(Shutdown())
            channel.close()
            self._broker.stop_worker()
            self._broker.worker_end(STOP_SECONDS)

    def _start(self) -> ModelInfo:
        model = self._find_model()
        try:
            opened = store.open_verified(model)
        except ModelError as error:
            self._record(records.load(model, "failure", {"code": error.code}))
            raise
        try:
            self._record(records.load(model, "success", {"bytes": model.variant.bytes}))
            order = self._plan(model.manifest, opened.facts)
            gpu = self.graphics.choose(self._probe)
            done = self._load_on_graphics(model, opened, order, gpu) if gpu else None
            if done is None:
                self._channel = self._broker.start_worker()
                self._prove_walls(self._channel)
                done = self._load(model, opened, order), order
            info, order = done  # as it was loaded: what is kept of a prompt is bound to where it was computed
            self._loading = (order, info.digest, model.manifest.template_sha384)
            if self._channel is not None and (threads := self._tuned(info.digest)) is not None:
                self._send(self._channel, threads)
            self._info = info
        except BaseException:
            self.stop()  # nothing that is half started stays
            raise
        finally:
            store.close_all(opened.descriptors)
        return info

    def _load(self, model: Model, opened: store.Opened, order: LoadModel) -> ModelInfo:
        """Have the worker that was started load the model."""
        channel = self._channel
        if channel is None:  # stopped in between
            raise words.stopped()
        self._send(channel, order, opened.descriptors)
        return self._loaded(model, channel, self._next(channel, LOAD_SECONDS), order.context_tokens)

    def _load_on_graphics(
        self, model: Model, opened: store.Opened, order: LoadModel, gpu: GpuBackend
    ) -> tuple[ModelInfo, LoadModel] | None:
        """Load it on a graphics card, and how; None when that failed, which is recorded and explained."""
        try:
            placed = self.graphics.place(gpu, self._devices(gpu, compute=False), opened.facts, order)
            code = self.graphics.code(gpu)
            if placed.devices:
                layers = {device: placed.device_layers[at] for at, device in enumerate(placed.devices)}
                self._record(records.load(model, "success", {**self.graphics.opened(gpu), "layers": layers}))
                return self._load(model, opened, placed), placed
        except (WorkerError, ModelError) as error:
            if error.code == words.stopped().code:
                raise
            code = error.code
            self.graphics.failed(gpu, code)
        self.stop()
        self._record(records.load(model, "failure", {"backend": gpu, "code": code}))
        return None

    def _probe(self, gpu: GpuBackend) -> Devices:
        """Try a graphics backend in a worker of its own: what hangs or crashes there costs only that."""
        try:
            return self._devices(gpu, compute=True)
        except WorkerError as error:
            if error.code == words.stopped().code:
                raise
            return Devices(devices=(), code=error.code)
        finally:
            self.stop()

    def _devices(self, gpu: GpuBackend, *, compute: bool) -> Devices:
        """Start a worker that may use this backend, and ask it what is there."""
        self._channel = channel = self._broker.start_worker(gpu)
        self._prove_walls(channel)
        self._send(channel, ListDevices(compute=compute))
        found = self._next(channel, PROBE_SECONDS)
        if not isinstance(found, Devices):
            raise self._broken(channel, "answered a question for devices otherwise", "worker.garbage")
        return found

    def _loaded(self, model: Model, channel: WorkerChannel, loaded: FromWorker, context: int) -> ModelInfo:
        match loaded:
            case Loaded(context_tokens=tokens) if tokens <= context:
                if loaded.template_sha384 != model.manifest.template_sha384:
                    raise self._broken(
                        channel, "found another chat template than the manifest names", "model.template"
                    )
                return ModelInfo(model.manifest.title, model.info.digest, tokens)
            case LoadFailed():
                raise words.load_failed(loaded.code, model.path.name)
            case _:
                raise self._broken(
                    channel, "answered the loading of a model with something else", "worker.garbage"
                )

    def _prove_walls(self, channel: WorkerChannel) -> None:
        """The worker's first frame: every wall was tried, and holds. Recorded either way."""
        hello = self._next(channel, START_SECONDS, ended=self._ended_before_hello)
        if not isinstance(hello, WorkerHello):
            raise self._broken(channel, "did not introduce itself", "worker.garbage")
        if not records.plain(hello.probes):
            raise self._broken(channel, "reported a self-test that is none", "worker.garbage")
        try:
            self._require_closed(hello.probes)
        except WallError as error:
            self._self_test_record("failure", hello.probes, error.code)
            raise
        self.probes = hello.probes
        self._self_test_record("success", hello.probes)

    def _send(self, channel: WorkerChannel, frame: msgspec.Struct, descriptors: tuple[int, ...] = ()) -> None:
        try:
            channel.send(frame, descriptors)
        except OSError:
            raise self._ended(channel) from None

    def _next(
        self,
        channel: WorkerChannel,
        patience_seconds: float,
        *,
        ended: Callable[[WorkerChannel], GovDeskError] | None = None,
        silent: Callable[[], GovDeskError] | None = None,
    ) -> FromWorker:
        """The worker's next frame; its silence, its end or its garbage stops it and is explained."""
        ended = ended or self._ended
        deadline = time.monotonic() + patience_seconds
        while True:
            now = time.monotonic()
            cancelled_at = self._cancelled_at
            limit = deadline if cancelled_at is None else min(deadline, cancelled_at + CANCEL_SECONDS)
            if now >= limit and silent is not None:
                raise silent()
            if now >= limit:
                raise self._broken(channel, "stopped answering", "worker.hung")
            try:
                received = channel.receive(min(limit - now, 0.5))
            except TimeoutError:
                continue
            except FrameError as error:
                raise self._broken(channel, "sent what is no message of ours", "worker.garbage") from error
            except (OSError, ValueError):  # ValueError: we closed it meanwhile, and it has no number any more
                raise ended(channel) from None
            if received is None:
                raise ended(channel)
            frame, descriptors = received
            for descriptor in descriptors:
                os.close(descriptor)
            return frame

    def _broken(self, channel: WorkerChannel, what: str, code: str) -> WorkerError:
        """What to raise for a worker that did wrong; it is stopped, and that is recorded."""
        if self._channel is not channel:
            return words.stopped()
        self.stop()
        self._failure_record(code)
        return words.worker_failed(f"The part of GovDesk that runs the model {what}.", code)

    def _ended(self, channel: WorkerChannel) -> GovDeskError:
        """What to raise for a worker whose channel ended: it died, or `stop` was called meanwhile."""
        if self._channel is not channel:
            return words.stopped()
        return self._ended_as(self._bury(channel))

    def _ended_as(self, end: WorkerEnded | None) -> WorkerError:
        error = failures.ended(end)
        self._failure_record(error.code, signal=end.signal if end is not None else 0)
        return error

    def _ended_before_hello(self, channel: WorkerChannel) -> GovDeskError:
        """A worker that cannot have its walls ends before it says anything."""
        if self._channel is not channel:
            return words.stopped()
        end = self._bury(channel)
        if end is None or end.exit_code != _EXIT_WALLS:
            return self._ended_as(end)
        error = words.walls_missing()
        self._self_test_record("failure", (), error.code)
        return error

    def _bury(self, channel: WorkerChannel) -> WorkerEnded | None:
        self._channel = self._info = None
        channel.close()
        self._broker.stop_worker()
        return self._broker.worker_end(START_SECONDS)

    def _self_test_record(self, outcome: str, probes: tuple[Probe, ...], code: str | None = None) -> None:
        self._record(records.self_test(outcome, probes, code))

    def _failure_record(self, code: str, **found: int) -> None:
        self._record(records.failure(code, found))


def _messages(history: tuple[tuple[Role, str], ...]) -> tuple[ChatMessage, ...]:
    return tuple(ChatMessage(role=role.value, text=text) for role, text in history)
