"""A process whose walls do not hold refuses to run with words and exit 5, and where there is a log, it is recorded."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import tests.sabotaged
from tests.commands import records


def _doctor(home: Path, victim: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", tests.sabotaged.__file__, victim, "doctor", "--json"],
        env={"PATH": "/usr/bin:/bin", "HOME": str(home.parent), "GOVDESK_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _self_tests(home: Path) -> list[tuple[object, object]]:
    return [
        (record["object"], record["outcome"]) for record in records(home) if record["event"] == "self-test"
    ]


def test_doctor_shows_the_self_tests_of_all_processes(tmp_path: Path) -> None:
    home = tmp_path / "home"
    done = _doctor(home, "nobody")
    assert done.returncode == 0, done.stderr
    checks = {check["id"]: check["ok"] for check in json.loads(done.stdout)["checks"]}
    for channel in (
        "broker.tcp4",
        "terminal.unix",
        "auditd.chmod",
        "auditd.truncate",
        "worker.kill",
        "worker.resolver",
    ):
        assert checks[f"network.{channel}"] is True
    assert [where for where, _ in _self_tests(home)] == ["broker", "terminal", "auditd", "worker"]


@pytest.mark.parametrize("victim", ["broker", "terminal"])
def test_an_open_wall_is_recorded_and_nothing_more_is_done(tmp_path: Path, victim: str) -> None:
    home = tmp_path / "home"
    assert _doctor(home, "nobody").returncode == 0
    before = len(records(home))
    done = _doctor(home, victim)
    assert (done.returncode, done.stdout) == (5, "")
    assert "tcp4 (open)" in done.stderr
    added = records(home)[before:]
    assert {record["event"] for record in added} == {"self-test"}
    assert dict(_self_tests(home)[-2:])[victim] == "failure"


@pytest.mark.parametrize("victim", ["broker", "terminal"])
def test_no_log_is_begun_by_a_process_that_refuses_to_run(tmp_path: Path, victim: str) -> None:
    home = tmp_path / "home"
    assert _doctor(home, victim).returncode == 5
    assert records(home) == []


def test_a_writer_that_refuses_to_run_is_not_taken_for_a_crash(tmp_path: Path) -> None:
    done = _doctor(tmp_path / "home", "auditd")
    assert (done.returncode, done.stdout) == (5, "")
    assert "audit writer refused to start" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_log_that_others_can_read_is_closed_to_them_before_the_walls_are_up(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert _doctor(home, "nobody").returncode == 0
    (home / "audit").chmod(0o755)
    done = _doctor(home, "nobody")
    assert done.returncode == 0, done.stderr
    assert (home / "audit").stat().st_mode & 0o777 == 0o700
