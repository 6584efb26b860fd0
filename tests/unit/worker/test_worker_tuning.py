"""A worker measures itself in a time that fits the model: a slow one gets fewer tokens and longer, and a result."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from govdesk.domain.frames import Tune, Tuned
from govdesk.domain.ids import ModelDigest
from govdesk.inference.processor import Processor
from govdesk.inference.tuning import Tunings
from govdesk.worker import tuning
from govdesk.worker.sequences import MANY_TOKENS, OK, Sequence
from govdesk.worker.tuning import MAX_MILLISECONDS, measure

TWO_CORES = Processor("A Processor", 2, 2, 2, 2, None, "ab" * 48)
MODEL = ModelDigest("cd" * 48)
_ABORTED = 2


class Clock:
    now = 0.0

    def perf_counter(self) -> float:
        return self.now

    monotonic = perf_counter


@dataclasses.dataclass
class Machine:
    """A context on a processor where a token of an answer takes so long with one thread, and one read less."""

    clock: Clock
    decode_seconds: float
    read_seconds: float
    room: bool = True
    threads: int = 0
    reads: list[tuple[int, int]] = dataclasses.field(default_factory=list)
    """Tokens and threads of each native call."""
    stop: Callable[[], bool] = lambda: False

    @contextlib.contextmanager
    def emptied(self) -> Iterator[Sequence | None]:
        yield Sequence() if self.room else None

    def cut(self, sequence: Sequence, tokens: int) -> bool:
        del sequence.tokens[tokens:]
        return True

    def read(self, sequence: Sequence, tokens: list[int], *, logits: bool) -> int:
        if self.stop():
            return _ABORTED
        self.reads.append((len(tokens), self.threads))
        each = self.decode_seconds if len(tokens) == 1 else self.read_seconds
        self.clock.now += each * len(tokens) / self.threads
        sequence.tokens += tokens
        return OK

    def set_threads(self, decode: int, read: int) -> None:
        assert decode == read
        self.threads = decode


class Watch:
    def switch(self, on: bool) -> None:
        pass


class Others:
    def begin(self) -> None:
        pass

    def look(self) -> float:
        return 0.0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(tuning, "time", made)
    monkeypatch.setattr(tuning, "Others", Others)
    return made


def _measured(machine: Machine, order: Tune) -> Tuned:
    return measure(order, machine, Watch(), machine.set_threads, 8, machine.stop)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("decode_seconds", "read_seconds"),
    [(0.02, 0.002), (0.2, 0.03), (0.6, 0.2), (1.2, 0.4)],
    ids=["135M", "1B", "8B", "14B"],
)
def test_a_model_of_any_usual_size_is_measured_and_kept(
    tmp_path: Path, clock: Clock, decode_seconds: float, read_seconds: float
) -> None:
    """Seconds with one thread of two cores; what `Tunings` orders, and `Tunings` keeps."""
    tunings = Tunings(tmp_path / "tuning.json", TWO_CORES, lambda: "b")
    order = tunings.order("t")
    tuned = _measured(Machine(clock, decode_seconds, read_seconds), order)
    assert tuned.complete and not tuned.interrupted
    assert clock.now * 1000 <= MAX_MILLISECONDS
    kept = tunings.keep(MODEL, tuned, order, 1e8, 1)
    assert kept is not None and (kept.threads, kept.batch_threads) == (2, 2)
    assert kept.token_microseconds == pytest.approx(decode_seconds * 1e6 / 2, rel=0.01)
    assert kept.read_microseconds == pytest.approx(read_seconds * 1e6 / 2, rel=0.01)


def test_a_fast_model_reads_many_tokens_in_three_passes_within_the_time_of_the_order(clock: Clock) -> None:
    machine = Machine(clock, 0.02, 0.002)
    order = Tune(turn="t", threads=(2, 1), batch_threads=(2, 1), milliseconds=3000)
    assert _measured(machine, order).complete
    assert clock.now <= 3.0
    assert machine.reads.count((MANY_TOKENS, 1)) == machine.reads.count((MANY_TOKENS, 2)) == 3


def test_a_slow_model_reads_fewer_tokens_the_same_in_every_trial(clock: Clock) -> None:
    machine = Machine(clock, 0.6, 0.2)
    order = Tune(turn="t", threads=(2, 1), batch_threads=(1, 2), milliseconds=3000)
    assert _measured(machine, order).complete
    counts = {(count, threads) for count, threads in machine.reads if count > MANY_TOKENS // 8}
    assert counts == {(MANY_TOKENS // 4, 1), (MANY_TOKENS // 4, 2)}


def test_a_model_that_cannot_be_tried_in_the_bound_is_left_within_it_and_a_token(clock: Clock) -> None:
    order = Tune(turn="t", threads=(2, 1), batch_threads=(2, 1), milliseconds=3000)
    tuned = _measured(Machine(clock, 20.0, 5.0), order)
    assert not tuned.complete and not tuned.interrupted
    assert clock.now * 1000 <= MAX_MILLISECONDS + 20_000


def test_what_is_stopped_or_has_no_room_says_that_it_was_interrupted(clock: Clock) -> None:
    order = Tune(turn="t", threads=(2, 1), batch_threads=(2, 1), milliseconds=3000)
    stopped = _measured(Machine(clock, 0.6, 0.2, stop=lambda: clock.now > 1.0), order)
    assert stopped.interrupted and not stopped.complete
    assert clock.now <= 2.0
    refused = _measured(Machine(clock, 0.6, 0.2, room=False), order)
    assert refused.interrupted and not refused.complete and refused.timings == ()
