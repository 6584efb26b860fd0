"""`make soak`: a thousand turns through the whole line, and nothing grows: memory, descriptors, threads.

    make soak                           1,000 turns
    make soak ARGS="--turns 100 --seed 7"

Turns are drawn from a seed, as a desk has them: new conversations and old ones, more of them than the worker
can set aside; short and long questions, some read ahead in parts, some stopped in the middle, one in ten with
a grammar; states sealed and given back; the worker measuring itself. Fails (exit 1) when something has grown
between the first quarter after a warm-up and the last.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from govdesk.domain.ids import ConversationId
from govdesk.domain.turn import Counted, Ended, Outcome, Released, Sampling
from tests.bench.line import DeskLine

_WARM_UP = 5
"""Turns after which everything was used once: a stop, a long prompt, a conversation that goes on."""
_FILLING_WORDS = (2300, 400, 400, 400)
"""The first prompt takes nearly all of the context, whose memory comes with its first use; then what is set aside."""
_ASIDE_BYTES = 24 * 2**20
"""For a few short conversations or a long one: not for all that are gone on with."""
_GRAMMAR = 'root ::= "yes" | "no"'
_TUNE_MILLISECONDS = 100
_MOST_MIB = 16.0
"""What allocators keep for themselves varies by a few MiB; a leak of 32 KiB a turn is 32 MiB in 1,000."""
_MOST_COUNT = 2


@dataclass(frozen=True, slots=True)
class Sample:
    """One process after one turn: private and shared memory in MiB, open descriptors, threads."""

    memory: float
    shared: float
    descriptors: int
    threads: int


def sample(pid: int) -> Sample:
    """What the kernel says of a process."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    fields = dict(line.split(":", 1) for line in status)
    return Sample(
        memory=int(fields["RssAnon"].split()[0]) / 1024,
        shared=int(fields["RssShmem"].split()[0]) / 1024,  # memfds that are mapped: states on their way
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
        ("shared", _MOST_MIB, "MiB"),
        ("descriptors", _MOST_COUNT, ""),
        ("threads", _MOST_COUNT, ""),
    ):
        before, after = (statistics.median(getattr(one, what) for one in part) for part in (first, last))
        if after - before > most:
            complaints.append(f"{name}: {what} grew from {before:g} to {after:g} {unit}".rstrip())
    return complaints


class Soak:
    """Turns as a seed draws them, over one line.

    Args:
        line: the desk's line.
        seed: what is drawn from.
    """

    def __init__(self, line: DeskLine, seed: int) -> None:
        self._line = line
        self._draw = random.Random(seed)
        self._conversations: list[ConversationId] = []
        self.seen: dict[str, list[Sample]] = {"worker": [], "session": []}
        self.outcomes: list[Outcome] = []
        self.done: Counter[str] = Counter()
        """How often something was done beside a turn."""

    def fill(self) -> None:
        """Use the context and what is set aside once, to the end."""
        self._line.supervisor.model()
        for words in _FILLING_WORDS:
            filling = " ".join(self._draw.choices(_WORDS, k=words))
            *_, ended = self._line.chat.run_turn(None, filling, Sampling(max_tokens=1))
            assert isinstance(ended, Ended) and ended.outcome is Outcome.COMPLETED, ended
            self._conversations.append(ended.conversation)
        self._conversations.pop(0)  # there is room for no more in it

    def turn(self, number: int) -> None:
        """One turn with what is around it, and a look at both processes."""
        line, draw = self._line, self._draw
        conversation = draw.choice(self._conversations[-6:]) if draw.random() < 0.6 else None
        prompt = " ".join(draw.choices(_WORDS, k=draw.choice((5, 20, 200, 400))))
        if draw.random() < 0.3:
            self._read_ahead(conversation, prompt)
        if conversation is not None and draw.random() < 0.3:
            self._forget(conversation)
        grammar = _GRAMMAR if number % 10 == 9 else ""
        sampling = Sampling(max_tokens=draw.choice((4, 16, 48)), seed=number, grammar=grammar)
        ended = self._ask(conversation, prompt, sampling, stopped=draw.random() < 0.25)
        self.done["grammar"] += bool(grammar)
        self.outcomes.append(ended.outcome)
        if conversation is None and ended.conversation:
            self._conversations.append(ended.conversation)
        if ended.outcome is Outcome.FAILED and ended.conversation in self._conversations:
            self._conversations.remove(ended.conversation)  # it is full
        if draw.random() < 0.4:
            self.done["sealed"] += line.cache.save()
        if number % 10 == 4:
            self.done["tuned"] += line.tune(_TUNE_MILLISECONDS)
        assert line.broker.process is not None
        self.seen["worker"].append(sample(line.broker.process.pid))
        self.seen["session"].append(sample(os.getpid()))

    def _ask(
        self, conversation: ConversationId | None, prompt: str, sampling: Sampling, *, stopped: bool
    ) -> Ended:
        ended = None
        for event in self._line.chat.run_turn(conversation, prompt, sampling):
            if isinstance(event, Released) and stopped:
                self._line.chat.cancel()
            if isinstance(event, Ended):
                ended = event
        assert ended is not None
        return ended

    def _read_ahead(self, conversation: ConversationId | None, prompt: str) -> None:
        """In two parts, as it is typed; or something else, that turns out wrong."""
        half = len(prompt) // 2
        texts = (prompt[:half], prompt) if self._draw.random() < 0.7 else (prompt[half:],)
        for text in texts:
            self.done["read ahead"] += isinstance(self._line.ahead.read(conversation, text), Counted)

    def _forget(self, conversation: ConversationId) -> None:
        """The worker has nothing of it any more: what was sealed is given back, if anything was."""
        self._line.states.forget(conversation)
        self.done["given back"] += self._line.files.kept(conversation) is not None


def soak(turns: int, seed: int, *, progress: bool = False) -> Soak:
    """Run the turns; the samples of the worker and of this process, how the turns ended, what was done."""
    with tempfile.TemporaryDirectory() as folder:
        line = DeskLine(Path(folder), _ASIDE_BYTES)
        run = Soak(line, seed)
        try:
            run.fill()
            started = time.monotonic()
            for number in range(turns):
                run.turn(number)
                if progress and (number + 1) % 50 == 0:
                    _say(number + 1, time.monotonic() - started, run.seen)
            if line.broker.started != 1:
                raise SystemExit(f"The worker was started {line.broker.started} times: it did not last.")
        finally:
            line.close()
            line.audit._channel.close()
    return run


_WORDS = (
    "harbour study committee review draft member chair month figure annex supply route river bridge".split()
)


def _say(turns: int, seconds: float, seen: dict[str, list[Sample]]) -> None:
    parts = [
        f"{name} {list_[-1].memory:.0f} MiB, {list_[-1].shared:.0f} MiB shared, {list_[-1].descriptors} descriptors, {list_[-1].threads} threads"
        for name, list_ in seen.items()
    ]
    print(f"{turns:5} turns  {seconds:6.0f} s  {'; '.join(parts)}", flush=True)


def main() -> int:
    """Soak, and say what grew."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--turns", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parsed = parser.parse_args()
    run = soak(parsed.turns, parsed.seed, progress=True)
    counted = {outcome.value: run.outcomes.count(outcome) for outcome in dict.fromkeys(run.outcomes)}
    print(f"turns ended: {counted}; beside them: {dict(run.done)}")
    complaints = [words for name, samples in run.seen.items() for words in grown(name, samples)]
    print("\n".join(complaints) or "nothing grew")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
