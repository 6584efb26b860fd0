"""How long until the first token: cold, in the next turn, restored after a restart, and read again after one.

One conversation of about 3,000 tokens through the whole line, with the real worker and the real sealed files.
Each way is a function that is given the bench and answers in milliseconds; another one is one more line in
`_WAYS`. The model is loaded before each: loading is a figure of its own.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from govdesk.app.prompt_cache import PromptCache
from govdesk.chat.service import ChatService
from govdesk.domain.ids import ConversationId
from govdesk.domain.turn import Ended, Outcome, Released, Sampling
from govdesk.inference.prompt_states import PromptStates, new_memfd
from govdesk.policy.decisions import Decider
from govdesk.storage.prompt_states import PromptStateFiles
from tests.bench.figures import Figures
from tests.bench.line import Clock, WholeLine

_SENTENCE = (
    "The committee asked for a table of the ships of month {0}, with what was paid for each of the {0}. "
)
_SENTENCES = 120
_SAMPLING = Sampling(max_tokens=8)


class Bench:
    """The whole line with its cache, and one long conversation in it."""

    def __init__(self, folder: Path) -> None:
        self.line = WholeLine(folder)
        self.files = PromptStateFiles(self.line.database, folder / "caches")
        self.states = PromptStates(self.line.supervisor)
        policy = self.line.policy
        self.cache = PromptCache(
            inference=self.line.supervisor,
            states=self.states,
            files=self.files,
            audit=self.line.audit,
            clock=Clock(),
            marking=policy.policy.system_high,
            policy_stamp=policy.stamp,
            allowed=True,
        )
        self.cached = ChatService(
            audit=self.line.audit,
            decider=Decider(policy),
            redactor=self.line.redactor,
            inference=self.cache,
            store=self.line.store,
            clock=Clock(),
            marking=policy.policy.system_high,
            policy_stamp=policy.stamp,
        )
        self.conversation: ConversationId | None = None
        self.prompt_tokens = 0

    def turn(self, chat: ChatService, conversation: ConversationId | None, prompt: str) -> float:
        """Milliseconds from sending to the first token of the answer."""
        started, first, ended = time.perf_counter(), 0.0, None
        for event in chat.run_turn(conversation, prompt, _SAMPLING):
            if isinstance(event, Released) and not first:
                first = time.perf_counter()
            if isinstance(event, Ended):
                ended = event
        assert ended is not None and ended.outcome is Outcome.COMPLETED and first, ended
        self.conversation, self.prompt_tokens = ended.conversation, ended.usage.prompt_tokens
        return 1000 * (first - started)

    def restart(self) -> None:
        """A fresh worker, with the model loaded."""
        self.line.supervisor.stop()
        self.line.supervisor.model()

    def close(self) -> None:
        """End worker and writer."""
        self.line.close()


def cold(bench: Bench) -> float:
    """A new conversation that begins with a long text."""
    bench.restart()
    text = "".join(_SENTENCE.format(number) for number in range(_SENTENCES))
    return bench.turn(bench.cached, None, f"{text}\nWhat did the committee ask for?")


def warm(bench: Bench) -> float:
    """The next turn of it."""
    return bench.turn(bench.cached, bench.conversation, "When did it ask?")


def restored(bench: Bench) -> float:
    """The next turn after a restart, from the sealed file."""
    bench.cache.save()
    bench.restart()
    return bench.turn(bench.cached, bench.conversation, "And who answered?")


def read_again(bench: Bench) -> float:
    """The next turn after a restart, with nothing kept."""
    bench.restart()
    return bench.turn(bench.line.chat, bench.conversation, "And who answered?")


_WAYS: tuple[tuple[str, Callable[[Bench], float]], ...] = (
    ("cold", cold),
    ("next-turn", warm),
    ("restored", restored),
    ("read-again", read_again),
)


def measure(figures: Figures, rounds: int) -> None:
    """Each way once a round, in one run; then what sealing and opening the state costs."""
    taken: dict[str, list[float]] = {name: [] for name, _ in _WAYS}
    sealing, opening, size = [], [], 0
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for _ in range(rounds):
            for name, way in _WAYS:
                taken[name].append(way(bench))
            assert bench.conversation is not None
            state = bench.states.save(bench.conversation, bench.prompt_tokens, 2**31)
            assert state is not None
            size = state.state_bytes
            started = time.perf_counter()
            bench.files.keep(bench.conversation, state, b"bench", 1)
            sealing.append(time.perf_counter() - started)
            os.close(state.descriptor)
            started = time.perf_counter()
            state = bench.files.take(bench.conversation, new_memfd, 2)
            opening.append(time.perf_counter() - started)
            assert state is not None
            os.close(state.descriptor)
            bench.files.clear()
        figures.add("first-token.prompt", bench.prompt_tokens, "tokens")
        bench.close()
    for name, values in taken.items():
        figures.spread(f"first-token.{name}", values, "ms")
    ratios = [again / once for again, once in zip(taken["read-again"], taken["restored"], strict=True)]
    figures.add("first-token.read-again/restored", statistics.median(ratios), "times")
    figures.add("state.size", size / 2**20, "MiB")
    figures.spread("state.seal", sealing, "s")
    figures.spread("state.open", opening, "s")
