"""How reading and decoding slow down as a conversation grows: the library's own growth, with GovDesk's settings."""

from __future__ import annotations

import os

from govdesk.inference import processor, threads
from govdesk.process import environment
from tests.bench.figures import Figures
from tests.bench.loop import Loop

DEPTHS = (0, 512, 1024, 2048, 4096, 8192)
_READ_TOKENS = 256
_MOST_ROUNDS = 5


def measure(figures: Figures, rounds: int, tokens: int) -> None:
    """Tokens per second at each depth of the context."""
    chosen = threads.choose(processor.read())
    loop = Loop(
        environment.for_worker(os.environ),
        threads=chosen.decode,
        batch_threads=chosen.batch,
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
