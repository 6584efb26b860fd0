"""How reading and decoding slow down as a conversation grows: the library's own growth, with GovDesk's settings.

Busy, with as many threads as the worker takes then.
"""

from __future__ import annotations

import os
import time

from govdesk.inference import processor, threads
from govdesk.process import environment
from govdesk.process.others import Others
from tests.bench.figures import Figures
from tests.bench.loop import Loop

DEPTHS = (0, 512, 1024, 2048, 4096, 8192)
_READ_TOKENS = 256
_MOST_ROUNDS = 5


def measure(figures: Figures, rounds: int, tokens: int) -> None:
    """Tokens per second at each depth of the context."""
    chosen, room = threads.choose(processor.read()), _room()
    loop = Loop(
        environment.for_worker(os.environ),
        threads=min(chosen.decode, room),
        batch_threads=min(chosen.batch, room),
        context=DEPTHS[-1] + 1024 + tokens,
    )
    reading: dict[int, list[float]] = {depth: [] for depth in DEPTHS}
    decoding: dict[int, list[float]] = {depth: [] for depth in DEPTHS}
    try:
        loop.run(decode=8)
        for _ in range(min(rounds, _MOST_ROUNDS)):
            for depth in DEPTHS:
                read, decoded = loop.run(depth=depth, read=_READ_TOKENS, decode=tokens)
                reading[depth].append(read)
                decoding[depth].append(decoded)
    finally:
        loop.close()
    for depth in DEPTHS:
        figures.spread(f"growth.{depth}.read", reading[depth], "tokens/s")
        figures.spread(f"growth.{depth}.decode", decoding[depth], "tokens/s")


def _room() -> int:
    """Processors that others leave free now, at least one."""
    others = Others()
    others.begin()
    time.sleep(1.0)
    used = others.look()
    return max(1, round(others.cpus - (used or 0.0)))
