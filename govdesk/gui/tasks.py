"""The only threading code: slow work runs off the GUI thread, what comes of it arrives on it.

A task iterates a generator on one thread of its own and emits one signal per event; the callbacks run
on the GUI thread, in order, and exactly one of `done` and `failed` ends them. Threads are daemons:
work that hangs in a system call cannot keep a locked session's process alive.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar, cast

from PySide6.QtCore import QObject, Qt, Signal, Slot

from govdesk.errors import GovDeskError, unexpected

_T = TypeVar("_T")


class _Task(QObject):
    """One running task; lives on the GUI thread, its thread only emits."""

    _event = Signal(object)
    _finished = Signal(object)

    def __init__(
        self,
        start: Callable[[], Iterator[object]],
        event: Callable[[object], None],
        done: Callable[[], None],
        failed: Callable[[GovDeskError], None],
        owner: Tasks,
    ) -> None:
        super().__init__()
        self._start, self._on_event, self._on_done, self._on_failed = start, event, done, failed
        self._owner = owner
        self.muted = False
        self._event.connect(self._deliver, Qt.ConnectionType.QueuedConnection)
        self._finished.connect(self._finish, Qt.ConnectionType.QueuedConnection)
        self.thread_of_work = threading.Thread(target=self._work, name="govdesk-task", daemon=True)

    def _work(self) -> None:
        error: Exception | None = None
        try:
            for value in self._start():
                self._event.emit(value)
        except Exception as caught:  # noqa: BLE001  # the GUI's hook: shown calmly, never lost on a thread
            error = caught
        self._finished.emit(error)

    @Slot(object)
    def _deliver(self, value: object) -> None:
        if not self.muted:
            self._on_event(value)

    @Slot(object)
    def _finish(self, error: object) -> None:
        self.thread_of_work.join()
        self._owner.forget(self)
        if self.muted:
            return
        if error is None:
            self._on_done()
        elif isinstance(error, GovDeskError):
            self._on_failed(error)
        else:
            self._on_failed(unexpected(cast("Exception", error)))


class StopFlag:
    """Raised on one thread, looked at by work on another; each piece of work has its own."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def raise_it(self) -> None:
        """The work is to stop."""
        self._event.set()

    def raised(self) -> bool:
        """Whether the work is to stop."""
        return self._event.is_set()


class InOrder:
    """Work of which only the newest counts: one at a time, and none after a newer one was done."""

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._newest = 0
        self._done = 0

    def next(self, work: Callable[[], _T]) -> Callable[[], _T | None]:
        """The same work with its place in the order, taken now; it returns None when it came too late."""
        self._newest += 1
        number = self._newest

        def in_turn() -> _T | None:
            with self._one_at_a_time:
                if number < self._done:
                    return None
                result = work()
                self._done = number
                return result

        return in_turn


class Tasks:
    """Starts tasks and knows which still run."""

    def __init__(self) -> None:
        self._running: set[_Task] = set()

    def iterate(
        self,
        start: Callable[[], Iterator[_T]],
        event: Callable[[_T], None],
        done: Callable[[], None],
        failed: Callable[[GovDeskError], None],
    ) -> None:
        """Iterate `start()` on a new thread.

        Args:
            start: called on that thread; its values go to `event`.
            event: called on the GUI thread for each value, in order.
            done: called on the GUI thread after the last value.
            failed: called instead of `done` when the generator raised.
        """
        task = _Task(start, cast("Callable[[object], None]", event), done, failed, self)
        self._running.add(task)
        task.thread_of_work.start()

    def call(
        self, work: Callable[[], _T], done: Callable[[_T], None], failed: Callable[[GovDeskError], None]
    ) -> None:
        """Call `work()` on a new thread; its result goes to `done` on the GUI thread."""
        result: list[_T] = []

        def once() -> Iterator[_T]:
            yield work()

        self.iterate(once, result.append, lambda: done(result[0]), failed)

    @property
    def running(self) -> int:
        """Tasks that have not ended yet."""
        return len(self._running)

    def forget(self, task: _Task) -> None:
        """A task ended."""
        self._running.discard(task)

    def end(self, wait_seconds: float) -> bool:
        """Deliver nothing more and wait for the threads, in all at most `wait_seconds`.

        Returns:
            True when every thread ended.
        """
        deadline = time.monotonic() + wait_seconds
        tasks = tuple(self._running)
        for task in tasks:
            task.muted = True
        for task in tasks:
            task.thread_of_work.join(max(0.0, deadline - time.monotonic()))
        return not any(task.thread_of_work.is_alive() for task in tasks)
