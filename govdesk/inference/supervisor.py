"""The trusted side of the worker: starts it when it is needed, believes nothing it says, explains its end.

It defends the person against a worker that crashes, hangs or sends garbage: that costs one answer;
the worker is stopped by the ladder and the next call starts a fresh one.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Generator
from typing import Protocol

import msgspec

from govdesk.domain.frames import (
    AnswerDone,
    AnswerFailed,
    AnswerPiece,
    Cancel,
    ChatMessage,
    FromWorker,
    Generate,
    Loaded,
    LoadFailed,
    LoadModel,
    Probe,
    PromptProgress,
    Shutdown,
    WorkerEnded,
    WorkerHello,
)
from govdesk.domain.ids import RecordSeq, TurnId
from govdesk.domain.inference import Piece, Stopped
from govdesk.domain.record import Entry, Event
from govdesk.domain.turn import ModelInfo, Reading, Role, Sampling, Usage
from govdesk.errors import FrameError, ModelError, WorkerError
from govdesk.inference import catalogue, threads, words
from govdesk.inference.catalogue import Model

DEFAULT_CONTEXT_TOKENS = 4096
START_SECONDS = 20.0
LOAD_SECONDS = 120.0
SILENCE_SECONDS = 120.0
"""Longest the worker may say nothing while it answers: one batch of a prompt on a slow machine."""
CANCEL_SECONDS = 2.0
"""A cancelled worker that still has not ended its answer after this is stopped."""


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
        require_closed: raises WallError when a probe found an open channel.
        context_tokens: size of the context window asked for.
    """

    def __init__(
        self,
        broker: Broker,
        find_model: Callable[[], Model],
        record: Callable[[Entry], RecordSeq],
        require_closed: Callable[[tuple[Probe, ...]], None],
        context_tokens: int = DEFAULT_CONTEXT_TOKENS,
    ) -> None:
        self._broker = broker
        self._find_model = find_model
        self._record = record
        self._require_closed = require_closed
        self._context_tokens = context_tokens
        self._channel: WorkerChannel | None = None
        self._info: ModelInfo | None = None
        self._turn: TurnId | None = None
        self._cancelled_at: float | None = None
        self._state = threading.Lock()
        self.probes: tuple[Probe, ...] = ()
        """What the running worker's self-test found."""

    def model(self) -> ModelInfo:
        """The model that will answer; starts the worker and loads the model when that is needed."""
        if self._info is None:
            self._start()
        assert self._info is not None  # noqa: S101  _start sets it or raises
        return self._info

    def answer(
        self, turn: TurnId, history: tuple[tuple[Role, str], ...], sampling: Sampling
    ) -> Generator[Reading | Piece | Stopped, None, None]:
        """Generate one answer; see `chat.ports.Inference`."""
        self.model()
        channel = self._channel
        assert channel is not None  # noqa: S101  model() started it or raised
        with self._state:
            self._turn, self._cancelled_at = turn, None
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
        started = time.monotonic()
        first: float | None = None
        ended = False
        try:
            self._send(channel, order)
            while True:
                frame = self._next(channel, SILENCE_SECONDS)
                match frame:
                    case PromptProgress(turn=t) if t == turn:
                        yield Reading(frame.done_tokens, frame.total_tokens)
                    case AnswerPiece(turn=t) if t == turn:
                        first = time.monotonic() - started if first is None else first
                        yield Piece(frame.text)
                    case AnswerDone(turn=t) if t == turn and frame.reason in {"end", "length", "cancelled"}:
                        ended = True
                        yield Stopped(
                            frame.reason,
                            Usage(
                                prompt_tokens=frame.prompt_tokens,
                                read_tokens=frame.read_tokens,
                                answer_tokens=frame.answer_tokens,
                                first_token_seconds=first or 0.0,
                                total_seconds=time.monotonic() - started,
                            ),
                        )
                        return
                    case AnswerFailed(turn=t) if t == turn:
                        ended = True
                        raise words.answer_failed(frame)
                    case _:
                        raise self._broken("sent something unexpected", "worker.garbage")
        finally:
            with self._state:
                self._turn = None
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
        with contextlib.suppress(OSError):
            channel.send(Cancel(turn=turn))

    def stop(self) -> None:
        """Stop the worker: ask, grace, terminate, kill. The next call starts a fresh one."""
        channel, self._channel, self._info = self._channel, None, None
        if channel is not None:
            with contextlib.suppress(OSError):
                channel.send(Shutdown())
            channel.close()
            self._broker.stop_worker()
            self._broker.worker_end(START_SECONDS)

    def _start(self) -> None:
        model = self._find_model()
        try:
            descriptor = catalogue.open_verified(model)
        except ModelError as error:
            self._record(_model_entry(model, "failure", {"code": error.code}))
            raise
        try:
            self._record(_model_entry(model, "success", {"bytes": model.manifest.bytes}))
            self._channel = channel = self._broker.start_worker()
            hello = self._next(channel, START_SECONDS)
            if not isinstance(hello, WorkerHello):
                raise self._broken("did not introduce itself", "worker.garbage")
            self._require_closed(hello.probes)
            self.probes = hello.probes
            self._record(
                Entry(
                    event=Event.SELF_TEST,
                    outcome="success",
                    object="worker",
                    fields={"channels": {probe.channel: int(probe.blocked) for probe in hello.probes}},
                )
            )
            context = min(self._context_tokens, model.manifest.context_tokens)
            order = LoadModel(context_tokens=context, threads=threads.suitable())
            self._send(channel, order, (descriptor,))
            loaded = self._next(channel, LOAD_SECONDS)
        finally:
            os.close(descriptor)
        match loaded:
            case Loaded():
                if loaded.template_sha384 != model.manifest.template_sha384:
                    raise self._broken(
                        "found another chat template than the manifest names", "model.template"
                    )
                title, digest = model.manifest.title, model.info.digest
                self._info = ModelInfo(title, digest, min(loaded.context_tokens, context))
            case LoadFailed():
                self.stop()
                raise words.load_failed(loaded.code, model.path.name)
            case _:
                raise self._broken("answered the loading of a model with something else", "worker.garbage")

    def _send(self, channel: WorkerChannel, frame: msgspec.Struct, descriptors: tuple[int, ...] = ()) -> None:
        try:
            channel.send(frame, descriptors)
        except OSError:
            raise self._died() from None

    def _next(self, channel: WorkerChannel, patience_seconds: float) -> FromWorker:
        """The worker's next frame; its silence, its end or its garbage stops it and is explained."""
        deadline = time.monotonic() + patience_seconds
        while True:
            now = time.monotonic()
            cancelled_at = self._cancelled_at
            limit = deadline if cancelled_at is None else min(deadline, cancelled_at + CANCEL_SECONDS)
            if now >= limit:
                raise self._broken("stopped answering", "worker.hung")
            try:
                received = channel.receive(min(limit - now, 0.5))
            except TimeoutError:
                continue
            except FrameError as error:
                raise self._broken("sent what is no message of ours", "worker.garbage") from error
            except OSError:
                raise self._died() from None
            if received is None:
                raise self._died()
            frame, descriptors = received
            for descriptor in descriptors:
                os.close(descriptor)
            return frame

    def _broken(self, what: str, code: str) -> WorkerError:
        self.stop()
        self._failure_record(code)
        return words.worker_failed(f"The part of GovDesk that runs the model {what}.", code)

    def _died(self) -> WorkerError:
        channel, self._channel, self._info = self._channel, None, None
        if channel is not None:
            channel.close()
        self._broker.stop_worker()
        end = self._broker.worker_end(START_SECONDS)
        code = "worker.crashed"
        detail = ""
        if end is not None and end.signal:
            with contextlib.suppress(ValueError):
                detail = f" ({signal.Signals(end.signal).name})"
            code = "worker.killed" if end.signal == signal.SIGKILL else code
        self._failure_record(code)
        why = " Perhaps the machine ran out of memory." if code == "worker.killed" else ""
        return words.worker_failed(
            f"The part of GovDesk that runs the model ended unexpectedly{detail}.{why}", code
        )

    def _failure_record(self, code: str) -> None:
        self._record(
            Entry(event=Event.WORKER_FAILURE, outcome="failure", object="worker", fields={"code": code})
        )


def _model_entry(
    model: Model, outcome: str, fields: dict[str, str | bool | int | dict[str, int] | None]
) -> Entry:
    return Entry(
        event=Event.MODEL_LOAD,
        outcome=outcome,
        object=model.manifest.name,
        model=model.manifest.sha384,
        fields={"version": model.manifest.version, **fields},
    )
