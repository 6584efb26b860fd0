"""The session process's end of its channel to the broker: ask for a worker, tell that it locks or ends.

What only tells (`stop_worker`, `lock`, `quit`) never waits behind a thread that waits for an answer.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from govdesk.domain.frames import (
    AuditEnded,
    FromBroker,
    FromWorker,
    GpuBackend,
    LockNow,
    Quit,
    Raise,
    StartWorker,
    StopWorker,
    Welcome,
    WorkerEnded,
    WorkerStarted,
)
from govdesk.errors import AuditClosedError, BugError, WorkerError
from govdesk.process.channel import Channel, close_all

_BROKER_SECONDS = 10.0


class BrokerLink:
    """Safe from any thread: one caller waits for the broker at a time."""

    def __init__(self, channel: Channel[FromBroker]) -> None:
        self._channel = channel
        self._talking = threading.Lock()
        self._aside: deque[FromBroker] = deque()

    def welcome(self) -> tuple[Welcome, int | None]:
        """The broker's first frame, and the descriptor of the audit writer's channel when there is one."""
        received = self._channel.receive(_BROKER_SECONDS)
        if received is None:
            raise BugError("The broker did not say welcome.", code="broker.silent")
        frame, descriptors = received
        if not isinstance(frame, Welcome):
            raise BugError("The broker did not say welcome.", code="broker.silent")
        return frame, (descriptors[0] if descriptors else None)

    def start_worker(self, gpu: GpuBackend = "") -> Channel[FromWorker]:
        """A fresh worker's channel; the old worker, if any, is stopped.

        Args:
            gpu: the graphics backend whose devices it may use; empty: none.

        Raises:
            WorkerError: the broker could not start one.
            AuditClosedError: the audit writer ended, so nothing may run.
        """
        with self._talking:
            self._channel.send(StartWorker(gpu=gpu))
            deadline = time.monotonic() + _BROKER_SECONDS
            while True:
                if any(isinstance(frame, AuditEnded) for frame in self._aside):
                    raise AuditClosedError(
                        "The audit writer ended.", code="audit.gone", todo="Start GovDesk again."
                    )
                received = self._next(deadline)
                if received is None:
                    raise WorkerError("The worker could not be started.", code="worker.not-started")
                frame, descriptors = received
                if isinstance(frame, WorkerStarted) and len(descriptors) == 1:
                    self._aside = deque(f for f in self._aside if not isinstance(f, WorkerEnded))
                    return Channel.from_descriptor(descriptors[0], FromWorker)
                close_all(descriptors)
                self._aside.append(frame)

    def stop_worker(self) -> None:
        """Stop the worker by the ladder; its end is reported by the broker as for any other end."""
        self._channel.send(StopWorker())

    def worker_end(self, timeout_seconds: float) -> WorkerEnded | None:
        """How the worker ended, when the broker says so in time."""
        deadline = time.monotonic() + timeout_seconds
        with self._talking:
            while True:
                for frame in self._aside:
                    if isinstance(frame, WorkerEnded):
                        self._aside.remove(frame)
                        return frame
                if not self._set_aside(deadline):
                    return None

    def audit_end(self, timeout_seconds: float) -> AuditEnded | None:
        """How the audit writer ended, when the broker says so in time."""
        deadline = time.monotonic() + timeout_seconds
        with self._talking:
            while True:
                for frame in self._aside:
                    if isinstance(frame, AuditEnded):
                        return frame
                if not self._set_aside(deadline):
                    return None

    def raise_asked(self) -> bool:
        """True when somebody started GovDesk again; never waits."""
        if not self._talking.acquire(blocking=False):
            return False
        try:
            while self._channel.readable() and self._set_aside(time.monotonic()):
                pass
            asked = any(isinstance(frame, Raise) for frame in self._aside)
            self._aside = deque(frame for frame in self._aside if not isinstance(frame, Raise))
            return asked
        finally:
            self._talking.release()

    def lock(self) -> None:
        """Tell the broker that this process ends because the session locks; it is killed if it does not."""
        self._channel.send(LockNow())

    def quit(self, exit_code: int) -> None:
        """Tell the broker that this process ends for good; it is killed if it does not."""
        self._channel.send(Quit(exit_code=exit_code))

    def _next(self, deadline: float) -> tuple[FromBroker, list[int]] | None:
        """The broker's next frame; None when none came in time or the broker is gone."""
        try:
            return self._channel.receive(deadline - time.monotonic())
        except TimeoutError:
            return None

    def _set_aside(self, deadline: float) -> bool:
        received = self._next(deadline)
        if received is None:
            return False
        close_all(received[1])
        self._aside.append(received[0])
        return True
