"""Threads follow the machine: fewer at once when others compute, more again only when it stays quiet."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from govdesk.process.others import Others
from govdesk.worker import pace
from govdesk.worker.pace import LOOK_SECONDS, Pace


class Machine:
    """Others use what the test says; stands in for `Others`."""

    def __init__(self, cpus: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cpus = cpus
        self.used: float | None = 0.0
        self.now = 50.0
        self.looks = self.begun = 0
        monkeypatch.setattr(pace.time, "monotonic", lambda: self.now)

    def begin(self) -> None:
        self.begun += 1

    def look(self) -> float | None:
        self.looks += 1
        return self.used


class Paced:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, cpus: int, threads: int, batch: int = 0) -> None:
        self.machine = Machine(cpus, monkeypatch)
        self.set: list[tuple[int, int]] = []
        self.pace = Pace(
            lambda *now: self.set.append(now),
            threads,
            batch or threads,
            self.machine,  # type: ignore[arg-type]
        )
        self.pace.begin()

    def after(self, used: float | None, looks: int = 1) -> int:
        """Threads after so many looks at a machine of which others use so much."""
        self.machine.used = used
        for _ in range(looks):
            self.machine.now += LOOK_SECONDS
            self.pace.look()
        return self.pace.threads[0]


def test_fewer_at_once_and_more_only_when_it_stays_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    paced = Paced(monkeypatch, 2, 2)
    assert paced.after(0.1) == 2
    assert paced.after(1.0) == 1  # two busy processes leave two of our threads half of the machine
    assert paced.after(1.33, looks=20) == 1  # and one of them two thirds of a processor
    assert paced.after(0.05) == 1
    assert paced.after(0.05) == 2
    assert paced.set == [(2, 2), (1, 1), (2, 2)]


def test_one_busy_process_of_two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    paced = Paced(monkeypatch, 2, 2)
    assert paced.after(0.67) == 1
    assert paced.after(1.0, looks=20) == 1
    assert paced.set == [(2, 2), (1, 1)]


def test_it_does_not_flutter(monkeypatch: pytest.MonkeyPatch) -> None:
    paced = Paced(monkeypatch, 8, 8)
    assert paced.after(4.0) == 4
    changes = len(paced.set)
    for used in (3.6, 4.4, 3.5, 4.5, 3.9, 4.1) * 5:
        paced.after(used)
    assert len(paced.set) == changes
    for used in (1.0, 4.0) * 10:  # quiet for a moment only
        paced.after(used)
    assert len(paced.set) == changes


def test_half_a_processor_is_no_reason_in_either_direction(monkeypatch: pytest.MonkeyPatch) -> None:
    paced = Paced(monkeypatch, 2, 2)
    assert paced.after(0.55, looks=10) == 2
    assert paced.after(1.0) == 1
    assert paced.after(0.45, looks=10) == 1


def test_our_own_window_is_no_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    paced = Paced(monkeypatch, 2, 2)
    assert paced.after(0.35, looks=10) == 2
    assert paced.after(1.0) == 1
    assert paced.after(0.3, looks=2) == 2


def test_never_less_than_one_and_never_more_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    paced = Paced(monkeypatch, 16, 6, 12)
    assert paced.after(16.0) == 1
    assert paced.after(0.0, looks=2) == 6
    assert paced.pace.threads == (6, 12)
    assert paced.after(6.0) == 6  # ten are free
    assert paced.pace.threads == (6, 10)
    paced.pace.allow(3, 4)
    assert paced.pace.threads == (3, 4)


def test_work_that_begins_goes_on_with_what_was_found_lately(monkeypatch: pytest.MonkeyPatch) -> None:
    paced = Paced(monkeypatch, 4, 4)
    assert paced.after(3.0) == 1
    paced.machine.now += pace.FRESH_SECONDS - LOOK_SECONDS
    paced.pace.begin()
    assert paced.pace.threads == (1, 1)
    paced.machine.now += 2 * pace.FRESH_SECONDS
    paced.pace.begin()
    assert paced.pace.threads == (4, 4)
    assert paced.machine.begun == 3
    paced.pace.look()
    assert paced.machine.looks == 1  # not before it has been watched for a while
    assert paced.after(3.0) == 1


def test_work_that_nobody_waits_for_leaves_a_processor_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    paced = Paced(monkeypatch, 4, 4)
    paced.pace.begin(1)
    assert paced.pace.threads == (3, 3)
    assert paced.after(2.0) == 1  # two are free, and one of them is left free
    paced.pace.begin()  # an answer at once: with all that was found
    assert paced.pace.threads == (2, 2)
    assert paced.after(4.0) == 1
    paced.pace.begin(1)
    assert paced.pace.threads == (1, 1)
    assert Paced(monkeypatch, 16, 4).pace.threads == (4, 4)
    many = Paced(monkeypatch, 16, 4, 8)
    many.pace.begin(1)
    assert many.pace.threads == (4, 8)  # there is room beside so few


def test_it_looks_seldom_and_a_machine_that_says_nothing_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    paced = Paced(monkeypatch, 4, 4)
    for _ in range(1000):
        paced.machine.now += 0.001
        paced.pace.look()
    assert paced.machine.looks <= 5
    assert paced.after(None, looks=10) == 4
    assert paced.set == [(4, 4)]


def test_a_machine_that_is_really_busy() -> None:
    watch = Others()
    found: list[tuple[int, int]] = []
    most = watch.cpus + 1
    taken = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(watch.cpus)]
    try:
        paced = Pace(lambda *now: found.append(now), most, most, watch)
        until = time.monotonic() + 60
        while paced.threads[0] == most:
            assert time.monotonic() < until
            time.sleep(0.2)
            paced.look()
    finally:
        for process in taken:
            process.kill()
            process.wait()
    assert found[-1][0] < most
