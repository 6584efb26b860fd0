"""`make bench`: GovDesk's whole line beside its limit and its peer, interleaved in one run, as medians.

Nothing is asserted: machines differ and are noisy. Prints a table and writes build/bench.json
(name → value, unit).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from govdesk import config
from govdesk.app import rules as composition
from govdesk.audit.client import AuditClient
from govdesk.chat.service import ChatService
from govdesk.domain.frames import FromAudit
from govdesk.domain.redaction import Direction
from govdesk.domain.turn import Ended, Released, Sampling
from govdesk.inference import catalogue, threads
from govdesk.inference.supervisor import DEFAULT_CONTEXT_TOKENS, Supervisor
from govdesk.policy.decisions import Decider
from govdesk.policy.loader import trust_roots
from govdesk.process import environment
from govdesk.process.channel import Channel, pair
from govdesk.sandbox import selftest
from govdesk.storage.conversations import EncryptedConversations
from govdesk.storage.database import Database
from tests.bench.peers import PROMPT
from tests.processes import DirectBroker

_PROSE = (
    "The committee met on Tuesday to review the draft. Nothing in it was final, and several members asked for "
    "more time; the chair agreed, and set the next date for the first week of the coming month.\n"
)
Figures = dict[str, tuple[float, str]]


class Peer:
    """A loop of `peers.py` in its own process, with the worker's own environment."""

    def __init__(self, name: str, model: Path, thread_count: int) -> None:
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.bench.peers",
                name,
                str(model),
                str(thread_count),
                str(DEFAULT_CONTEXT_TOKENS),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment.for_worker(os.environ),
        )

    def __call__(self, tokens: int) -> float:
        """Tokens per second of one answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{tokens}\n")
        self._process.stdin.flush()
        count, seconds = json.loads(self._process.stdout.readline())
        return float(count / seconds)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


class WholeLine:
    """Policy, redaction, audit writer, worker, encrypted history: everything between a prompt and its view."""

    def __init__(self, folder: Path) -> None:
        self.policy, _ = composition.load_policy()
        self.redactor = composition.build_redactor(self.policy)
        ours, theirs = pair()
        self._writer = subprocess.Popen(
            [
                *environment.command(),
                "--role",
                "auditd",
                "--channel",
                str(theirs.fileno()),
                "--folder",
                str(folder / "audit"),
            ],
            pass_fds=(theirs.fileno(),),
            env=environment.for_worker(os.environ),
        )
        theirs.close()
        channel: Channel[FromAudit] = Channel(ours, FromAudit)
        self._audit = AuditClient(channel)
        self._audit.open(self.policy.policy.audit.officers)
        self._database = Database.create(folder / "history.db", bytearray(os.urandom(32)))
        folders, roots = (config.MODELS,), trust_roots(config.RESOURCES / "policy" / "trust")
        approved = self.policy.policy.models.approved
        self.supervisor = Supervisor(
            DirectBroker(),
            lambda: catalogue.approved_model(
                folders, roots, approved, self.policy.policy.system_high, composition.covers
            ),
            self._audit.append,
            selftest.require_closed,
        )
        self._chat = ChatService(
            audit=self._audit,
            decider=Decider(self.policy),
            redactor=self.redactor,
            inference=self.supervisor,
            store=EncryptedConversations(self._database),
            clock=_Clock(),
            marking=self.policy.policy.system_high,
            policy_stamp=self.policy.stamp,
        )

    def __call__(self, tokens: int) -> float:
        """Tokens per second of one answer, from its first text on, as its view sees it."""
        started, ended = 0.0, None
        for event in self._chat.run_turn(None, PROMPT, Sampling(max_tokens=tokens, temperature=0.0)):
            if isinstance(event, Released) and not started:
                started = time.perf_counter()
            if isinstance(event, Ended):
                ended = event
        assert ended is not None
        return (ended.usage.answer_tokens - 1) / (time.perf_counter() - started)

    def close(self) -> None:
        """End worker and writer."""
        self.supervisor.stop()
        self._database.close()
        self._writer.kill()
        self._writer.wait()


class _Clock:
    def utc_ns(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        return time.monotonic()


def decode(figures: Figures, rounds: int, tokens: int) -> None:
    """Tokens per second: bare loop, GovDesk's whole line, high-level chat; in turn, `rounds` times."""
    model = config.MODELS / "smollm2-135m-instruct.gguf"
    with tempfile.TemporaryDirectory() as folder:
        line = WholeLine(Path(folder))
        contenders: dict[str, Callable[[int], float]] = {
            "bare": Peer("bare", model, threads.suitable()),
            "govdesk": line,
            "high-level": Peer("high-level", model, threads.suitable()),
        }
        for run in contenders.values():
            run(16)
        seen: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, run in contenders.items():
                seen[name].append(run(tokens))
        for contender in contenders.values():
            contender.close()  # type: ignore[attr-defined]
    for name, values in seen.items():
        figures[f"decode.{name}"] = (statistics.median(values), "tokens/s")
        figures[f"decode.{name}.min"] = (min(values), "tokens/s")
        figures[f"decode.{name}.max"] = (max(values), "tokens/s")
    limit = figures["decode.bare"][0]
    figures["decode.govdesk/bare"] = (figures["decode.govdesk"][0] / limit, "ratio of medians")
    figures["decode.high-level/bare"] = (figures["decode.high-level"][0] / limit, "ratio of medians")
    added = 1e6 / figures["decode.govdesk"][0] - 1e6 / limit
    figures["decode.added"] = (added, "microseconds per token")


def redaction(figures: Figures) -> None:
    """Speed of the rules on prose, whole and in small pieces."""
    policy, _ = composition.load_policy()
    started = time.perf_counter()
    redactor = composition.build_redactor(policy)
    figures["redaction.load"] = (time.perf_counter() - started, "s")
    text = _PROSE * 500
    started = time.perf_counter()
    redactor.redact(text, Direction.PROMPT)
    figures["redaction.batch"] = (len(text) / (time.perf_counter() - started) / 1e6, "million characters/s")
    pieces = [_PROSE[i : i + 4] for i in range(0, len(_PROSE), 4)] * 20
    stream = redactor.stream(Direction.OUTPUT)
    held = []
    started = time.perf_counter()
    for piece in pieces:
        stream.feed(piece)
        held.append(stream.held)
    figures["redaction.stream"] = (
        1e6 * (time.perf_counter() - started) / len(pieces),
        "microseconds per token",
    )
    figures["redaction.held.p95"] = (sorted(held)[int(0.95 * len(held))], "characters")


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--tokens", type=int, default=192)
    parsed = parser.parse_args()
    figures: Figures = {}
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, Python {platform.python_version()}"
    )
    redaction(figures)
    decode(figures, parsed.rounds, parsed.tokens)
    for name, (value, unit) in figures.items():
        print(f"{name:28} {value:12.3f}  {unit}")
    target = config.CHECKOUT / "build" / "bench.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(
        json.dumps(
            {name: {"value": value, "unit": unit} for name, (value, unit) in figures.items()}, indent=1
        )
    )
    print(f"written to {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
