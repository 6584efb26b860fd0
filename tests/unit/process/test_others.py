"""What others use of the processors: theirs is counted, one's own and what gives way is not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from govdesk.process import others
from govdesk.process.others import Others, snapshot

TICKS = os.sysconf("SC_CLK_TCK")


class Kernel:
    """A /proc/stat whose processors get busy as told, and clocks that go as told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, cpus: tuple[int, ...] = (0, 1)) -> None:
        self.path = folder / "stat"
        self.columns = {cpu: [0] * 10 for cpu in cpus}
        self.now, self.own = 100.0, 10.0
        monkeypatch.setattr(others.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(others.time, "process_time", lambda: self.own)
        monkeypatch.setattr(others.os, "sched_getaffinity", lambda _pid: set(cpus))
        self.write()

    def write(self) -> None:
        lines = ["cpu  1 2 3 4 5 6 7 8 9 10"]
        lines += [f"cpu{cpu} {' '.join(map(str, row))}" for cpu, row in self.columns.items()]
        lines += ["intr 5 1 2", "ctxt 9", "procs_running 3", "procs_blocked 0"]
        self.path.write_text("\n".join(lines) + "\n")

    def go(self, seconds: float, *, own: float = 0.0, **spent: dict[int, float]) -> None:
        columns = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
        self.now += seconds
        self.own += own
        for name, used in spent.items():
            for cpu, amount in used.items():
                self.columns[cpu][columns.index(name)] += round(amount * TICKS)
        self.write()


def test_its_own_time_is_not_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(tmp_path, monkeypatch)
    watch = Others(kernel.path)
    watch.begin()
    kernel.go(1.0, own=1.5, user={0: 1.0, 1: 1.0})
    assert watch.look() == pytest.approx(0.5)
    kernel.go(1.0, own=2.0, user={0: 1.0, 1: 1.0})
    assert watch.look() == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("column", "counted"),
    [("user", True), ("system", True), ("irq", True), ("softirq", True), ("steal", True), ("nice", False),
     ("idle", False), ("iowait", False)],
)  # fmt: skip
def test_what_counts_as_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, column: str, counted: bool
) -> None:
    kernel = Kernel(tmp_path, monkeypatch)
    monkeypatch.setattr(others.os, "getpriority", lambda _which, _who: 0)
    watch = Others(kernel.path)
    watch.begin()
    kernel.go(1.0, **{column: {0: 0.8}})
    assert watch.look() == pytest.approx(0.8 if counted else 0.0)


def test_at_a_low_priority_of_its_own_all_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(tmp_path, monkeypatch)
    monkeypatch.setattr(others.os, "getpriority", lambda _which, _who: 10)
    watch = Others(kernel.path)
    watch.begin()
    kernel.go(1.0, nice={0: 0.8})
    assert watch.look() == pytest.approx(0.8)


def test_processors_it_may_not_use_are_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(tmp_path, monkeypatch, (0, 1, 2, 3))
    monkeypatch.setattr(others.os, "sched_getaffinity", lambda _pid: {0, 1})
    watch = Others(kernel.path)
    watch.begin()
    kernel.go(1.0, user={0: 0.25, 2: 1.0, 3: 1.0})
    assert watch.look() == pytest.approx(0.25)


def test_too_soon_is_no_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = Kernel(tmp_path, monkeypatch)
    watch = Others(kernel.path)
    assert watch.look() is None  # the first only remembers
    kernel.go(0.1, user={0: 0.1})
    assert watch.look() is None
    kernel.go(0.9, user={0: 0.9})
    assert watch.look() == pytest.approx(1.0)  # since the first: nothing was lost


@pytest.mark.parametrize("text", ["", "cpu0\n", "cpu0 a b\n", "cpu0 1 2 3\n", "\xff", "intr 1\n"])
def test_a_kernel_that_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "stat").write_text(text, encoding="latin-1")
    assert snapshot(tmp_path / "stat") is None
    watch = Others(tmp_path / "stat")
    watch.begin()
    assert watch.look() is None
    assert snapshot(tmp_path / "missing") is None


def test_a_real_busy_process_is_seen() -> None:
    watch = Others()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            watch.begin()
            until = time.monotonic() + 30
            while (used := watch.look()) is None or used < 0.25:
                assert time.monotonic() < until
                time.sleep(0.3)
        finally:
            busy.kill()
    assert used <= watch.cpus
