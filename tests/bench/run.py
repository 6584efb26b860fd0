"""`make bench`: GovDesk beside its limit and its peers, interleaved in one run, as medians with their spread.

    make bench ARGS="--only threads growth"   some sections     (their names: --help)
    make bench ARGS="--busy"                  each section again with every processor busy elsewhere

Nothing is asserted: machines differ and are noisy. Prints a table and writes build/bench.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from govdesk import config
from tests.bench import (
    batches,
    busy,
    decode,
    first_token,
    fit,
    growth,
    load,
    machine,
    quality,
    read_ahead,
    redaction,
    speculation,
    turn,
)
from tests.bench import threads as thread_settings
from tests.bench.figures import Figures


def _turns(figures: Figures, rounds: int) -> None:
    turn.starting(figures, rounds)
    turn.stopping(figures, rounds)


_SECTIONS: dict[str, Callable[[Figures, int, int], None]] = {
    "redaction": lambda figures, rounds, _tokens: redaction.measure(figures, rounds),
    "turn": lambda figures, rounds, _tokens: _turns(figures, rounds),
    "history": lambda figures, rounds, _tokens: turn.history(figures, rounds),
    "decode": decode.measure,
    "read-ahead": lambda figures, rounds, _tokens: read_ahead.measure(figures, min(rounds, 5)),
    "speculation": speculation.measure,
    "threads": thread_settings.measure,
    "load": lambda figures, rounds, _tokens: load.measure(figures, rounds),
    "growth": growth.measure,
    "first-token": lambda figures, rounds, _tokens: first_token.measure(figures, max(1, rounds // 3)),
    "batches": lambda figures, rounds, _tokens: batches.measure(figures, rounds),
    "fit": lambda figures, rounds, _tokens: fit.measure(figures, rounds),
    "quality": lambda figures, rounds, _tokens: quality.measure(figures, rounds),
}
_BOTH_BY_ITSELF = frozenset({"threads"})
"""Compares settings on an idle and on a busy machine in any case."""


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--only", nargs="+", choices=tuple(_SECTIONS), default=tuple(_SECTIONS))
    parser.add_argument("--busy", action="store_true", help="again with every processor busy elsewhere")
    parsed = parser.parse_args()
    found = machine.facts()
    for name, words in found.items():
        print(f"{name:10} {words}")
    print(f"{'rounds':10} {parsed.rounds}, of {parsed.tokens} tokens", flush=True)
    figures = Figures(found)
    target = config.CHECKOUT / "build" / "bench.json"
    for name in parsed.only:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        _SECTIONS[name](figures, parsed.rounds, parsed.tokens)
        figures.show(target)
        if parsed.busy and name not in _BOTH_BY_ITSELF:
            print(f"measuring {name}, busy …", file=sys.stderr, flush=True)
            with figures.under("busy."), busy.every_processor():
                _SECTIONS[name](figures, parsed.rounds, parsed.tokens)
            figures.show(target)
    print(f"written to {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
