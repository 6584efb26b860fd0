"""Moves what was read of a conversation out of the worker and back, by descriptor; believes no number of it.

The memfd is made here, of a fixed size: the worker can fill it, and nothing else; once it says that it did,
nobody can. Of its content the header alone is looked at: how many tokens it names. A state with more than was
sent to the model is not taken, for what the model wrote was not redacted. What is behind the header stays
opaque: a worker that lies can hide there what it likes, and gets it back, nobody else.

What a state may be used with is told by `binding`: model, template, what shapes the context, the library.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
from collections.abc import Callable
from typing import Protocol, TypeVar

import msgspec

from govdesk import crypto
from govdesk.domain.frames import (
    ForgetState,
    FromWorker,
    LoadModel,
    RestoreState,
    SaveState,
    StateRestored,
    StateSize,
    StateWritten,
    WriteState,
)
from govdesk.domain.prompt_state import HEADER, MAGIC, VERSION, PromptState, head_bytes
from govdesk.domain.turn import ModelInfo
from govdesk.errors import GovDeskError
from govdesk.inference import library, words
from govdesk.inference.answer import GarbageError

_T = TypeVar("_T")
PATIENCE_SECONDS = 30.0
"""A state may be some GiB, and is copied a few times; a worker that takes longer hangs."""
LEAST_SECONDS = 1.0
"""With less time left nothing is asked any more: a worker that is well may take as long."""
_FIXED_SIZE = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
Left = Callable[[], float]
"""How many seconds are left until the session ends."""


class Ask(Protocol):
    """Sends one order with its descriptors, and hears one frame."""

    def __call__(
        self,
        order: msgspec.Struct,
        descriptors: tuple[int, ...] = (),
        patience_seconds: float | None = None,
        *,
        silent: Callable[[], GovDeskError] | None = None,
    ) -> FromWorker:
        """Ask.

        Args:
            order: what to do.
            descriptors: ride on the order.
            patience_seconds: longest that the worker may be silent; None: as long as for an answer.
            silent: what to raise then, where it is not the worker's fault; else it is one.
        """


def no_end() -> float:
    """The session goes on."""
    return math.inf


class Line(Protocol):
    """What this needs of the supervisor."""

    def aside(self, work: Callable[[ModelInfo, Ask], _T], *, wait_seconds: float) -> _T | None:
        """Do something with the loaded worker while it does nothing else; None when it is not to be had."""

    def tell(self, order: msgspec.Struct) -> None:
        """Tell the worker, if there is one, what needs no answer."""

    @property
    def loaded(self) -> tuple[LoadModel, str, str] | None:
        """How the loaded model was loaded, its digest and its template's; None while none is."""


class PromptStates:
    """The states of the running worker.

    Args:
        line: the supervisor.

    `wait_seconds`: longest that something else may still be going on; with any, reading ahead is asked to
    stop. `left`: how long there is for all of it, looked at before each order; what cannot be done in that
    time is given up with the code `time`, and the worker is not blamed for it.
    """

    def __init__(self, line: Line) -> None:
        self._line = line

    @property
    def binding(self) -> bytes:
        """A digest over all that a state depends on but its text; empty while no model is loaded."""
        if (loaded := self._line.loaded) is None:
            return b""
        order, model, template = loaded
        parts = {
            "model": model,
            "template": template,
            "own-template": order.template,
            "kv": order.kv,
            "context": order.context_tokens,
            "devices": list(order.devices),
            "layers": list(order.device_layers),
            "library": library.build(),
        }
        return crypto.sha384(json.dumps(parts, sort_keys=True).encode())

    def tokens(self, conversation: str, *, wait_seconds: float = 0.0, left: Left = no_end) -> int | None:
        """How many tokens of a conversation the worker holds; None when it cannot be asked just now.

        Raises:
            WorkerError: it failed, and is gone.
            MachineError: there is no time left.
        """

        def work(info: ModelInfo, ask: Ask) -> StateSize:
            return _size(_ask(ask, left, SaveState(conversation=conversation)), conversation, info)

        found = self._line.aside(work, wait_seconds=_bounded(wait_seconds, left))
        return None if found is None else found.tokens

    def save(
        self,
        conversation: str,
        most_tokens: int,
        most_bytes: int,
        *,
        wait_seconds: float = 0.0,
        left: Left = no_end,
    ) -> PromptState | None:
        """What was read of a conversation; None when it is nothing, too large, or not to be had just now.

        Args:
            conversation: whose.
            most_tokens: so many were sent to the model; more are not taken.
            most_bytes: what there is room for.
            wait_seconds: see above.
            left: see above.

        Raises:
            WorkerError: it failed, and is gone.
            MachineError: it is more than was sent to the model, or there is no time left.
            OSError: there is no memory for it.
        """

        def work(info: ModelInfo, ask: Ask) -> PromptState | None:
            size = _size(_ask(ask, left, SaveState(conversation=conversation)), conversation, info)
            if size.tokens > most_tokens:
                raise words.beyond_prompt()
            if not size.tokens or size.state_bytes > most_bytes:
                return None
            descriptor = new_memfd(size.state_bytes)
            try:
                written = _ask(ask, left, WriteState(conversation=conversation), (descriptor,))
                if _written(written, conversation, descriptor, size):
                    return PromptState(descriptor, size.tokens, size.state_bytes)
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
            return None

        return self._line.aside(work, wait_seconds=_bounded(wait_seconds, left))

    def restore(self, conversation: str, state: PromptState, *, wait_seconds: float = 0.0) -> int:
        """Give the worker what it had read; the tokens that need not be read again, 0 when it is refused.

        Raises:
            WorkerError: it failed, and is gone.
        """

        def work(info: ModelInfo, ask: Ask) -> int:
            frame = _ask(ask, no_end, RestoreState(conversation=conversation), (state.descriptor,))
            if not isinstance(frame, StateRestored) or frame.conversation != conversation:
                raise GarbageError
            if frame.tokens not in {0, state.tokens} or frame.tokens > info.context_tokens:
                raise GarbageError
            return frame.tokens

        return self._line.aside(work, wait_seconds=wait_seconds) or 0

    def forget(self, conversation: str) -> None:
        """Let the worker drop what it read of a conversation, now or after what it does."""
        self._line.tell(ForgetState(conversation=conversation))


def new_memfd(size: int) -> int:
    """A memfd of a size that nobody can change any more; the caller closes it.

    Raises:
        OSError: there is no memory for it.
    """
    descriptor = os.memfd_create("state", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, size)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _FIXED_SIZE)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _bounded(wait_seconds: float, left: Left) -> float:
    return max(0.0, min(wait_seconds, left()))


def _ask(ask: Ask, left: Left, order: msgspec.Struct, descriptors: tuple[int, ...] = ()) -> FromWorker:
    """Ask within the time that is left; then the worker's silence is no failure of its own."""
    seconds = left()
    if seconds < LEAST_SECONDS:
        raise words.no_time()
    if seconds < PATIENCE_SECONDS:
        return ask(order, descriptors, seconds, silent=words.no_time)
    return ask(order, descriptors, PATIENCE_SECONDS)


def _size(untrusted_frame: FromWorker, conversation: str, info: ModelInfo) -> StateSize:
    """A size that can be one."""
    match untrusted_frame:
        case StateSize(conversation=said, tokens=tokens, state_bytes=size) if said == conversation:
            if tokens > info.context_tokens or (tokens == 0) != (size == 0):
                raise GarbageError
            if tokens and size <= head_bytes(tokens):
                raise GarbageError
            return untrusted_frame
    raise GarbageError


def _written(untrusted_frame: FromWorker, conversation: str, descriptor: int, size: StateSize) -> bool:
    """Whether the state is in the memfd, of the size and tokens that were said; nobody changes it then."""
    match untrusted_frame:
        case StateWritten(conversation=said, state_bytes=0) if said == conversation:
            return False
        case StateWritten(conversation=said, state_bytes=written) if said == conversation:
            if written != size.state_bytes:
                raise GarbageError
            try:
                fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
            except OSError:  # the worker still has it mapped for writing
                raise GarbageError from None
            magic, version, tokens, among_many = HEADER.unpack(os.pread(descriptor, HEADER.size, 0))
            if (magic, version, tokens) != (MAGIC, VERSION, size.tokens) or among_many > tokens:
                raise GarbageError
            return True
    raise GarbageError
