"""The worker measures itself: what a token takes with so many threads, on made-up tokens, for a bounded time.

All numbers take turns, and the best time of each counts: what disturbs a measurement only makes it slower.
It leaves nothing behind, and stops at once for any other order.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from govdesk.domain.frames import Timing, Tune, Tuned
from govdesk.process.others import Others
from govdesk.worker.aside import Sequence
from govdesk.worker.decoding import Watch
from govdesk.worker.sequences import MANY_TOKENS, OK, Sequences

MAX_CANDIDATES = 16
MAX_MILLISECONDS = 10_000
_PASSES = 3
_DECODED_TOKENS = 8
_ENOUGH_SECONDS = 0.06
"""A slow model need not decode so many: after this one token more says no more."""


@dataclass(slots=True)
class _Trial:
    reading: bool
    threads: int
    best_seconds: float | None = None
    passes: int = 0


@dataclass(slots=True)
class _Bench:
    sequences: Sequences
    sequence: Sequence
    stopped: Callable[[], bool]
    token: list[int] = field(default_factory=lambda: [1])

    def run(self, trial: _Trial) -> bool:
        """One pass of a trial; False when it was stopped or failed."""
        count = MANY_TOKENS if trial.reading else _DECODED_TOKENS
        if not self.sequences.cut(self.sequence, 0):
            return False
        if trial.reading:
            started = time.perf_counter()
            if self.sequences.read(self.sequence, self.token * count, logits=True) != OK:
                return False
            seconds = (time.perf_counter() - started) / count
        else:
            if self.sequences.read(self.sequence, self.token, logits=True) != OK:  # threads start
                return False
            started, made = time.perf_counter(), 0
            while made < count and (made == 0 or time.perf_counter() - started < _ENOUGH_SECONDS):
                if self.sequences.read(self.sequence, self.token, logits=True) != OK:
                    return False
                made += 1
            seconds = (time.perf_counter() - started) / made
        trial.best_seconds = min(seconds, trial.best_seconds or seconds)
        trial.passes += 1
        return not self.stopped()


def measure(
    order: Tune,
    sequences: Sequences,
    watch: Watch,
    set_threads: Callable[[int, int], None],
    most_threads: int,
    stop: Callable[[], bool],
) -> Tuned:
    """Run the trials that an order asks for.

    Args:
        order: which numbers, and for how long.
        sequences: of the context; what it holds is brought back.
        watch: llama.cpp's look at `stop`, so that a long decode ends too.
        set_threads: tells the library how many decode and read.
        most_threads: for more than these there is no memory.
        stop: whether something else is wanted.
    """
    trials = [_Trial(reading=False, threads=count) for count in _counts(order.threads, most_threads)]
    trials += [_Trial(reading=True, threads=count) for count in _counts(order.batch_threads, most_threads)]
    others = Others()
    others.begin()
    deadline = time.monotonic() + min(order.milliseconds, MAX_MILLISECONDS) / 1000
    with sequences.emptied() as sequence:
        if sequence is not None and trials:
            watch.switch(True)
            try:
                _all(trials, _Bench(sequences, sequence, stop), set_threads, deadline)
            finally:
                watch.switch(False)
    used = others.look()
    return Tuned(
        turn=order.turn,
        timings=tuple(
            Timing(
                reading=trial.reading,
                threads=trial.threads,
                token_microseconds=max(1, round(1e6 * trial.best_seconds)),
            )
            for trial in trials
            if trial.best_seconds is not None
        ),
        complete=bool(trials) and all(trial.passes >= 2 for trial in trials),
        others_percent=0 if used is None else round(100 * used),
    )


def _all(
    trials: list[_Trial], bench: _Bench, set_threads: Callable[[int, int], None], deadline: float
) -> None:
    for _ in range(_PASSES):
        for trial in trials:
            if time.monotonic() >= deadline:
                return
            set_threads(trial.threads, trial.threads)
            if not bench.run(trial):
                return


def _counts(asked: tuple[int, ...], most: int) -> tuple[int, ...]:
    return tuple(dict.fromkeys(count for count in asked if 1 <= count <= most))[:MAX_CANDIDATES]
