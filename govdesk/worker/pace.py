"""The worker computes with as many threads as the machine has room for now.

At each part of the work every thread waits for the slowest, and one that has to share its processor
is very slow: with every processor taken, two threads may make a twentieth of what one makes. So
there are never more threads than processors that others leave free, and at least one.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from govdesk.process.others import Others

LOOK_SECONDS = 0.25
"""How often it is looked; one look costs tens of microseconds."""
FRESH_SECONDS = 10.0
"""Work that begins so soon after other work goes on with the threads that were found then."""
_MARGIN = 0.6
"""Of a processor: less than this is no reason to change."""
_QUIET_LOOKS = 2
"""So many looks in a row have to find room before a thread is added; one is enough to take it away."""


class Pace:
    """Threads from token to token.

    Args:
        set_threads: tells the library (threads to decode, threads to read).
        threads: most to decode with.
        batch_threads: most to read with.
        others: what the rest of the machine uses.
    """

    def __init__(
        self,
        set_threads: Callable[[int, int], None],
        threads: int,
        batch_threads: int,
        others: Others | None = None,
    ) -> None:
        self._set = set_threads
        self._others = others or Others()
        self._most, self._most_batch = threads, batch_threads
        self._room: float = self._others.cpus
        self._spare = 0
        self._quiet = 0
        self._next = 0.0
        self._looked = -FRESH_SECONDS
        self._now = (threads, batch_threads)
        set_threads(threads, batch_threads)

    @property
    def threads(self) -> tuple[int, int]:
        """To decode and to read with, now."""
        return self._now

    @property
    def most(self) -> tuple[int, int]:
        """To decode and to read with, when there is room."""
        cpus = self._others.cpus
        return min(self._most, cpus), min(self._most_batch, cpus)

    def allow(self, threads: int, batch_threads: int) -> None:
        """Other most values from now on, such as tuning found."""
        self._most, self._most_batch = threads, batch_threads
        self._apply(self._room)

    def again(self) -> None:
        """Tell the library once more: something else was tried meanwhile."""
        self._set(*self._now)

    def begin(self, spare: int = 0) -> None:
        """Work begins after a rest: what was found lately holds, else there is room until a look says not.

        What runs at this very moment says nothing: the session has just sent the order and still runs. With
        threads that spin for a bounded time, a quarter of a second of too many costs little.

        Args:
            spare: processors that this work leaves to others although there is room: nobody waits for it.
        """
        now = time.monotonic()
        self._quiet, self._spare = 0, spare
        self._apply(self._room if now - self._looked <= FRESH_SECONDS else self._others.cpus)
        self._others.begin()
        self._next = now + LOOK_SECONDS

    def look(self) -> None:
        """Between tokens or parts of a prompt: look around when it is time, and adapt."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + LOOK_SECONDS
        used = self._others.look()
        if used is None:
            return
        self._looked = now
        room = self._others.cpus - used
        if room < self._room - _MARGIN:
            self._apply(room)
        elif room > self._room + _MARGIN:
            self._quiet += 1
            if self._quiet < _QUIET_LOOKS:
                return
            self._apply(room)
        self._quiet = 0

    def _apply(self, room: float) -> None:
        """As many threads as there is room for. What was decided stays until the room has changed clearly."""
        fitting = max(1, round(room))
        self._room = float(fitting)
        taken = max(1, fitting - self._spare)
        wanted = (min(self._most, taken), min(self._most_batch, taken))
        if wanted != self._now:
            self._now = wanted
            self._set(*wanted)
