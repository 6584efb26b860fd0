"""Drafts by look-up, with and without: a task that repeats its input, and one that does not.

With one thread at temperature 0, where drafts are exact, and with the threads of this machine in an answer that is drawn.
There the texts differ, so seconds are per token.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

from govdesk import config
from govdesk.domain.frames import AnswerDone, AnswerPiece, ChatMessage, Generate, LoadModel
from govdesk.inference import threads
from govdesk.process import environment
from tests.bench.decode import MODEL
from tests.bench.figures import Figures

_LIST = "Ada Lovelace, 12 Harbour Road; Grace Hopper, 4 Mill Lane; Alan Turing, 77 Park View; Edsger Dijkstra, 3 Quay. "
TASKS = {
    "repeats": f"Repeat this text exactly, word for word: {_LIST * 4}",
    "does-not": "Write a long and detailed story about a harbour town and its people.",
}

_THREADS = threads.suitable()
WAYS: dict[str, tuple[LoadModel, dict[str, float]]] = {
    "exact": (LoadModel(context_tokens=2048, threads=1), {"temperature": 0.0, "top_k": 1}),
    "drawn": (LoadModel(context_tokens=2048, threads=_THREADS), {"temperature": 0.2, "top_k": 40}),
}


def measure(figures: Figures, rounds: int, tokens: int) -> None:
    """Seconds without drafts over seconds with them, pair by pair; in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.speculation", str(MODEL), str(rounds), str(tokens)],
        env={**environment.for_worker(os.environ), "PYTHONPATH": str(config.CHECKOUT)},
        cwd=config.CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    for task in TASKS:
        for way in WAYS:
            name = f"speculation.{way}.{task}"
            figures.spread(name, found[f"{way} {task}"], "times as fast as without drafts, pair by pair")
        figures.add(f"speculation.exact.{task}.same-text", float(found[f"exact {task} same"]), "1 = yes")


def _main(model: str, rounds: int, tokens: int) -> None:
    found: dict[str, object] = {}
    for way, (order, sampling) in WAYS.items():
        found |= _compare(model, way, order, sampling, rounds, tokens)
    print(json.dumps(found))


def _compare(
    model: str, way: str, load: LoadModel, sampling: dict[str, float], rounds: int, tokens: int
) -> dict[str, object]:
    from govdesk.worker.engine import Engine

    descriptor = os.open(model, os.O_RDONLY)
    engine = Engine((descriptor,), load)

    def answer(task: str, seed: int, *, speculate: bool) -> tuple[float, str]:
        order = Generate(
            turn="t", messages=(ChatMessage(role="user", text=TASKS[task]),), max_tokens=tokens, top_p=1.0,
            repeat_penalty=1.0, seed=seed, repeats=False, speculate=speculate, **sampling,  # type: ignore[arg-type]
        )  # fmt: skip
        texts, started, ended, made = [], 0.0, 0.0, 0
        for event in engine.answer(order, lambda: False):
            if isinstance(event, AnswerPiece):
                ended = time.perf_counter()
                started = started or ended
                texts.append(event.text)
            if isinstance(event, AnswerDone):
                made = event.answer_tokens
        return (ended - started) / max(1, made), "".join(texts)

    found: dict[str, object] = {}
    for task in TASKS:
        for speculate in (True, False, True):  # what is tried once per model is tried before
            answer(task, 1, speculate=speculate)
        ratios, same = [], True
        for number in range(rounds):
            pair = {}
            for speculate in ((True, False), (False, True))[number % 2]:
                pair[speculate] = answer(task, number, speculate=speculate)
            ratios.append(pair[False][0] / pair[True][0])
            same &= pair[False][1] == pair[True][1]
        found |= {f"{way} {task}": ratios, f"{way} {task} same": same}
    os.close(descriptor)
    return found


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
