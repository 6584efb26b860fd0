"""`make soak`: a thousand turns through the whole line, and nothing grows: memory, descriptors, threads.

    make soak                           1,000 turns
    make soak ARGS="--turns 100 --seed 7"

Turns are drawn from a seed: new conversations and old ones, short and long questions, some stopped in the
middle. Fails (exit 1) when something has grown between the first quarter after a warm-up and the last.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from govdesk.domain.ids import ConversationId
from govdesk.domain.turn import Decided, Ended, Outcome, Released, Sampling
from tests.bench.line import WholeLine

_WARM_UP = 5
"""Turns after which everything was used once: a stop, a long prompt, a conversation that goes on."""
_FILLING_WORDS = 600
"""A prompt of so many words takes about a quarter of the context, whose memory comes with its first use."""
_MOST_MIB = 16.0
"""What allocators keep for themselves varies by a few MiB; a leak of 32 KiB a turn is 32 MiB in 1,000."""
_MOST_COUNT = 2


@dataclass(frozen=True, slots=True)
class Sample:
    """One process after one turn: private memory in MiB, open descriptors, threads."""

    memory: float
    descriptors: int
    threads: int


def sample(pid: int) -> Sample:
    """What the kernel says of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in status)
    return Sample(
        memory=int(fields["RssAnon"].split()[0]) / 1024,
        descriptors=len(os.listdir(f"/proc/{pid}/fd")),
        threads=int(fields["Threads"]),
    )


def grown(name: str, samples: list[Sample]) -> list[str]:
    """What has grown, in words; the first samples are the warm-up's and do not count."""
    settled = samples[min(_WARM_UP, len(samples) // 4) :]
    quarter = max(1, len(settled) // 4)
    first, last = settled[:quarter], settled[-quarter:]
    complaints = []
    for what, most, unit in (
        ("memory", _MOST_MIB, "MiB"),
        ("descriptors", _MOST_COUNT, ""),
        ("threads", _MOST_COUNT, ""),
    ):
        before, after = (statistics.median(getattr(one, what) for one in part) for part in (first, last))
        if after - before > most:
            complaints.append(f"{name}: {what} grew from {before:g} to {after:g} {unit}".rstrip())
    return complaints


def soak(turns: int, seed: int, *, progress: bool = False) -> tuple[dict[str, list[Sample]], list[Outcome]]:
    """Run the turns; the samples of the worker and of this process, and how the turns ended."""
    draw = random.Random(seed)
    seen: dict[str, list[Sample]] = {"worker": [], "session": []}
    outcomes: list[Outcome] = []
    conversations: list[ConversationId] = []
    with tempfile.TemporaryDirectory() as folder:
        line = WholeLine(Path(folder))
        try:
            line.supervisor.model()
            broker = line.broker
            assert broker.process is not None
            for first in _WORDS[:5]:  # each of the context's sequences, and one more
                filling = " ".join([first, *draw.choices(_WORDS, k=_FILLING_WORDS)])
                list(line.chat.run_turn(None, filling, Sampling(max_tokens=1)))
            started = time.monotonic()
            for number in range(turns):
                conversation = (
                    draw.choice(conversations[-6:]) if conversations and draw.random() < 0.6 else None
                )
                prompt = " ".join(draw.choices(_WORDS, k=draw.choice((5, 20, 200))))
                stop_after = draw.choice((None, None, None, 1))
                ended = None
                sampling = Sampling(max_tokens=draw.choice((4, 16, 48)), seed=number)
                for event in line.chat.run_turn(conversation, prompt, sampling):
                    if isinstance(event, Decided) and conversation is None:
                        conversations.append(event.conversation)
                    if isinstance(event, Released) and stop_after is not None:
                        line.chat.cancel()
                    if isinstance(event, Ended):
                        ended = event
                assert ended is not None
                outcomes.append(ended.outcome)
                if ended.outcome is Outcome.FAILED and ended.conversation in conversations:
                    conversations.remove(ended.conversation)  # it is full
                seen["worker"].append(sample(broker.process.pid))
                seen["session"].append(sample(os.getpid()))
                if progress and (number + 1) % 50 == 0:
                    _say(number + 1, time.monotonic() - started, seen)
            if broker.started != 1:
                raise SystemExit(f"The worker was started {broker.started} times: it did not last.")
        finally:
            line.close()
            line.audit._channel.close()
    return seen, outcomes


_WORDS = (
    "harbour study committee review draft member chair month figure annex supply route river bridge".split()
)


def _say(turns: int, seconds: float, seen: dict[str, list[Sample]]) -> None:
    parts = [
        f"{name} {list_[-1].memory:.0f} MiB, {list_[-1].descriptors} descriptors, {list_[-1].threads} threads"
        for name, list_ in seen.items()
    ]
    print(f"{turns:5} turns  {seconds:6.0f} s  {'; '.join(parts)}", flush=True)


def main() -> int:
    """Soak, and say what grew."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parsed = parser.parse_args()
    seen, outcomes = soak(parsed.turns, parsed.seed, progress=True)
    counted = {outcome.value: outcomes.count(outcome) for outcome in dict.fromkeys(outcomes)}
    print(f"turns ended: {counted}")
    complaints = [words for name, samples in seen.items() for words in grown(name, samples)]
    print("\n".join(complaints) or "nothing grew")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
