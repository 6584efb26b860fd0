"""Moves what was read of a conversation out of the worker and back, by descriptor; believes no number of it.

The memfd is made here, of a fixed size: the worker can fill it, and nothing else. Its content stays opaque.
What a state may be used with is told by `binding`: model, template, what shapes the context, the library.
"""

from __future__ import annotations

import fcntl
import json
import os
import sysconfig
from collections.abc import Callable
from functools import cache
from pathlib import Path
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
from govdesk.domain.prompt_state import PromptState
from govdesk.domain.turn import ModelInfo
from govdesk.inference.answer import GarbageError

_T = TypeVar("_T")
PATIENCE_SECONDS = 30.0
"""A state may be some GiB, and is copied a few times; a worker that takes longer hangs."""
_FIXED_SIZE = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
_LEAST_BYTES_PER_TOKEN = 4
"""The header alone names each token."""

Ask = Callable[[msgspec.Struct, tuple[int, ...]], FromWorker]
"""Send one order with its descriptors, hear one frame."""


class Line(Protocol):
    """What this needs of the supervisor."""

    def aside(
        self, work: Callable[[ModelInfo, Ask], _T], *, wait_seconds: float, patience_seconds: float
    ) -> _T | None:
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

    `patience_seconds`: longest that the worker may be silent. `wait_seconds`: longest that something else may
    still be going on; with any, reading ahead is asked to stop.
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
            "library": library_digest(),
        }
        return crypto.sha384(json.dumps(parts, sort_keys=True).encode())

    def tokens(
        self, conversation: str, *, patience_seconds: float = PATIENCE_SECONDS, wait_seconds: float = 0.0
    ) -> int | None:
        """How many tokens of a conversation the worker holds; None when it cannot be asked just now.

        Raises:
            WorkerError: it failed, and is gone.
        """
        found = self._line.aside(
            lambda info, ask: _size(ask(SaveState(conversation=conversation), ()), conversation, info),
            wait_seconds=wait_seconds,
            patience_seconds=patience_seconds,
        )
        return None if found is None else found.tokens

    def save(
        self,
        conversation: str,
        least_tokens: int,
        most_bytes: int,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        wait_seconds: float = 0.0,
    ) -> PromptState | None:
        """What was read of a conversation; None when it is too little, too much, or not to be had just now.

        Raises:
            WorkerError: it failed, and is gone.
            OSError: there is no memory for it.
        """

        def work(info: ModelInfo, ask: Ask) -> PromptState | None:
            size = _size(ask(SaveState(conversation=conversation), ()), conversation, info)
            if size.tokens < least_tokens or size.state_bytes > most_bytes:
                return None
            descriptor = new_memfd(size.state_bytes)
            try:
                written = ask(WriteState(conversation=conversation), (descriptor,))
                if not isinstance(written, StateWritten) or written.conversation != conversation:
                    raise GarbageError
                if written.state_bytes not in {0, size.state_bytes}:
                    raise GarbageError
            except BaseException:
                os.close(descriptor)
                raise
            if written.state_bytes == 0:
                os.close(descriptor)
                return None
            return PromptState(descriptor, size.tokens, size.state_bytes)

        return self._line.aside(work, wait_seconds=wait_seconds, patience_seconds=patience_seconds)

    def restore(
        self,
        conversation: str,
        state: PromptState,
        *,
        patience_seconds: float = PATIENCE_SECONDS,
        wait_seconds: float = 0.0,
    ) -> int:
        """Give the worker what it had read; the tokens that need not be read again, 0 when it is refused.

        Raises:
            WorkerError: it failed, and is gone.
        """

        def work(info: ModelInfo, ask: Ask) -> int:
            frame = ask(RestoreState(conversation=conversation), (state.descriptor,))
            if not isinstance(frame, StateRestored) or frame.conversation != conversation:
                raise GarbageError
            if frame.tokens not in {0, state.tokens} or frame.tokens > info.context_tokens:
                raise GarbageError
            return frame.tokens

        restored = self._line.aside(work, wait_seconds=wait_seconds, patience_seconds=patience_seconds)
        return restored or 0

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


@cache
def library_digest() -> str:
    """SHA-384 over the library's files, by name; asked once."""
    digest = crypto.Sha384()
    folder = Path(sysconfig.get_path("platlib")) / "llama_cpp" / "lib"
    for file in sorted(folder.glob("*.so*")):
        digest.update(file.name.encode() + b"\0")
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _size(untrusted_frame: FromWorker, conversation: str, info: ModelInfo) -> StateSize:
    """A size that can be one."""
    match untrusted_frame:
        case StateSize(conversation=said, tokens=tokens, state_bytes=size) if said == conversation:
            if tokens > info.context_tokens or size < tokens * _LEAST_BYTES_PER_TOKEN:
                raise GarbageError
            if (tokens == 0) != (size == 0):
                raise GarbageError
            return untrusted_frame
    raise GarbageError
