"""Drafts by look-up, with and without: a task that repeats its input, and one that does not; one thread decodes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

from govdesk import config
from govdesk.process import environment
from tests.bench.decode import MODEL
from tests.bench.figures import Figures

_LIST = "Ada Lovelace, 12 Harbour Road; Grace Hopper, 4 Mill Lane; Alan Turing, 77 Park View; Edsger Dijkstra, 3 Quay. "
TASKS = {
    "repeats": f"Repeat this text exactly, word for word: {_LIST * 4}",
    "does-not": "Write a long and detailed story about a harbour town and its people.",
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
        figures.spread(f"speculation.{task}", found[task], "times as fast as without drafts, pair by pair")
        figures.add(f"speculation.{task}.same-text", float(found[f"{task} same"]), "1 = yes")


def _main(model: str, rounds: int, tokens: int) -> None:
    from govdesk.domain.frames import AnswerPiece, ChatMessage, Generate, LoadModel
    from govdesk.worker.engine import Engine

    descriptor = os.open(model, os.O_RDONLY)
    engine = Engine((descriptor,), LoadModel(context_tokens=2048, threads=1, batch_threads=1))

    def answer(task: str, *, speculate: bool) -> tuple[float, str]:
        order = Generate(
            turn="t", messages=(ChatMessage(role="user", text=TASKS[task]),), max_tokens=tokens, temperature=0.0,
            top_p=1.0, top_k=1, repeat_penalty=1.0, seed=1, speculate=speculate,
        )  # fmt: skip
        texts, started, ended = [], 0.0, 0.0
        for event in engine.answer(order, lambda: False):
            if isinstance(event, AnswerPiece):
                ended = time.perf_counter()
                started = started or ended
                texts.append(event.text)
        return ended - started, "".join(texts)

    found: dict[str, object] = {}
    for task in TASKS:
        for speculate in (True, False, True):  # what is tried once per model is tried before
            answer(task, speculate=speculate)
        ratios, same = [], True
        for number in range(rounds):
            pair = {}
            for speculate in ((True, False), (False, True))[number % 2]:
                pair[speculate] = answer(task, speculate=speculate)
            ratios.append(pair[False][0] / pair[True][0])
            same &= pair[False][1] == pair[True][1]
        found |= {task: ratios, f"{task} same": same}
    print(json.dumps(found))


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
