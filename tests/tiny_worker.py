"""The real worker with any model, good or bad: what it says of it, and whether it lives."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence

from govdesk.domain.frames import (
    AnswerDone,
    AnswerFailed,
    AnswerPiece,
    ChatMessage,
    FromWorker,
    Generate,
    Loaded,
    LoadFailed,
    LoadModel,
    WorkerHello,
)
from govdesk.process.channel import Channel
from tests.processes import DirectBroker

SECONDS = 60.0
SMALL = LoadModel(context_tokens=512, threads=1, batch_tokens=64, micro_batch_tokens=64, aside_bytes=0)
_SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def sealed(content: bytes) -> int:
    """A sealed memfd with this content; the caller owns it."""
    descriptor = os.memfd_create("test-model", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    return descriptor


class TinyWorker:
    """A worker behind its walls that was given `parts` as its model's files; nothing without an order."""

    def __init__(self, *parts: bytes, order: LoadModel | None = SMALL) -> None:
        self.broker = DirectBroker()
        self.channel: Channel[FromWorker] = self.broker.start_worker()
        assert isinstance(self.next(), WorkerHello)
        if order is None:
            return
        descriptors = tuple(sealed(part) for part in parts)
        try:
            self.channel.send(order, descriptors)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self.loaded = self.next()

    def next(self) -> Loaded | LoadFailed | FromWorker | None:
        """The worker's next frame; None when it is gone."""
        received = self.channel.receive(SECONDS)
        return None if received is None else received[0]

    def ask(
        self, messages: Sequence[tuple[str, str]], *, max_tokens: int = 4, **changes: object
    ) -> tuple[str, AnswerDone | AnswerFailed | None]:
        """Its whole answer at temperature 0 and how it ended; None when it died."""
        order = Generate(
            turn="t",
            messages=tuple(ChatMessage(role=role, text=text) for role, text in messages),
            max_tokens=max_tokens,
            temperature=0.0,
            top_p=1.0,
            top_k=0,
            repeat_penalty=1.0,
            seed=1,
            **changes,  # type: ignore[arg-type]
        )
        self.channel.send(order)
        text = ""
        while (frame := self.next()) is not None:
            if isinstance(frame, AnswerPiece):
                text += frame.text
            if isinstance(frame, AnswerDone | AnswerFailed):
                return text, frame
        return text, None

    def signal(self) -> int:
        """The signal it died by; 0 when it lives or ended by itself."""
        process = self.broker.process
        assert process is not None
        return max(0, -(process.poll() or 0))

    def stop(self) -> None:
        """End it."""
        self.channel.close()
        self.broker.stop_worker()
