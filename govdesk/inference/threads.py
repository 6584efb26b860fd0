"""With how many threads to compute: as many as help on this processor, never more than it may use.

Decoding waits for memory, and every thread waits for the slowest: it gets the fast cores of one socket,
each once. Reading a prompt computes, and its work is shared out in small parts: it gets every core.
"""

from __future__ import annotations

from dataclasses import dataclass

from govdesk.inference import processor
from govdesk.inference.processor import Processor

MAX_THREADS = 512
"""More than the library takes at once is more than it can use."""


@dataclass(frozen=True, slots=True)
class Threads:
    """How many for each token of an answer, and how many for reading a prompt."""

    decode: int
    batch: int


def choose(found: Processor) -> Threads:
    """What suits before anything was measured.

    A quota of 2.5 processors carries 2 threads: a third would stand still for half of its time, and the
    others wait for it.
    """
    most = MAX_THREADS if found.quota is None else max(1, int(found.quota))
    return Threads(decode=min(found.socket_cores, most), batch=min(found.cores, most, MAX_THREADS))


def candidates(found: Processor) -> tuple[int, ...]:
    """The counts worth trying, most promising first: what suits, all fast cores, and halves of it."""
    first = choose(found)
    most = min(found.fast_cores, MAX_THREADS if found.quota is None else max(1, int(found.quota)))
    tried = [first.decode, most, max(1, first.decode * 3 // 4), max(1, first.decode // 2)]
    tried += [first.decode // 4, 8] if first.decode > 8 else []
    return tuple(dict.fromkeys(tried))


def explain(found: Processor) -> str:
    """Which cores are used and why, for `govdesk doctor`."""
    chosen = choose(found)
    parts = [f"{found.cores} core{'s' if found.cores != 1 else ''}"]
    if found.hyper_threads > found.cores:
        parts.append(f"{found.hyper_threads} hyper-threads count as their cores")
    if found.fast_cores < found.cores:
        parts.append(f"{found.cores - found.fast_cores} efficiency cores only read prompts")
    if found.socket_cores < found.fast_cores:
        parts.append(f"decoding stays on one socket's {found.socket_cores}")
    if found.quota is not None:
        parts.append(f"a control group allows {found.quota:g} processors")
    return f"{', '.join(parts)}: {chosen.decode} threads to answer, {chosen.batch} to read"


def suitable() -> int:
    """Threads to decode with on this machine."""
    return choose(processor.read()).decode
