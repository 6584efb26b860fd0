"""Scripted workers for the supervisor's tests: a thread at the other end of a real socketpair."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import msgspec

from govdesk.domain.frames import (
    AnswerDone,
    AnswerPiece,
    FromWorker,
    Generate,
    Loaded,
    Probe,
    PromptProgress,
    ToWorker,
    WorkerEnded,
    WorkerHello,
)
from govdesk.inference.manifest import Manifest, ModelFile, Variant
from govdesk.inference.store import Model
from govdesk.process.channel import Channel, pair
from tests.tiny_models import tiny_bytes

TEMPLATE = "ab" * 48
PROBES = tuple(
    Probe(channel=name, blocked=True, found="EPERM") for name in ("execve", "read-outside", "tcp4", "unix")
)


class Worker:
    """The worker's end. `raw` is the same socket, for what no channel would send."""

    def __init__(self, end: socket.socket) -> None:
        self.raw = end
        self.channel: Channel[ToWorker] = Channel(end, ToWorker)

    def send(self, *frames: msgspec.Struct) -> None:
        for frame in frames:
            self.channel.send(frame)

    def hello(self, probes: tuple[Probe, ...] = PROBES) -> None:
        self.send(WorkerHello(probes=probes))

    def load(self, context_tokens: int = 64, template: str = TEMPLATE) -> None:
        if self.channel.receive(10) is None:
            raise BrokenPipeError
        self.send(Loaded(context_tokens=context_tokens, template_sha384=template))

    def order(self) -> Generate:
        self.hello()
        self.load()
        return self.next_order()

    def next_order(self) -> Generate:
        received = self.channel.receive(10)
        if received is None or not isinstance(received[0], Generate):
            raise BrokenPipeError
        return received[0]

    def read(self, turn: str, total: int = 4) -> None:
        self.send(
            PromptProgress(turn=turn, done_tokens=0, total_tokens=total),
            PromptProgress(turn=turn, done_tokens=total, total_tokens=total),
        )

    def until_closed(self) -> None:
        while self.channel.receive(10) is not None:
            pass


def done(turn: str, reason: str = "end", prompt: int = 4, answer: int = 1) -> AnswerDone:
    return AnswerDone(
        turn=turn, reason=reason, prompt_tokens=prompt, read_tokens=prompt, answer_tokens=answer
    )


def good(worker: Worker) -> None:
    order = worker.order()
    worker.read(order.turn)
    worker.send(AnswerPiece(turn=order.turn, text="Well.", tokens=1), done(order.turn))
    worker.until_closed()


class ScriptedBroker:
    """Each worker it starts plays the next script; after the last one all are good."""

    made: ClassVar[list[ScriptedBroker]] = []
    """For the end of a test: `close` them all."""

    def __init__(self, *scripts: Callable[[Worker], None], end: WorkerEnded | None = None) -> None:
        self._scripts = list(scripts)
        self._end = end
        self.ends: list[WorkerEnded | None] = []
        """How the next workers to end do that, before `end` holds for all."""
        self._threads: list[threading.Thread] = []
        self.started = 0
        self.gpus: list[str] = []
        self.stopped = 0
        self.channels: list[Channel[FromWorker]] = []
        self.channel_type: type[Channel[FromWorker]] = Channel
        self.made.append(self)

    def close(self) -> None:
        """Close what the supervisor under test still holds; the scripts end with it."""
        for channel in self.channels:
            channel.close()
        for thread in self._threads:
            thread.join(15)

    def start_worker(self, gpu: str = "") -> Channel[FromWorker]:
        self.gpus.append(gpu)
        ours, theirs = pair()
        script = self._scripts.pop(0) if self._scripts else good
        thread = threading.Thread(target=self._play, args=(script, Worker(theirs)), daemon=True)
        thread.start()
        self._threads.append(thread)
        self.started += 1
        self.channels.append(self.channel_type(ours, FromWorker))
        return self.channels[-1]

    def _play(self, script: Callable[[Worker], None], worker: Worker) -> None:
        try:
            script(worker)
        except (OSError, ValueError):
            pass  # one of the ends is closed
        finally:
            worker.raw.close()

    def stop_worker(self) -> None:
        self.stopped += 1

    def worker_end(self, timeout_seconds: float) -> WorkerEnded | None:
        return self.ends.pop(0) if self.ends else self._end


def small_model(folder: Path, context_tokens: int = 64) -> Model:
    """A tiny model and a manifest that fits it; no library ever sees it."""
    content = tiny_bytes("llama-spm")
    path = folder / "small.gguf"
    path.write_bytes(content)
    manifest = Manifest(
        schema=2,
        name="small",
        title="Small",
        version=1,
        license="none",
        provenance="made by a test",
        shipped=False,
        architecture="llama",
        context_tokens=context_tokens,
        template_sha384=TEMPLATE,
        roles=("user", "assistant"),
        highest_marking="UNCLASSIFIED",
        variants=(
            Variant(
                quantization="none",
                files=(
                    ModelFile(
                        file=path.name,
                        bytes=len(content),
                        sha256=hashlib.sha256(content).hexdigest(),
                        sha384=hashlib.sha384(content).hexdigest(),
                    ),
                ),
            ),
        ),
    )
    return Model(manifest, path)
