"""Speed of the rules: whole texts, texts in small pieces, and texts made to be slow."""

from __future__ import annotations

import time

from govdesk.app import rules as composition
from govdesk.domain.redaction import Direction
from tests.bench.figures import Figures

_PROSE = (
    "The committee met on Tuesday to review the draft. Nothing in it was final, and several members asked for "
    "more time; the chair agreed, and set the next date for the first week of the coming month.\n"
)
_FLOODS = {"colons": "::1:" * 25_000, "card": "card " + "4 1 " * 25_000, "dashes": "-" * 100_000}
_PIECE_CHARACTERS = 4


def measure(figures: Figures, rounds: int) -> None:
    """Characters per second of a batch, microseconds per token of a stream, characters it holds."""
    policy, _ = composition.load_policy()
    started = time.perf_counter()
    redactor = composition.build_redactor(policy)
    figures.add("redaction.load", time.perf_counter() - started, "s")
    for name, text in {"prose": _PROSE * 500, **_FLOODS}.items():
        speeds = []
        for _ in range(rounds):
            started = time.perf_counter()
            redactor.redact(text, Direction.PROMPT)
            speeds.append(len(text) / (time.perf_counter() - started) / 1e6)
        figures.spread(f"redaction.batch.{name}", speeds, "million characters/s")
    pieces = [_PROSE[i : i + _PIECE_CHARACTERS] for i in range(0, len(_PROSE), _PIECE_CHARACTERS)] * 20
    costs, held = [], []
    for _ in range(rounds):
        stream = redactor.stream(Direction.OUTPUT)
        started = time.perf_counter()
        for piece in pieces:
            stream.feed(piece)
            held.append(stream.held)
        costs.append(1e6 * (time.perf_counter() - started) / len(pieces))
    figures.spread("redaction.stream", costs, "microseconds per token")
    figures.add("redaction.held.p95", sorted(held)[int(0.95 * len(held))], "characters")
