"""`make bench`: GovDesk beside its limit and its peer, interleaved in one run, as medians with their spread.

Nothing is asserted: machines differ and are noisy. Prints a table and writes build/bench.json.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

from govdesk import config
from govdesk.inference import threads
from tests.bench import decode, fit, quality, redaction, turn
from tests.bench.figures import Figures


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--only", choices=("redaction", "turn", "history", "decode", "fit", "quality"))
    parsed = parser.parse_args()
    figures = Figures()
    print(
        f"{_processor()}; {os.cpu_count()} processors, {threads.suitable()} threads for the model; "
        f"Python {platform.python_version()}, {parsed.rounds} rounds, load {os.getloadavg()[0]:.1f}",
        flush=True,
    )
    if parsed.only in {None, "redaction"}:
        redaction.measure(figures, parsed.rounds)
    if parsed.only in {None, "turn"}:
        turn.starting(figures, parsed.rounds)
        turn.stopping(figures, parsed.rounds)
    if parsed.only in {None, "history"}:
        turn.history(figures, parsed.rounds)
    if parsed.only in {None, "decode"}:
        decode.measure(figures, parsed.rounds, parsed.tokens)
    if parsed.only in {None, "fit"}:
        fit.measure(figures, parsed.rounds)
    if parsed.only in {None, "quality"}:
        quality.measure(figures, parsed.rounds)
    print(figures)
    target = config.CHECKOUT / "build" / "bench.json"
    figures.write(target)
    print(f"written to {target}")
    return 0


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


if __name__ == "__main__":
    sys.exit(main())
