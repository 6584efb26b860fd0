"""The trusted side of the worker: starts it when it is needed, believes nothing it says, explains its end.

It defends the person against a worker that crashes, hangs or sends garbage: that costs one answer;
the worker is stopped by the ladder and the next call starts a fresh one.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import signal
import threading
import time
from collections.abc import Callable, Generator
from typing import Protocol

import msgspec

from govdesk.domain.frames import (
    AnswerFailed,
    Cancel,
    ChatMessage,
    FromWorker,
    Generate,
    Loaded,
    LoadFailed,
    LoadModel,
    Probe,
    Shutdown,
    WorkerEnded,
    WorkerHello,
)
from govdesk.domain.ids import RecordSeq, TurnId
from govdesk.domain.inference import Piece, Stopped
from govdesk.domain.record import Entry, Event
from govdesk.domain.turn import ModelInfo, Reading, Role, Sampling
from govdesk.errors import FrameError, GovDeskError, ModelError, WallError, WorkerError
from govdesk.inference import store, words
from govdesk.inference.answer import GarbageError, Hearing
from govdesk.inference.manifest import Manifest
from govdesk.inference.plan import default_plan
from govdesk.inference.store import Model

START_SECONDS = 20.0
LOAD_SECONDS = 120.0
STOP_SECONDS = 3.0
"""The broker's ladder takes less."""
SILENCE_SECONDS = 120.0
"""Longest the worker may say nothing while it answers: one batch of a prompt on a slow machine."""
CANCEL_SECONDS = 2.0
"""A cancelled worker that still has not ended its answer after this is stopped."""
_CHANNEL = re.compile(r"[a-z0-9_-]{1,32}")
_FOUND = re.compile(r"[A-Za-z0-9]{1,20}|\?")
_EXIT_WALLS = 5
"""How a worker ends whose walls cannot be had; it says nothing before they stand."""


class WorkerChannel(Protocol):
    """What the supervisor needs of a channel (`govdesk.process.channel.Channel`)."""

    def send(self, frame: msgspec.Struct, descriptors: tuple[int, ...] = ()) -> None:
        """Send one frame."""

    def receive(self, timeout_seconds: float | None = None) -> tuple[FromWorker, list[int]] | None:
        """The next frame, or None at the end."""

    def close(self) -> None:
        """Close this end."""


class Broker(Protocol):
    """What the supervisor needs of the broker (`govdesk.process.link.BrokerLink`)."""

    def start_worker(self) -> WorkerChannel:
        """A fresh worker's channel."""

    def stop_worker(self) -> None:
        """Stop the worker by the ladder."""

    def worker_end(self, timeout_seconds: float) -> WorkerEnded | None:
        """How the worker ended."""


class Supervisor:
    """Implements `chat.ports.Inference`.

    Args:
        broker: starts and stops workers.
        find_model: the approved model; raises ModelError.
        record: makes an audit record durable before the action.
        require_closed: raises WallError when a probe found an open channel, or one was not tried.
        plan: how a model is to be loaded on this machine now.
    """

    def __init__(
        self,
        broker: Broker,
        find_model: Callable[[], Model],
        record: Callable[[Entry], RecordSeq],
        require_closed: Callable[[tuple[Probe, ...]], None],
        plan: Callable[[Manifest], LoadModel] = default_plan,
    ) -> None:
        self._broker = broker
        self._find_model = find_model
        self._record = record
        self._require_closed = require_closed
        self._plan = plan
        self._channel: WorkerChannel | None = None
        self._info: ModelInfo | None = None
        self._turn: TurnId | None = None
        self._ordered = False
        """The worker has the running turn's order, so a cancel may be sent."""
        self._cancelled_at: float | None = None
        """When the running turn was cancelled; never outlives it."""
        self._state = threading.Lock()
        self._starting = threading.Lock()
        self.probes: tuple[Probe, ...] = ()
        """What the running worker's self-test found."""

    @property
    def loaded_digest(self) -> str:
        """Digest of the model that is loaded; empty while none is."""
        info = self._info
        return info.digest if info else ""

    def model(self) -> ModelInfo:
        """The model that will answer; starts the worker and loads the model when that is needed."""
        with self._starting:  # two that ask at once get the same worker
            return self._info or self._start()

    def answer(
        self, turn: TurnId, history: tuple[tuple[Role, str], ...], sampling: Sampling
    ) -> Generator[Reading | Piece | Stopped, None, None]:
        """Generate one answer; see `chat.ports.Inference`."""
        info = self.model()
        channel = self._channel
        if channel is None:  # stopped in between
            raise words.stopped()
        order = Generate(
            turn=turn,
            messages=tuple(ChatMessage(role=role.value, text=text) for role, text in history),
            max_tokens=sampling.max_tokens,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            repeat_penalty=sampling.repeat_penalty,
            seed=sampling.seed if sampling.seed is not None else secrets.randbits(31),
        )
        hearing = Hearing(turn, info.context_tokens, sampling.max_tokens)
        ended = False
        try:
            with self._state:
                self._turn, self._ordered, self._cancelled_at = turn, False, None
            self._order(channel, order)
            while not ended:
                try:
                    event = hearing.hear(self._next(channel, SILENCE_SECONDS))
                except GarbageError:
                    raise self._broken(channel, "sent something unexpected", "worker.garbage") from None
                ended = isinstance(event, Stopped | AnswerFailed)
                if isinstance(event, AnswerFailed):
                    raise words.answer_failed(event)
                yield event
        finally:
            with self._state:
                self._turn = self._cancelled_at = None
            if not ended and self._channel is channel:
                # left in the middle (the consumer stopped, or an error): this worker's state is unknown
                self.stop()

    def cancel(self) -> None:
        """Ask the running answer to stop; from any thread."""
        with self._state:
            turn, channel = self._turn, self._channel
            if turn is None or channel is None or self._cancelled_at is not None:
                return
            self._cancelled_at = time.monotonic()
            if not self._ordered:
                return  # it follows the order
        with contextlib.suppress(OSError):
            channel.send(Cancel(turn=turn))

    def _order(self, channel: WorkerChannel, order: Generate) -> None:
        """Send the order; a worker forgets a cancel that comes before it, so such a cancel follows here."""
        self._send(channel, order)
        with self._state:
            self._ordered = True
            cancelled = self._cancelled_at is not None
        if cancelled:
            self._send(channel, Cancel(turn=order.turn))

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
            self._record(_model_entry(model, "failure", {"code": error.code}))
            raise
        try:
            self._record(_model_entry(model, "success", {"bytes": model.variant.bytes}))
            self._channel = channel = self._broker.start_worker()
            self._prove_walls(channel)
            order = self._plan(model.manifest)
            self._send(channel, order, opened.descriptors)
            loaded = self._next(channel, LOAD_SECONDS)
            info = self._info = self._loaded(model, channel, loaded, order.context_tokens)
        except BaseException:
            self.stop()  # nothing that is half started stays
            raise
        finally:
            store.close_all(opened.descriptors)
        return info

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
        if not _is_plain(hello.probes):
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
    ) -> FromWorker:
        """The worker's next frame; its silence, its end or its garbage stops it and is explained."""
        ended = ended or self._ended
        deadline = time.monotonic() + patience_seconds
        while True:
            now = time.monotonic()
            cancelled_at = self._cancelled_at
            limit = deadline if cancelled_at is None else min(deadline, cancelled_at + CANCEL_SECONDS)
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
        code = "worker.crashed"
        if end is not None and end.signal == signal.SIGKILL:
            code = "worker.killed"
        self._failure_record(code, signal=end.signal if end is not None else 0)
        why = " Perhaps the machine ran out of memory." if code == "worker.killed" else ""
        return words.worker_failed(f"The part of GovDesk that runs the model ended unexpectedly.{why}", code)

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
        channels = {probe.channel: int(probe.blocked) for probe in probes}
        self._record(
            Entry(
                event=Event.SELF_TEST,
                outcome=outcome,
                object="worker",
                fields={"channels": channels} if code is None else {"channels": channels, "code": code},
            )
        )

    def _failure_record(self, code: str, **found: int) -> None:
        self._record(
            Entry(
                event=Event.WORKER_FAILURE, outcome="failure", object="worker", fields={"code": code, **found}
            )
        )


def _is_plain(untrusted_probes: tuple[Probe, ...]) -> bool:
    """Each channel once, and nothing but short words: they go into the log and before people."""
    names = {probe.channel for probe in untrusted_probes}
    return len(names) == len(untrusted_probes) and all(
        _CHANNEL.fullmatch(probe.channel) and _FOUND.fullmatch(probe.found) for probe in untrusted_probes
    )


def _model_entry(
    model: Model, outcome: str, fields: dict[str, str | bool | int | dict[str, int] | None]
) -> Entry:
    return Entry(
        event=Event.MODEL_LOAD,
        outcome=outcome,
        object=model.manifest.name,
        model=model.digest,
        fields={"version": model.manifest.version, **fields},
    )
