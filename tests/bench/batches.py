"""How large a part of a prompt is best computed at once: reading speed and memory for each size."""

from __future__ import annotations

import time

from govdesk import config
from govdesk.domain.frames import AnswerDone, LoadModel
from govdesk.inference import processor, threads
from tests.bench.figures import Figures
from tests.tiny_worker import TinyWorker
from tests.worker_memory import WORDS, growth_bytes, usable_bytes

_SIZES = (64, 128, 256, 512, 1024)
_CONTEXT_TOKENS = 4096
_REPEATS = 90
"""Of a sentence of twenty tokens or so: no prompt is a multiple of a size."""


def measure(figures: Figures, rounds: int) -> None:
    """Each size in turn, so that what disturbs a moment disturbs all of them."""
    chosen = threads.choose(processor.read())
    for path in sorted(config.MODELS.glob("*.gguf")):
        content = usable_bytes(path)
        speeds: dict[int, list[float]] = {size: [] for size in _SIZES}
        for number in range(max(1, min(rounds, 5))):
            for size in _SIZES:
                worker = TinyWorker(content, order=_order(size, chosen))
                try:
                    speeds[size].append(_read(worker, number))
                finally:
                    worker.stop()
        for size in _SIZES:
            figures.spread(f"batches.read.{path.stem}.{size}", speeds[size], "tokens/s")
            taken = growth_bytes(path, _order(size, chosen))
            figures.add(f"batches.memory.{path.stem}.{size}", taken / 2**20, "MiB")


def _order(size: int, chosen: threads.Threads) -> LoadModel:
    return LoadModel(
        context_tokens=_CONTEXT_TOKENS,
        threads=chosen.decode,
        batch_threads=chosen.batch,
        batch_tokens=size,
        micro_batch_tokens=size,
        weights="own",
        aside_bytes=0,
    )


def _read(worker: TinyWorker, number: int) -> float:
    """Tokens per second of a prompt that begins otherwise than the one before."""
    worker.ask([("user", "Hello.")], max_tokens=1)
    started = time.perf_counter()
    _, done = worker.ask([("user", f"{number} " + WORDS * _REPEATS)], max_tokens=1)
    assert isinstance(done, AnswerDone), done
    return done.read_tokens / (time.perf_counter() - started)
