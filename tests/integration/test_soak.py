"""Turn after turn nothing grows: a sample of `make soak`, and that it would see a leak."""

from __future__ import annotations

import os

import pytest

from govdesk.domain.turn import Outcome
from tests.bench.soak import Sample, grown, sample, soak

TURNS = 30


def test_thirty_turns_grow_nothing() -> None:
    run = soak(TURNS, seed=int(os.environ.get("GOVDESK_SOAK_SEED", "11")))
    assert len(run.outcomes) == TURNS
    assert {Outcome.COMPLETED, Outcome.CANCELLED} <= set(run.outcomes)
    assert Outcome.FAILED not in run.outcomes
    assert all(run.done[what] for what in ("read ahead", "sealed", "given back", "tuned", "grammar")), (
        run.done
    )
    assert [words for name, samples in run.seen.items() for words in grown(name, samples)] == []


@pytest.mark.parametrize(
    ("leak", "what"),
    [
        (lambda turn: Sample(50 + 0.032 * turn, 9, 20, 3), "memory"),
        (lambda turn: Sample(50, 9 + 0.032 * turn, 20, 3), "shared"),
        (lambda turn: Sample(50, 9, 20 + turn // 100, 3), "descriptors"),
        (lambda turn: Sample(50, 9, 20, 3 + turn // 100), "threads"),
    ],
)
def test_a_leak_is_seen(leak: object, what: str) -> None:
    assert callable(leak)
    [words] = grown("worker", [leak(turn) for turn in range(1000)])
    assert what in words


def test_what_only_settles_is_no_leak() -> None:
    assert (
        grown(
            "worker", [Sample(50 + min(turn, 5) * 30 + turn % 3, 9, 20 + turn % 2, 3) for turn in range(1000)]
        )
        == []
    )


def test_a_sample_counts_what_is_there() -> None:
    before = sample(os.getpid())
    kept = [os.dup(0) for _ in range(5)]
    held = bytearray(os.urandom(1)) * (64 * 2**20)
    after = sample(os.getpid())
    for descriptor in kept:
        os.close(descriptor)
    assert after.descriptors == before.descriptors + 5
    assert after.memory > before.memory + 48
    assert held
