"""Decoding and reading through the whole line, beside the bare loop, the library's chat and other packages."""

from __future__ import annotations

import json
import math
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from govdesk import config
from govdesk.inference import threads
from govdesk.inference.plan import USUAL_CONTEXT_TOKENS
from govdesk.process import environment
from tests.bench.figures import Figures
from tests.bench.line import Viewed, WholeLine

Answer = tuple[int, float, str]
MODEL = config.MODELS / "smollm2-135m-instruct.gguf"
OTHERS = config.CHECKOUT / "build" / "peers" / "bin" / "python"
"""The environment of `make peers`; without it the packages in it are not measured, and the table says so."""
READ_TOKENS = (512, 2000)
IDLE_SECONDS = 0.5
START_SECONDS = 120.0


class PeerLostError(Exception):
    """A contender ended, or never got ready; the words say how."""


class Peer:
    """A loop of `peers.py` in its own process: our library's with the worker's own environment."""

    def __init__(self, name: str, python: Path | str = sys.executable) -> None:
        arguments = [
            name,
            str(MODEL),
            str(threads.suitable()),
            str(USUAL_CONTEXT_TOKENS),
        ]
        self.name = name
        own = python == sys.executable
        self._process = subprocess.Popen(
            [str(python), "-m", "tests.bench.peers", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if own else subprocess.DEVNULL,  # other packages log each request there
            text=True,
            env={
                **(environment.for_worker(os.environ) if own else os.environ),
                "PYTHONPATH": str(config.CHECKOUT),
            },
            cwd=config.CHECKOUT,
        )
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
        while ready and (line := self._process.stdout.readline()):  # libraries say things there, too
            if line == "ready\n":
                return
        self.close()
        raise PeerLostError(f"{name} did not get ready")

    def answer(self, tokens: int) -> Answer:
        made, seconds, text = self._ask(f"decode {tokens}")
        return made, seconds, text

    def read(self, tokens: int, salt: str) -> float:
        """Seconds to the first token behind a prompt of about so many tokens."""
        return self._ask(f"read {tokens} {salt}")[1]

    def _ask(self, order: str) -> Answer:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(f"{order}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass
        while line := self._process.stdout.readline():
            if line.startswith("["):
                made, seconds, text = json.loads(line)
                return made, seconds, text
        raise PeerLostError(f"{self.name} ended with {self._process.wait()}")

    def idle(self) -> float:
        """The processors it uses while it waits for its turn: 0 is right, else it disturbs the others."""
        return processors_used(self._process.pid, IDLE_SECONDS)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@dataclass(frozen=True)
class Contender:
    """One column of the table."""

    name: str
    answer: Callable[[int], Answer]
    read: Callable[[int, str], float] | None
    idle: Callable[[], float] | None
    close: Callable[[], None]


def processors_used(pid: int, seconds: float) -> float:
    """How many processors a process keeps busy, all its threads together."""

    def ticks() -> int:
        content = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        used, system = content.rpartition(")")[2].split()[11:13]
        return int(used) + int(system)

    before, started = ticks(), time.monotonic()
    time.sleep(seconds)
    return (ticks() - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - started)


def measure(figures: Figures, rounds: int, tokens: int) -> None:
    """All contenders in turn, `rounds` times, each round beginning with another one; ratios pair by pair."""
    with tempfile.TemporaryDirectory() as folder:
        line = WholeLine(Path(folder))
        viewed = Viewed(line)
        contenders = [
            _peer("bare"),
            _peer("bare-own"),
            Contender("line", line.answer, line.read, None, line.close),
        ]
        contenders += [Contender("line+view", viewed.answer, None, None, viewed.close), _peer("high-level")]
        contenders += _others(figures)
        try:
            texts = _decoding(figures, contenders, rounds, tokens, viewed)
            _reading(figures, contenders, rounds)
            for contender in contenders:
                if contender.idle is not None:
                    figures.add(f"idle.{contender.name}", contender.idle(), "processors used while waiting")
        finally:
            for contender in reversed(contenders):
                contender.close()
    figures.add("decode.same-text-as-bare", float(texts["line"] == texts["bare"]), "1 = yes")


def _decoding(
    figures: Figures, contenders: Sequence[Contender], rounds: int, tokens: int, viewed: Viewed
) -> dict[str, str]:
    for contender in contenders:
        contender.answer(16)
    viewed.stalls.clear()
    viewed.rests.clear()
    seen: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    texts: dict[str, str] = {}
    for number in range(rounds):
        for contender in _turns(contenders, number):
            made, seconds, texts[contender.name] = contender.answer(tokens)
            seen[contender.name].append((made - 1) / seconds)
    for name, speeds in seen.items():
        figures.spread(f"decode.{name}", speeds, "tokens/s")
    _ratios(figures, "decode", seen)
    limit = statistics.median(seen["bare"])
    for name in list(seen)[1:]:
        added = 1e6 / statistics.median(seen[name]) - 1e6 / limit
        figures.add(f"decode.{name}.added", added, "microseconds per token")
    stalls = sorted(viewed.stalls)
    figures.spread("view.at-rest", [1000 * seconds for seconds in viewed.rests], "ms after the last text")
    figures.add("view.event-loop.p99", 1000 * stalls[int(0.99 * len(stalls))], "ms between looks")
    figures.add("view.event-loop.max", 1000 * stalls[-1], "ms between looks")
    return texts


def _reading(figures: Figures, contenders: Sequence[Contender], rounds: int) -> None:
    """Prompt tokens per second up to the first token of the answer; each prompt is new to everybody."""
    readers = [contender for contender in contenders if contender.read is not None]
    for tokens in READ_TOKENS:
        seen: dict[str, list[float]] = {reader.name: [] for reader in readers}
        for number in range(max(1, rounds // 3)):
            for reader in _turns(readers, number):
                assert reader.read is not None
                seen[reader.name].append(tokens / reader.read(tokens, f"Number-{tokens}-{number}"))
        for name, speeds in seen.items():
            figures.spread(f"read.{tokens}.{name}", speeds, "tokens/s, first token included")
        _ratios(figures, f"read.{tokens}", seen)


def _ratios(figures: Figures, what: str, seen: dict[str, list[float]]) -> None:
    """Each contender over the bare loop, and the line over each package, pair by pair."""
    pairs = [(name, "bare") for name in seen if name != "bare"]
    pairs += [("line", name) for name in ("bare-own", "high-level", "xllamacpp", "gpt4all") if name in seen]
    for mine, theirs in pairs:
        ratios = [a / b for a, b in zip(seen[mine], seen[theirs], strict=True)]
        figures.spread(f"{what}.{mine}/{theirs}", ratios, "ratio, pair by pair")


def _turns(contenders: Sequence[Contender], number: int) -> list[Contender]:
    first = number % len(contenders)
    return [*contenders[first:], *contenders[:first]]


def _peer(name: str, python: Path | str = sys.executable) -> Contender:
    peer = Peer(name, python)
    return Contender(name, peer.answer, peer.read, peer.idle, peer.close)


def _others(figures: Figures) -> list[Contender]:
    """The packages of `make peers` that run here; of the others the table says why they are missing."""
    found = []
    for name in ("xllamacpp", "gpt4all"):
        try:
            if not OTHERS.exists():
                raise PeerLostError("`make peers` installs it")
            contender = _peer(name, OTHERS)
            contender.answer(4)
            found.append(contender)
        except PeerLostError as error:
            figures.add(f"decode.{name}", math.nan, f"not measured: {error}")
    return found
