"""Seconds from Send to the first token of a 2,000-token paste: read ahead while it stood in the box, and not."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from govdesk.chat.reading_ahead import RECORD_SECONDS, ReadingAhead
from govdesk.domain.turn import Counted, Released, Sampling
from govdesk.policy.decisions import Decider
from tests.bench.figures import Figures
from tests.bench.line import Clock, WholeLine

PASTE_TOKENS = 2000
_WORDS = "The harbour study compares three ports by depth, crane capacity and rail access. "


def measure(figures: Figures, rounds: int) -> None:
    """The whole line both times: check, redaction, durable records, count, worker, output redaction.

    Each round has a paste of its own, so that nothing of it was read before. The reading itself is timed,
    too: it is what the paste has to stand in the box for.
    """
    with tempfile.TemporaryDirectory() as folder:
        line = WholeLine(Path(folder))
        line.supervisor.model()
        ahead = ReadingAhead(
            audit=line.audit,
            decider=Decider(line.policy),
            redactor=line.redactor,
            inference=line.supervisor,
            store=line.store,
            clock=Clock(),
            marking=line.policy.policy.system_high,
            policy_stamp=line.policy.stamp,
            allowed=True,
        )
        cold, warm, read, sizes = [], [], [], []
        for number in range(rounds):
            unread, pasted = _paste(2 * number), _paste(2 * number + 1)
            cold.append(_first_token(line, unread))
            time.sleep(RECORD_SECONDS)
            started = time.perf_counter()
            counted = ahead.read(None, pasted)
            read.append(time.perf_counter() - started)
            assert isinstance(counted, Counted), counted
            sizes.append(counted.prompt_tokens)
            warm.append(1000 * _first_token(line, pasted))
        line.close()
    figures.spread("first-token.paste.unread", cold, "s")
    figures.spread("first-token.paste.read-ahead", warm, "ms")
    figures.spread("read-ahead.itself", read, "s, while it stands in the box")
    figures.spread("read-ahead.prompt", sizes, "tokens")


def _paste(number: int) -> str:
    """About `PASTE_TOKENS` tokens that begin like no other paste."""
    sentences = PASTE_TOKENS // 15
    return f"Paper {number}. " + "".join(f"{_WORDS}Item {at}. " for at in range(sentences * 15 // 20))


def _first_token(line: WholeLine, prompt: str) -> float:
    """Seconds from the sending to the first words that may be shown; the rest of the answer is short."""
    started, first = time.perf_counter(), 0.0
    for event in line.chat.run_turn(None, prompt, Sampling(max_tokens=16)):
        if isinstance(event, Released) and not first:
            first = time.perf_counter() - started
    return first
