"""What Ctrl-C means in the terminal: at a prompt it leaves, during a turn it stops the answer.

The broker starts the session process with the signal blocked, so it is blocked in every thread; it is
taken only inside these two blocks. A handler during a turn would run in its middle, under its locks.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

from govdesk.cli.desk import Chat

_LOOK_SECONDS = 0.1


@contextlib.contextmanager
def leaving() -> Iterator[None]:
    """Within this block, on the main thread, Ctrl-C raises KeyboardInterrupt."""
    _forget_earlier()
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    mask = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, previous)


@contextlib.contextmanager
def stopping(chat: Chat) -> Iterator[None]:
    """Within this block Ctrl-C stops the running answer and nothing else."""
    done = threading.Event()
    _forget_earlier()

    def wait() -> None:
        while not done.is_set():
            if signal.sigtimedwait({signal.SIGINT}, _LOOK_SECONDS) is not None:
                chat.cancel()

    waiting = threading.Thread(target=wait, name="interrupt", daemon=True)
    waiting.start()
    try:
        yield
    finally:
        done.set()
        waiting.join()


def _forget_earlier() -> None:
    """What was typed before this block is not meant for it."""
    while signal.sigtimedwait({signal.SIGINT}, 0) is not None:
        pass
