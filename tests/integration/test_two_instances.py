"""Two GovDesks for one profile: the second is told, raises the first's window where it can, and disturbs nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.commands import GOVDESK, govdesk, records


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Open the real window, without a screen; the profile's folder once it stands."""
    started: list[subprocess.Popen[bytes]] = []
    home = tmp_path / "home"

    def open_window(runtime: str) -> Path:
        environment = _environment(home, runtime)
        process = subprocess.Popen(GOVDESK, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        started.append(process)
        deadline = time.monotonic() + 120
        while not any(record["object"] == "window, sealed" for record in records(home)):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, "the window did not come up"
            time.sleep(0.1)
        return home

    yield open_window
    for process in started:
        assert process.poll() is None, "the first one was disturbed"
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 128 + signal.SIGTERM, (out, err)
        assert b"Traceback" not in err


def _environment(home: Path, runtime: str) -> dict[str, str]:
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home.parent),
        "GOVDESK_HOME": str(home),
        "GOVDESK_PLATFORM": "offscreen",
        "XDG_RUNTIME_DIR": runtime,
    }


def _again(home: Path, runtime: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        GOVDESK, env=_environment(home, runtime), capture_output=True, text=True, timeout=60, check=False
    )


def test_the_second_raises_the_window_or_says_why_not(window: Callable[[str], Path], tmp_path: Path) -> None:
    home = window(str(tmp_path))
    before = len(records(home))
    again = _again(home, str(tmp_path))
    assert (again.returncode, again.stderr) == (0, "")
    assert "brought to the front" in again.stdout
    doctor = govdesk(home, "doctor")
    assert doctor.returncode == 5
    assert "already running" in doctor.stderr
    assert len(records(home)) == before


def test_without_a_place_for_its_socket_the_window_opens_all_the_same(window: Callable[[str], Path]) -> None:
    home = window("/proc")
    again = _again(home, "/proc")
    assert again.returncode == 5
    assert "already running" in again.stderr
    assert "Traceback" not in again.stderr


@pytest.mark.parametrize("delay_seconds", [0.0, 0.1, 0.2, 0.3, 0.4, 0.6])
def test_a_termination_during_the_start_ends_it(tmp_path: Path, delay_seconds: float) -> None:
    process = subprocess.Popen(
        GOVDESK, env=_environment(tmp_path / "home", str(tmp_path)), stdout=subprocess.DEVNULL
    )
    time.sleep(delay_seconds)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(30) in {-signal.SIGTERM, 128 + signal.SIGTERM}
