"""A stranger's code has so long: an alarm that it cannot swallow, and behind it the kernel.

The alarm is heard between two steps of Python. Code that is caught by `except Exception`, as Jinja's
compiler catches what its filters raise, cannot keep it: it is no `Exception`, and it rings again until it is
out. One long step in native code (comparing two lists that hold each other's copies, say) hears nothing; for
that the kernel ends the process once it has used more processor time than any honest work needs, and the
other side says why from the signal.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

AGAIN_SECONDS = 0.05
"""Between an alarm and the next, until it is heard."""
NATIVE_SECONDS = 3.0
"""Processor time, beyond the seconds of the alarm, after which the kernel ends the process (SIGPROF)."""
_SIGNALS = (signal.SIGALRM, signal.SIGPROF)
_Result = TypeVar("_Result")


class TooSlowError(Exception):
    """It took longer than it may."""


class _AlarmError(BaseException):
    """Rings through every `except Exception`; never leaves this module."""


def within(seconds: float, work: Callable[[], _Result]) -> _Result:
    """What `work` gives, in the main thread and in time.

    Args:
        seconds: how long it may take.
        work: Python code, which may catch any `Exception`.

    Raises:
        TooSlowError: it was stopped.
    """
    over = False

    def ring(_number: int, frame: FrameType | None) -> None:
        if over:
            return
        signal.setitimer(signal.ITIMER_REAL, AGAIN_SECONDS)  # by hand: no second ring during the first
        # in `within` itself the work has not begun or has ended: raising there would break the end
        if frame is not None and frame.f_code not in {within.__code__, ring.__code__}:
            raise _AlarmError

    before = signal.signal(signal.SIGALRM, ring)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    try:
        signal.setitimer(signal.ITIMER_PROF, seconds + NATIVE_SECONDS)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        return work()
    except _AlarmError:
        pass
    finally:
        over = True
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGALRM, before)
    raise TooSlowError
