"""The worker measures itself: what a token takes with so many threads, on made-up tokens, for a bounded time.

All numbers take turns, and the best time of each counts: what disturbs a measurement only makes it slower.
How long it takes follows from the first turn: a large model gets longer turns, with fewer tokens in each, and
is measured once rather than never. It leaves nothing behind, and stops at once for any other order.
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
MAX_MILLISECONDS = 30_000
"""A model of which not every number can be tried once in this time is not measured."""
_PASSES = 3
_DECODED_TOKENS = 8
_ENOUGH_SECONDS = 0.06
"""A slow model need not decode so many: after this one token more says no more."""
_READ_SECONDS = 0.5
"""Nor need it read `MANY_TOKENS` at once where they take longer than this."""
_FEW_TOKENS = MANY_TOKENS // 8
_LEAST_READ_TOKENS = MANY_TOKENS // 4
"""Fewer are read with other kernels than a prompt."""


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
    read_tokens: int = 0
    """How many are read at once, in every trial the same; 0 until the first one shows what they take."""
    token: list[int] = field(default_factory=lambda: [1])

    def warm(self) -> bool:
        """The weights come into reach, which the first trial would have to pay for; False when it failed."""
        return self._seconds(1) is not None and not self.stopped()

    def run(self, trial: _Trial) -> bool:
        """One pass of a trial; False when it was stopped or failed."""
        seconds = self._reading() if trial.reading else self._decoding()
        if seconds is None:
            return False
        trial.best_seconds = min(seconds, trial.best_seconds or seconds)
        trial.passes += 1
        return not self.stopped()

    def _reading(self) -> float | None:
        """What one token of a prompt takes."""
        if not self.read_tokens:
            few = self._seconds(_FEW_TOKENS)
            if few is None or self.stopped():
                return None
            count, each = MANY_TOKENS, few / _FEW_TOKENS
            while count > _LEAST_READ_TOKENS and count * each > _READ_SECONDS:
                count //= 2
            self.read_tokens = count
        seconds = self._seconds(self.read_tokens)
        return None if seconds is None else seconds / self.read_tokens

    def _decoding(self) -> float | None:
        """What one token of an answer takes; the first one, in which threads start, only where it is all."""
        first = self._seconds(1)
        if first is None or first >= _ENOUGH_SECONDS:
            return first
        started, made = time.perf_counter(), 0
        while made < _DECODED_TOKENS and (made == 0 or time.perf_counter() - started < _ENOUGH_SECONDS):
            if self.sequences.read(self.sequence, self.token, logits=True) != OK:
                return None
            made += 1
        return (time.perf_counter() - started) / made

    def _seconds(self, count: int) -> float | None:
        """What it takes to compute so many tokens at once at the beginning; None when that failed."""
        if not self.sequences.cut(self.sequence, 0):
            return None
        started = time.perf_counter()
        if self.sequences.read(self.sequence, self.token * count, logits=True) != OK:
            return None
        return time.perf_counter() - started


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
    with sequences.emptied() as sequence:
        if sequence is not None and trials:
            watch.switch(True)
            try:
                _all(trials, _Bench(sequences, sequence, stop), set_threads, order.milliseconds / 1000)
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
        complete=bool(trials) and all(trial.passes for trial in trials),
        interrupted=sequence is None or stop(),
        others_percent=0 if used is None else round(100 * used),
    )


def _all(
    trials: list[_Trial], bench: _Bench, set_threads: Callable[[int, int], None], seconds: float
) -> None:
    """Pass after pass, as far as they fit into the time; the first as long as it takes, within the bound."""
    started = time.monotonic()
    most = MAX_MILLISECONDS / 1000
    set_threads(trials[0].threads, trials[0].threads)
    if not bench.warm():
        return
    first = 0.0
    for _ in range(_PASSES):
        if time.monotonic() - started + first > min(most, max(seconds, 2.5 * first)):
            return
        for trial in trials:
            if time.monotonic() - started >= most:
                return
            set_threads(trial.threads, trial.threads)
            if not bench.run(trial):
                return
        first = first or time.monotonic() - started


def _counts(asked: tuple[int, ...], most: int) -> tuple[int, ...]:
    return tuple(dict.fromkeys(count for count in asked if 1 <= count <= most))[:MAX_CANDIDATES]
