"""Promise: locked means locked. The process that held the keys is gone, and its worker; a fresh, locked one is there.

The broker, the session process, the audit writer, the worker and their walls are the real ones; only the
person at the window is a program (`tests/lockable.py`).
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import tests.lockable
from tests.commands import records


class Desktop:
    """One GovDesk from its start to its end."""

    def __init__(self, folder: Path, end_seconds: float) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.broker = subprocess.Popen(
            [sys.executable, "-I", tests.lockable.__file__, str(self.home), str(end_seconds)],
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(folder),
                "GOVDESK_HOME": str(self.home),
                "LANG": "C.UTF-8",
            },
        )

    def said(self, name: str) -> dict[str, object]:
        """What the front wrote, once it did."""
        path, deadline = self.folder / name, time.monotonic() + 120
        while not path.exists():
            assert self.broker.poll() is None, "GovDesk ended"
            assert time.monotonic() < deadline, f"nothing of {name}"
            time.sleep(0.05)
        said: dict[str, object] = json.loads(path.read_text())
        return said

    def tell(self, name: str) -> None:
        (self.folder / name).touch()

    def roles(self) -> dict[str, int]:
        """The broker's children that live, by role."""
        children = Path(f"/proc/{self.broker.pid}/task/{self.broker.pid}/children").read_text().split()
        roles = {}
        for child in children:
            try:
                words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            except FileNotFoundError:
                continue
            if b"--role" in words:
                roles[words[words.index(b"--role") + 1].decode()] = int(child)
        return roles

    def close(self) -> None:
        if self.broker.poll() is None:
            self.broker.send_signal(signal.SIGTERM)
            try:
                self.broker.wait(20)
            except subprocess.TimeoutExpired:
                self.broker.kill()
                self.broker.wait()


@pytest.fixture
def desktop(tmp_path: Path) -> Iterator[Desktop]:
    desktop = Desktop(tmp_path, 10.0)
    yield desktop
    desktop.close()


@pytest.fixture
def hurried(tmp_path: Path) -> Iterator[Desktop]:
    """Its broker does not wait long for a session process that said it ends."""
    (tmp_path / "hang").touch()
    desktop = Desktop(tmp_path, 0.5)
    yield desktop
    desktop.close()


def _gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


def test_after_a_lock_the_old_processes_are_gone_and_the_new_one_knows_nothing(desktop: Desktop) -> None:
    first = desktop.said("first")
    assert first["conversations"] == 1
    before = desktop.roles()
    assert set(before) == {"window", "auditd", "worker"}
    assert before["window"] == first["pid"]

    desktop.tell("lock")
    second = desktop.said("second")
    after = desktop.roles()
    assert all(_gone(pid) for pid in before.values())
    assert after["window"] == second["pid"] != first["pid"]
    assert "worker" not in after

    assert second["keys"] is second["database"] is False
    assert second["wrong"] == "WrongPassphraseError"
    assert second["conversations"] == 1  # with the passphrase everything is there again

    events = [record["event"] for record in records(desktop.home)]
    lock = events.index("lock")
    assert "unlock" in events[:lock]
    assert events[lock:].count("app.start") == 1
    desktop.tell("end")
    assert desktop.broker.wait(30) == 0


def test_a_session_that_says_it_locks_and_does_not_end_is_killed(hurried: Desktop) -> None:
    first = hurried.said("first")
    before = hurried.roles()
    hurried.tell("lock")
    second = hurried.said("second")
    assert second["pid"] != first["pid"]
    assert all(_gone(pid) for pid in before.values())
    assert second["wrong"] == "WrongPassphraseError"
    hurried.tell("end")
    assert hurried.broker.wait(30) == 0
