"""Every end of a worker is explained: what happened, what was kept, what to do."""

from __future__ import annotations

import signal

import pytest

from govdesk.domain.frames import WORKER_OUT_OF_MEMORY, WorkerEnded
from govdesk.inference import failures


@pytest.mark.parametrize(
    ("exit_code", "number", "code"),
    [
        (0, signal.SIGSEGV, "worker.crashed"),
        (0, signal.SIGBUS, "worker.crashed"),
        (0, signal.SIGABRT, "worker.crashed"),
        (0, signal.SIGKILL, "worker.killed"),
        (0, signal.SIGILL, "worker.instruction"),
        (0, signal.SIGSYS, "worker.walls"),
        (0, signal.SIGPROF, "worker.template"),
        (0, 4000, "worker.crashed"),
        (1, 0, "worker.crashed"),
        (WORKER_OUT_OF_MEMORY, 0, "worker.memory"),
        (WORKER_OUT_OF_MEMORY, signal.SIGSEGV, "worker.crashed"),
    ],
)
def test_each_end_has_its_code(exit_code: int, number: int, code: str) -> None:
    error = failures.ended(WorkerEnded(exit_code=exit_code, signal=number))
    assert error.code == code
    assert error.what and error.kept and error.todo
    assert "SIG" not in error.explain()  # numbers and names are for the log


def test_an_end_nobody_saw() -> None:
    assert failures.ended(None).code == "worker.crashed"


def test_what_needs_memory_offers_a_way_on() -> None:
    for end in (WorkerEnded(exit_code=WORKER_OUT_OF_MEMORY, signal=0), WorkerEnded(exit_code=0, signal=9)):
        assert "smaller model or context" in failures.ended(end).todo
    assert "administrator" in failures.ended(WorkerEnded(exit_code=0, signal=signal.SIGILL)).todo
