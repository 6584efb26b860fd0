"""GovDesk's own choice of threads beside every setting that a hand would try, idle and with every core busy.

The hand's settings run in the barest loop, with weights and large pages as the worker has them; GovDesk's choice is
its real worker, asked by its supervisor.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from govdesk import config
from govdesk.domain.frames import SetThreads
from govdesk.domain.ids import RecordSeq, TurnId
from govdesk.domain.inference import Piece, Stopped
from govdesk.domain.turn import Role, Sampling
from govdesk.inference import fit, processor
from govdesk.inference.manifest import read_manifest
from govdesk.inference.store import models_of
from govdesk.inference.supervisor import Supervisor
from govdesk.inference.tuning import Tunings
from govdesk.process import environment
from govdesk.sandbox import selftest
from tests.bench import busy
from tests.bench.figures import Figures
from tests.bench.loop import Loop
from tests.processes import DirectBroker

_PROMPT = "Write a long and detailed story about a harbour town and its people."
_BUSY_ROUNDS = 7
"""Some settings make a few tokens a second then."""
_SPINS = ("1000", "10000", environment.BOUNDED_SPIN, "1000000")


class GovDesk:
    """The real worker as it is started for a person."""

    def __init__(self) -> None:
        trust = ((config.RESOURCES / "policy" / "trust" / "development-signing.pem").read_text(),)
        manifest = read_manifest(config.MODELS / "smollm2-135m-instruct.toml", trust)
        model = models_of(manifest, config.MODELS)[0]
        self.broker = DirectBroker()
        self.supervisor = Supervisor(
            self.broker, lambda: model, lambda _entry: RecordSeq(1), selftest.require_closed
        )
        self.supervisor.model()

    def tune(self, folder: Path) -> int:
        """As in a quiet moment: the threads that were found, told to the worker. 0: others used the machine."""
        tunings = Tunings(folder / "tuning.json", processor.read())
        order = tunings.order("tune-bench")
        measured = self.supervisor.tune(order)
        held = self.supervisor.held
        assert held is not None
        work = fit.work_per_token(held.facts)
        digest = held.info.digest
        kept = tunings.keep(digest, measured, order, work, int(time.time())) if measured else None
        if kept is None:
            return 0
        self.supervisor.tell(SetThreads(threads=kept.threads, batch_threads=kept.batch_threads))
        return kept.threads

    def decode(self, tokens: int) -> float:
        """Tokens per second, from the first to the last."""
        sampling = Sampling(max_tokens=tokens, temperature=0.0, repeat_penalty=1.0)
        first, last, made = 0.0, 0.0, 0
        for event in self.supervisor.answer(TurnId("bench"), ((Role.USER, _PROMPT),), sampling):
            if isinstance(event, Piece):
                last = time.perf_counter()
                first = first or last
            if isinstance(event, Stopped):
                made = event.usage.answer_tokens
        return (made - 1) / (last - first)

    def close(self) -> None:
        self.supervisor.stop()


def measure(figures: Figures, rounds: int, tokens: int) -> None:
    """All settings in turn, `rounds` times, each round beginning with another one: idle, then busy."""
    cores = processor.read().cores
    clean = {"PATH": os.environ["PATH"], "GLIBC_TUNABLES": environment.LARGE_PAGES}
    ours = GovDesk()
    with tempfile.TemporaryDirectory() as folder:
        figures.add(
            "threads.govdesk.tuned", ours.tune(Path(folder)), "threads; 0: it was too busy for tuning"
        )
    loops = {"one": Loop(clean, threads=1), "library-default": Loop(clean, threads=cores)}
    loops["passive"] = Loop({**clean, "OMP_WAIT_POLICY": "passive"}, threads=cores)
    counts = sorted({cores} if cores <= 2 else {max(2, cores // 2), cores - 1, cores})
    for count in counts:
        for spin in _SPINS:
            loops[f"{count}-spin-{spin}"] = Loop({**clean, "GOMP_SPINCOUNT": spin}, threads=count)
    contenders: dict[str, Callable[[], float]] = {
        name: lambda loop=loop: loop.run(decode=tokens)[1]  # type: ignore[misc]
        for name, loop in loops.items()
    }
    contenders["govdesk"] = lambda: ours.decode(tokens)
    try:
        for run in contenders.values():
            run()
        _compare(figures, "threads.idle", contenders, rounds)
        with busy.every_processor():
            _compare(figures, "threads.busy", contenders, min(rounds, _BUSY_ROUNDS))
    finally:
        ours.close()
        for loop in loops.values():
            loop.close()


def _compare(figures: Figures, name: str, contenders: dict[str, Callable[[], float]], rounds: int) -> None:
    names = list(contenders)
    seen: dict[str, list[float]] = {contender: [] for contender in names}
    for number in range(rounds):
        for at in range(len(names)):
            contender = names[(number + at) % len(names)]
            seen[contender].append(contenders[contender]())
    for contender in names:
        figures.spread(f"{name}.{contender}", seen[contender], "tokens/s")
    medians = {contender: statistics.median(speeds) for contender, speeds in seen.items()}
    ours = medians.pop("govdesk")
    figures.add(f"{name}.govdesk/best", ours / max(medians.values()), "ratio of medians")
    figures.add(f"{name}.govdesk/library-default", ours / medians["library-default"], "ratio of medians")
