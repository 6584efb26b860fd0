"""What is said of a model before loading beside what then happens: memory, and speed from another's speed.

Of every model that is here, and of the embedded one in other formats, made now: the table of what a byte of each
format takes was made from some of them, the others (`NOT_IN_THE_TABLE`) show what it says of what it does not
know.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from govdesk import config
from govdesk.domain.frames import AnswerDone, LoadModel
from govdesk.inference import fit
from govdesk.inference.formats import repacked_formats, this_cpu
from tests.bench.figures import Figures
from tests.quantizing import quantized
from tests.tiny_worker import TinyWorker
from tests.worker_memory import facts_of, growth_bytes, usable_bytes

EMBEDDED = config.MODELS / "smollm2-135m-instruct.gguf"
IN_THE_TABLE = ("Q4_0", "Q4_1")
NOT_IN_THE_TABLE = ("Q4_K", "Q5_0", "Q6_K")
_CONTEXTS = (1024, 4096, 8192)
_TOKENS = 64


def measure(figures: Figures, rounds: int) -> None:
    """Predicted over measured; the embedded model's speed predicts the others'."""
    others = [path for path in sorted(config.MODELS.glob("*.gguf")) if path != EMBEDDED]
    with tempfile.TemporaryDirectory() as folder:
        made = [quantized(EMBEDDED, Path(folder), name) for name in (*IN_THE_TABLE, *NOT_IN_THE_TABLE)]
        for path in (EMBEDDED, *others):
            for kv in ("f16", "q8_0"):
                for context_tokens in _CONTEXTS:
                    _memory(figures, path, context_tokens, "q8_0" if kv == "q8_0" else "f16")
        for path in made:
            _memory(figures, path, _CONTEXTS[0], "f16")
        rate = _speed(figures, EMBEDDED, rounds, None)
        for path in (*made, *others):
            _speed(figures, path, rounds, rate)


def _memory(figures: Figures, path: Path, context_tokens: int, kv: fit.Kv) -> None:
    """Of one model, its weights mapped and in the worker's own memory."""
    for own in (False, True):
        weights = "own" if own else "mapped"
        order = LoadModel(
            context_tokens=context_tokens, threads=2, kv=kv, weights="own" if own else "mapped", aside_bytes=0
        )
        settings = fit.Settings(context_tokens, kv, order.micro_batch_tokens, own_weights=own)
        predicted = fit.memory(facts_of(path), settings, repacked_formats(this_cpu())).loaded
        name = f"fit.memory.{path.stem}.{context_tokens}.{kv}.{weights}"
        figures.add(name, predicted / growth_bytes(path, order), "predicted / taken")


def _speed(figures: Figures, path: Path, rounds: int, rate: float | None) -> float:
    """Of one model, beside what `rate` says of it; what it says of the machine."""
    facts = facts_of(path)
    speeds = [_tokens_per_second(path) for _ in range(max(1, min(rounds, 5)))]
    figures.spread(f"fit.speed.{path.stem}", speeds, "tokens/s, whole line")
    if rate is not None:
        predicted = rate / fit.work_per_token(facts)
        name = f"fit.speed.{path.stem}.predicted"
        figures.add(name, predicted / statistics.median(speeds), "predicted / measured")
    return fit.reading_rate(facts, statistics.median(speeds))


def _tokens_per_second(path: Path) -> float:
    order = LoadModel(context_tokens=1024, threads=2, weights="own")
    worker = TinyWorker(usable_bytes(path), order=order)
    try:
        worker.ask([("user", "Once upon a time")], max_tokens=4)
        started = time.perf_counter()
        _, done = worker.ask([("user", "Tell a long story about a harbour.")], max_tokens=_TOKENS)
        assert isinstance(done, AnswerDone)
        return done.answer_tokens / (time.perf_counter() - started)
    finally:
        worker.stop()
