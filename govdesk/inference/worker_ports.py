"""The Protocols that the supervisor needs; `process/` implements them."""

from __future__ import annotations

from typing import Protocol

import msgspec

from govdesk.domain.frames import FromWorker, GpuBackend, WorkerEnded


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

    def start_worker(self, gpu: GpuBackend = "") -> WorkerChannel:
        """A fresh worker's channel; `gpu`: the graphics backend that it may use."""

    def stop_worker(self) -> None:
        """Stop the worker by the ladder."""

    def worker_end(self, timeout_seconds: float) -> WorkerEnded | None:
        """How the worker ended."""
