"""Tokens per second through the whole line and its view, beside the bare loop and the library's own chat."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from govdesk import config
from govdesk.inference import threads
from govdesk.inference.plan import DEFAULT_CONTEXT_TOKENS
from govdesk.process import environment
from tests.bench.figures import Figures
from tests.bench.line import Viewed, WholeLine

Answer = tuple[int, float, str]
MODEL = config.MODELS / "smollm2-135m-instruct.gguf"


class Peer:
    """A loop of `peers.py` in its own process, with the worker's own environment."""

    def __init__(self, name: str) -> None:
        arguments = [name, str(MODEL), str(threads.suitable()), str(DEFAULT_CONTEXT_TOKENS)]
        self._name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.peers", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**environment.for_worker(os.environ), "PYTHONPATH": str(config.CHECKOUT)},
            cwd=config.CHECKOUT,
        )

    def answer(self, tokens: int) -> Answer:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{tokens}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"The peer {self._name} ended with {self._process.wait()}; see its words above.")
        made, seconds, text = json.loads(line)
        return made, seconds, text

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def measure(figures: Figures, rounds: int, tokens: int) -> None:
    """All contenders in turn, `rounds` times, each round beginning with another one; ratios pair by pair."""
    with tempfile.TemporaryDirectory() as folder:
        line = WholeLine(Path(folder))
        viewed = Viewed(line)
        bare, high_level = Peer("bare"), Peer("high-level")
        contenders: dict[str, Callable[[int], Answer]] = {
            "bare": bare.answer,
            "line": line.answer,
            "line+view": viewed.answer,
            "high-level": high_level.answer,
        }
        names = list(contenders)
        for answer in contenders.values():
            answer(16)
        viewed.stalls.clear()
        viewed.rests.clear()
        seen: dict[str, list[float]] = {name: [] for name in names}
        texts: dict[str, str] = {}
        for number in range(rounds):
            for at in range(len(names)):
                name = names[(number + at) % len(names)]
                made, seconds, texts[name] = contenders[name](tokens)
                seen[name].append((made - 1) / seconds)
        stalls = sorted(viewed.stalls)
        for contender in (viewed, line, bare, high_level):
            contender.close()
    for name in names:
        figures.spread(f"decode.{name}", seen[name], "tokens/s")
    for name in names[1:]:
        ratios = [mine / limit for mine, limit in zip(seen[name], seen["bare"], strict=True)]
        figures.spread(f"decode.{name}/bare", ratios, "ratio, pair by pair")
    limit = statistics.median(seen["bare"])
    for name in names[1:]:
        added = 1e6 / statistics.median(seen[name]) - 1e6 / limit
        figures.add(f"decode.{name}.added", added, "microseconds per token")
    figures.add("decode.same-text-as-bare", float(texts["line"] == texts["bare"]), "1 = yes")
    figures.spread("view.at-rest", [1000 * seconds for seconds in viewed.rests], "ms after the last text")
    figures.add("view.event-loop.p99", 1000 * stalls[int(0.99 * len(stalls))], "ms between looks")
    figures.add("view.event-loop.max", 1000 * stalls[-1], "ms between looks")
