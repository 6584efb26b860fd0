"""Says what the set-up is doing while it does it, on a terminal and in a log file alike."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

HEARTBEAT_SECONDS = 15.0
"""Where lines cannot be rewritten (no terminal), a long step says at most this often where it is."""
LINE_CHARACTERS = 100


class SetupError(Exception):
    """The set-up cannot go on.

    Args:
        what: what happened, for the person.
        todo: what to do next.
        exit_code: 5 the machine lacks something (the default), 1 a check failed, 3 wrong arguments.
    """

    def __init__(self, what: str, *, todo: str = "", exit_code: int = 5) -> None:
        super().__init__(what)
        self.what = what
        self.todo = todo
        self.exit_code = exit_code


class Report:
    """One line a step; on a terminal the line moves, elsewhere it is repeated now and then."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream or sys.stderr
        self._clock = clock
        self._moving = self._stream.isatty()
        self._title = ""
        self._detail = ""
        self._started = 0.0
        self._said = 0.0

    def say(self, text: str) -> None:
        """Write one whole line."""
        if self._moving and self._title:
            self._stream.write("\r\x1b[K")
        self._stream.write(f"setup: {text}\n")
        self._stream.flush()

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announce a step, and its seconds once it is done."""
        self._title, self._detail = title, ""
        self._started = self._said = self._clock()
        if self._moving:
            self._draw()
        else:
            self.say(f"{title} …")
        done = False
        try:
            yield
            done = True
        finally:
            seconds = self._clock() - self._started
            self.say(f"{title}: {'done' if done else 'stopped'} after {seconds:.0f} s")
            self._title = ""

    def progress(self, detail: str | None = None) -> None:
        """Tell where the step is; None only lets the time pass."""
        if detail:
            self._detail = detail
        if self._moving:
            self._draw()
        elif self._clock() - self._said >= HEARTBEAT_SECONDS:
            self._said = self._clock()
            self.say(f"  {self._line()}")

    def _line(self) -> str:
        seconds = f"{self._clock() - self._started:.0f} s"
        return f"{self._title}: {seconds}" + (f", {self._detail}" if self._detail else "")

    def _draw(self) -> None:
        self._stream.write("\r\x1b[K" + f"setup: {self._line()}"[:LINE_CHARACTERS])
        self._stream.flush()
