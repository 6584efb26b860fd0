"""The trusted side of the worker: starts it when it is needed and gives it one order at a time.

It defends the person against a worker that crashes, hangs or sends garbage: that costs one answer;
the worker is stopped by the ladder and the next call starts a fresh one. How a worker is started is in
`worker_start`, how one is spoken with in `worker_line`.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Generator, Iterator
from typing import TypeVar

import msgspec

from govdesk.domain.frames import (
    AnswerFailed,
    ChatMessage,
    CountTokens,
    Generate,
    LoadModel,
    Probe,
    ReadAhead,
    SetThreads,
    Tune,
    Tuned,
)
from govdesk.domain.ids import ModelDigest, RecordSeq, TurnId
from govdesk.domain.inference import Count, Piece, Read, Stopped
from govdesk.domain.record import Entry
from govdesk.domain.turn import ModelInfo, Reading, Role, Sampling
from govdesk.inference import reading, words
from govdesk.inference.answer import GarbageError, Hearing
from govdesk.inference.computing import Computing
from govdesk.inference.gguf import GgufFacts
from govdesk.inference.graphics import Graphics
from govdesk.inference.manifest import Manifest
from govdesk.inference.plan import default_plan
from govdesk.inference.prompt_states import Ask
from govdesk.inference.repetition import Repetition
from govdesk.inference.store import Model
from govdesk.inference.worker_line import LoadedModel, WorkerLine
from govdesk.inference.worker_ports import Broker
from govdesk.inference.worker_start import WorkerStart

_T = TypeVar("_T")
_GIVE_WAY_SECONDS = 0.02
"""How often a reading ahead that is in the way is told to stop."""


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
        find_draft: the approved model that drafts for another; by default there is none.
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
        find_draft: Callable[[Model], Model | None] = lambda _model: None,
    ) -> None:
        self.graphics = graphics or Graphics()
        self._start = WorkerStart(
            broker, find_model, record, require_closed, plan, tuned, self.graphics, find_draft
        )
        self._one_order = threading.Lock()
        self._starting = threading.Lock()
        self._measuring = False
        """The running order is a measurement: it gives way to a reading ahead as well."""

    @property
    def probes(self) -> tuple[Probe, ...]:
        """What the running worker's self-test found."""
        return self._start.probes

    def model(self) -> ModelInfo:
        """The model that will answer; starts the worker and loads the model when that is needed."""
        with self._starting:  # two that ask at once get the same worker
            return (self.held or self._start.start()).info

    def model_loaded(self) -> ModelInfo | None:
        """The model that is loaded now, if one is."""
        loaded = self.held
        return loaded.info if loaded is not None else None

    @property
    def computing(self) -> Computing | None:
        """What the loaded model is computed with; None while none is."""
        return loaded.computing if (loaded := self.held) is not None else None

    @property
    def loaded(self) -> tuple[LoadModel, str, str] | None:
        """How the loaded model was loaded, its digest and its template's; None while none is."""
        if (loaded := self.held) is None:
            return None
        return loaded.order, loaded.info.digest, loaded.template_sha384

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
        info, line = self._ready()
        hearing = Hearing(turn, info.context_tokens, sampling.max_tokens, lambda: line.cancelled)
        repetition, loop = Repetition(), False
        ended = False
        try:
            with line.turn(turn):
                line.order(_generate(turn, history, sampling, conversation))
                while not ended:
                    with line.judged():
                        event = hearing.hear(line.next(line.silence_seconds))
                    ended = isinstance(event, Stopped | AnswerFailed)
                    if isinstance(event, AnswerFailed):
                        raise words.answer_failed(event)
                    if isinstance(event, Piece) and not loop and repetition.feed(event.untrusted_text):
                        loop = True
                        line.cancel(reading=False)
                    if isinstance(event, Stopped) and loop and event.reason == "cancelled":
                        event = Stopped("loop", event.usage)
                    yield event
        finally:
            if not ended:
                # left in the middle (the consumer stopped, or an error): this worker's state is unknown
                line.stop()

    def count(self, turn: TurnId, history: tuple[tuple[Role, str], ...]) -> Count:
        """How many tokens a history takes; see `chat.ports.Inference`."""
        with self._only_order():
            _, line = self._ready()
            with line.turn(turn), line.judged():
                order = CountTokens(turn=turn, messages=_messages(history))
                return reading.count(line.exchange(order), turn)

    def read_ahead(
        self,
        turn: TurnId,
        history: tuple[tuple[Role, str], ...],
        conversation: str,
        wanted: Callable[[], bool],
    ) -> Read | None:
        """Read what is certain of a prompt; see `chat.ports.Inference`."""
        while not self._one_order.acquire(timeout=_GIVE_WAY_SECONDS):
            if not self._measuring:
                return None
            self.stop_reading()
        try:
            info, line = self._ready()
            with line.turn(turn, reading=True), line.judged():
                if not wanted():  # looked at after a stop can find it: a stop is never lost between the two
                    return None
                order = ReadAhead(turn=turn, conversation=conversation, messages=_messages(history))
                hearing = reading.ReadHearing(turn, info.context_tokens)
                last = line.exchange(order, goes_on=hearing.goes_on)
                return hearing.end(last, cancelled=line.cancelled)
        finally:
            self._one_order.release()

    def tune(self, order: Tune) -> Tuned | None:
        """Let the worker measure itself; any other order ends that. None: it has no model, or is busy.

        Raises:
            WorkerError: it crashed, hung or sent something else.
        """
        if not self._one_order.acquire(blocking=False):
            return None
        try:
            line = self._start.line
            if line is None or line.loaded is None:
                return None
            self._measuring = True
            with line.turn(TurnId(order.turn), reading=True), line.judged():
                frame = line.exchange(order)
                if isinstance(frame, Tuned) and frame.turn == order.turn:
                    return frame
                raise GarbageError
        finally:
            self._measuring = False
            self._one_order.release()

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
            line = self._start.line
            if line is None or (loaded := line.loaded) is None:
                return None
            with line.judged():
                return work(loaded.info, line.exchange)
        finally:
            self._one_order.release()

    def tell(self, order: msgspec.Struct) -> None:
        """Tell the worker, if there is one, what needs no answer; it is done after what it does now.

        Raises:
            WorkerError: it is gone; the next call starts a fresh one.
        """
        line = self._start.line
        if line is not None and line.loaded is not None:
            line.send(order)

    def cancel(self) -> None:
        """Ask the running answer to stop; from any thread."""
        if (line := self._start.line) is not None:
            line.cancel(reading=False)

    def stop_reading(self) -> None:
        """Ask a reading ahead to stop, if there is one; from any thread."""
        if (line := self._start.line) is not None:
            line.cancel(reading=True)

    def stop(self) -> None:
        """Stop the worker: ask, grace, terminate, kill. The next call starts a fresh one."""
        self._start.stop()

    @property
    def held(self) -> LoadedModel | None:
        """The model that is loaded, how, and what its files hold; None while none is."""
        line = self._start.line
        return line.loaded if line is not None else None

    def _ready(self) -> tuple[ModelInfo, WorkerLine]:
        info = self.model()
        line = self._start.line
        if line is None or line.loaded is None:  # stopped in between
            raise words.stopped()
        return info, line

    @contextlib.contextmanager
    def _only_order(self) -> Iterator[None]:
        """The worker does one thing at a time; a reading ahead is told to stop, and ends at once."""
        while not self._one_order.acquire(timeout=_GIVE_WAY_SECONDS):
            self.stop_reading()  # again: it may have begun after the last time
        try:
            yield
        finally:
            self._one_order.release()


def _generate(
    turn: TurnId, history: tuple[tuple[Role, str], ...], sampling: Sampling, conversation: str
) -> Generate:
    return Generate(
        turn=turn,
        conversation=conversation,
        messages=_messages(history),
        max_tokens=sampling.max_tokens,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        repeat_penalty=sampling.repeat_penalty,
        seed=sampling.seed if sampling.seed is not None else secrets.randbits(31),
        repeats=sampling.seed is not None,
        min_p=sampling.min_p,
        grammar=sampling.grammar,
    )


def _messages(history: tuple[tuple[Role, str], ...]) -> tuple[ChatMessage, ...]:
    return tuple(ChatMessage(role=role.value, text=text) for role, text in history)
