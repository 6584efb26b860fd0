"""Measures a loaded model once, at a quiet moment, and never in the way of a question."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from typing import Protocol

from govdesk.domain.frames import SetThreads, Tune, Tuned
from govdesk.domain.ids import ModelDigest
from govdesk.errors import GovDeskError
from govdesk.inference import fit
from govdesk.inference.tuning import QUIET_PERCENT, Tunings
from govdesk.inference.worker_line import LoadedModel
from govdesk.process.others import Others

_PAUSE_SECONDS = 2.0
_LOOK_SECONDS = 0.5
_MAX_TRIES = 20
"""So many that ended by themselves and said nothing, or failed: then it is given up for this session."""


class Worker(Protocol):
    """What it needs of the supervisor."""

    @property
    def held(self) -> LoadedModel | None:
        """The model that is loaded, and how."""

    def tune(self, order: Tune) -> Tuned | None:
        """Let the worker measure itself."""

    def tell(self, order: SetThreads) -> None:
        """Say with how many threads to compute."""


class Tuner:
    """Looks for its moment until the session closes.

    Args:
        worker: the supervisor.
        tunings: where results are kept.
        closing: set when the session ends.
    """

    def __init__(self, worker: Worker, tunings: Tunings, closing: threading.Event) -> None:
        self._worker = worker
        self._tunings = tunings
        self._closing = closing
        self._tries: dict[ModelDigest, int] = {}

    def run(self) -> None:
        """In a thread of its own."""
        while not self._closing.wait(_PAUSE_SECONDS):
            with contextlib.suppress(GovDeskError, OSError):  # the next question meets it, and explains it
                self.step()

    def step(self) -> bool:
        """Measure if this is the moment; True when there is a result for the loaded model."""
        held = self._worker.held
        if held is None or held.order.devices:
            return False  # what a graphics card computes says nothing of the processor's threads
        info = held.info
        if self._tunings.of(info.digest) is not None:
            return True
        tries = self._tries.get(info.digest, 0)
        if tries >= _MAX_TRIES or not self._quiet():
            return False
        self._tries[info.digest] = tries + 1
        order = self._tunings.order(f"tune-{secrets.token_hex(8)}")
        tuned = self._worker.tune(order)
        if tuned is None or tuned.interrupted:
            self._tries[info.digest] = tries  # it was the wrong moment, which says nothing of the next
            return False
        if self._worker.held is not held:
            return False
        work = fit.work_per_token(held.facts)
        kept = self._tunings.keep(info.digest, tuned, order, work, int(time.time()))
        if kept is None:
            return False
        self._worker.tell(SetThreads(threads=kept.threads, batch_threads=kept.batch_threads))
        return True

    def _quiet(self) -> bool:
        others = Others()
        others.begin()
        if self._closing.wait(_LOOK_SECONDS):
            return False
        used = others.look()
        return used is None or 100 * used <= QUIET_PERCENT
