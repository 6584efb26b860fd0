"""What Ctrl-C and a termination mean in the terminal: they are never lost, and never cut a record in half.

Both signals are blocked in every thread of the session process: the broker starts it with Ctrl-C blocked,
`hold` adds the termination. What arrives waits until the main thread comes to one of these blocks.
A handler during a turn would run in its middle, under its locks; so would one while keys are made.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Protocol

SIGNALS = frozenset({signal.SIGINT, signal.SIGTERM})
_LOOK_SECONDS = 0.1


class Stoppable(Protocol):
    """An answer, an import: what ends well when it is asked to."""

    def cancel(self) -> None:
        """Ask it to stop; any thread; returns at once."""
        ...


def hold() -> None:
    """From here on both signals wait, in this thread and in those it starts."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


@contextlib.contextmanager
def leaving() -> Iterator[None]:
    """Within this block, on the main thread, Ctrl-C raises KeyboardInterrupt, a termination SystemExit.

    So does one that came earlier. Start no thread in here: it would take signals that others wait for.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    previous = {
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGTERM: signal.signal(signal.SIGTERM, _terminated),
    }
    try:
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def leave_if_asked() -> None:
    """Leave when either signal came while it was blocked."""
    with leaving():
        pass


@contextlib.contextmanager
def stopping(work: Stoppable) -> Iterator[None]:
    """Within this block Ctrl-C stops the running work and nothing else, also one that came just before.

    A termination stops it too, and raises SystemExit once the work has ended.
    """
    done = threading.Event()
    terminated = threading.Event()

    def wait() -> None:
        while not done.is_set():
            came = signal.sigtimedwait(SIGNALS, _LOOK_SECONDS)
            if came is None:
                continue
            if came.si_signo == signal.SIGTERM:
                terminated.set()
            work.cancel()

    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    waiting = threading.Thread(target=wait, name="interrupt", daemon=True)
    waiting.start()
    try:
        yield
    finally:
        done.set()
        waiting.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if terminated.is_set():  # also when the work ends with an error, because it was stopped
            _terminated()


def _terminated(_number: int = signal.SIGTERM, _frame: FrameType | None = None) -> None:
    raise SystemExit(128 + signal.SIGTERM)
