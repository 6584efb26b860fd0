"""`govdesk doctor` says on what answers are computed, with how many threads and why, and what disturbs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from govdesk.cli import doctor
from govdesk.config import Profile
from govdesk.domain.frames import Timing, Tuned
from govdesk.domain.ids import ModelDigest
from govdesk.domain.inference import Finding
from govdesk.domain.turn import ModelInfo
from govdesk.errors import ModelError
from govdesk.inference import library
from govdesk.inference.processor import Processor
from govdesk.inference.tuning import Tunings

MACHINE = Processor("A Processor", 16, 8, 6, 6, 4.5, "ab" * 48)
MODEL = ModelDigest("cd" * 48)


@dataclass
class Desk:
    profile: Profile
    fails: bool = False

    def model(self) -> ModelInfo:
        if self.fails:
            raise ModelError("There is none.")
        return ModelInfo("m", MODEL, 64)


class Others:
    cpus = 16
    used: float | None = 0.1

    def begin(self) -> None: ...

    def look(self) -> float | None:
        return self.used


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(doctor.processor, "read", lambda: MACHINE)
    monkeypatch.setattr(library, "build", lambda: "b")
    monkeypatch.setattr(doctor, "Others", Others)
    monkeypatch.setattr(doctor, "_LOOK_SECONDS", 0.0)
    monkeypatch.setattr(Others, "used", 0.1)
    return Desk(Profile(tmp_path))


def _checks(desk: Desk) -> dict[str, doctor.Check]:
    return {check.id: check for check in doctor._computing(desk)}  # type: ignore[arg-type]


def test_cores_and_why(desk: Desk) -> None:
    found = _checks(desk)["compute.threads"].found
    assert "16 hyper-threads" in found
    assert "2 efficiency cores" in found
    assert "a control group allows 4.5 processors" in found
    assert found.endswith("4 threads to answer, 4 to read")


def test_what_was_measured_and_when(desk: Desk) -> None:
    assert not _checks(desk)["compute.tuning"].ok
    tunings = Tunings(desk.profile.tuning, MACHINE, lambda: "b")
    order = tunings.order("t")
    timings = (
        Timing(reading=False, threads=order.threads[0], token_microseconds=10_000),
        Timing(reading=True, threads=order.batch_threads[0], token_microseconds=2_000),
    )
    tunings.keep(MODEL, Tuned(turn="t", timings=timings, complete=True, others_percent=0), order, 1e8, 86_400)
    check = _checks(desk)["compute.tuning"]
    assert check.ok
    assert (
        check.found
        == "4 threads to answer (100 tokens/s at best), 4 to read (500 tokens/s), measured 1970-01-02"
    )
    desk.fails = True
    assert not _checks(desk)["compute.tuning"].ok


def test_a_busy_workstation_is_named(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _checks(desk)["compute.others"].ok
    monkeypatch.setattr(Others, "used", 15.2)
    check = _checks(desk)["compute.others"]
    assert not check.ok
    assert "15.2 of 16" in check.found
    assert "slower" in check.advice
    monkeypatch.setattr(Others, "used", None)
    assert "compute.others" not in _checks(desk)


def test_each_finding_is_a_check_that_stops_nothing() -> None:
    found = (
        Finding("gpu.policy", ok=True, found="policy says auto"),
        Finding("gpu.device", ok=False, found="no graphics device for Vulkan", advice="Look at it."),
    )
    checks = doctor._graphics(SimpleNamespace(graphics_findings=lambda: found))
    assert [(check.id, check.ok, check.found, check.advice) for check in checks] == [
        ("gpu.policy", True, "policy says auto", ""),
        ("gpu.device", False, "no graphics device for Vulkan", "Look at it."),
    ]
    assert {check.severity for check in checks} == {"cat3"}
