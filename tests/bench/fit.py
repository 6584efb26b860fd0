"""What is said of a model before loading beside what then happens: memory, and speed from another's speed."""

from __future__ import annotations

import time
from pathlib import Path

from govdesk import config
from govdesk.domain.frames import AnswerDone, LoadModel
from govdesk.inference import fit
from tests.bench.figures import Figures
from tests.tiny_worker import TinyWorker
from tests.worker_memory import facts_of, growth_bytes, usable_bytes

_CONTEXTS = (1024, 4096, 8192)
_REPACKED = frozenset({"Q4_0", "Q4_K", "IQ4_NL"})
_TOKENS = 64


def measure(figures: Figures, rounds: int) -> None:
    """Predicted over measured, for every model that is here; the first one's speed predicts the others'."""
    rate: float | None = None
    for path in sorted(config.MODELS.glob("*.gguf"), reverse=True):
        facts = facts_of(path)
        for kv in ("f16", "q8_0"):
            for context_tokens in _CONTEXTS:
                order = LoadModel(
                    context_tokens=context_tokens, threads=2, kv="q8_0" if kv == "q8_0" else "f16"
                )
                settings = fit.Settings(context_tokens, kv, order.micro_batch_tokens)
                predicted = fit.memory(facts, settings, _REPACKED).loaded
                name = f"fit.memory.{path.stem}.{context_tokens}.{kv}"
                figures.add(name, predicted / growth_bytes(path, order), "predicted / taken")
        speeds = [_tokens_per_second(path) for _ in range(max(1, min(rounds, 5)))]
        figures.spread(f"fit.speed.{path.stem}", speeds, "tokens/s, whole line")
        if rate is not None:
            figures.add(
                f"fit.speed.{path.stem}.predicted",
                rate / fit.work_per_token(facts) / sorted(speeds)[len(speeds) // 2],
                "predicted / measured",
            )
        rate = rate or fit.reading_rate(facts, sorted(speeds)[len(speeds) // 2])


def _tokens_per_second(path: Path) -> float:
    worker = TinyWorker(usable_bytes(path), order=LoadModel(context_tokens=1024, threads=2))
    try:
        worker.ask([("user", "Once upon a time")], max_tokens=4)
        started = time.perf_counter()
        _, done = worker.ask([("user", "Tell a long story about a harbour.")], max_tokens=_TOKENS)
        assert isinstance(done, AnswerDone)
        return done.answer_tokens / (time.perf_counter() - started)
    finally:
        worker.stop()
