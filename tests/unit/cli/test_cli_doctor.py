"""`govdesk doctor` says on what answers are computed, with how many threads and why, and what disturbs."""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from govdesk.cli import doctor
from govdesk.config import Profile
from govdesk.domain.frames import Device, DeviceKind, Devices, LoadModel, Probe, Timing, Tuned
from govdesk.domain.ids import ModelDigest
from govdesk.domain.inference import ComputeCheck
from govdesk.domain.models import ContextMemory
from govdesk.domain.policy import GpuRule, PolicySource
from govdesk.domain.turn import ModelInfo
from govdesk.errors import ModelError
from govdesk.inference import computing, gguf, graphics_words, library
from govdesk.inference.computing import Computing
from govdesk.inference.graphics import Graphics
from govdesk.inference.graphics_look import Look
from govdesk.inference.processor import Processor
from govdesk.inference.tuning import Tunings
from tests.tiny_models import tiny_bytes

MACHINE = Processor("A Processor", 16, 8, 6, 6, 4.5, "ab" * 48)
MODEL = ModelDigest("cd" * 48)


@dataclass
class Desk:
    profile: Profile
    fails: bool = False
    graphics: Graphics = field(default_factory=Graphics)

    def model(self) -> ModelInfo:
        if self.fails:
            raise ModelError("There is none.")
        return ModelInfo("m", MODEL, 64)

    def computing_findings(self) -> tuple[ComputeCheck, ...]:
        return computing.findings(Computing("zen4", ("AVX2", "FMA"), "on"))

    def graphics_findings(self) -> tuple[ComputeCheck, ...]:
        return graphics_words.findings(self.graphics)

    runs_on = "the processor"
    probes: tuple[Probe, ...] = ()
    policy_problem = ""
    models = SimpleNamespace(context_memory=lambda: ContextMemory(True, True, "It costs a little."))
    policy = SimpleNamespace(source=PolicySource.SITE, stamp="a policy", warning="")


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
        ComputeCheck("gpu.policy", ok=True, found="policy says auto"),
        ComputeCheck("gpu.device", ok=False, found="no graphics device for Vulkan", advice="Look at it."),
    )
    checks = doctor._graphics(SimpleNamespace(graphics_findings=lambda: found))
    assert [(check.id, check.ok, check.found, check.advice) for check in checks] == [
        ("gpu.policy", True, "policy says auto", ""),
        ("gpu.device", False, "no graphics device for Vulkan", "Look at it."),
    ]
    assert {check.severity for check in checks} == {"cat3"}


# ── the whole report, as people and fleets read it ───────────────────────────


def _report(desk: Desk, capsys: pytest.CaptureFixture[str], *, as_json: bool) -> str:
    doctor.run(argparse.Namespace(json=as_json), desk)  # type: ignore[arg-type]
    return capsys.readouterr().out


def test_the_library_and_flash_attention_stand_in_both_reports(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    found = json.loads(_report(desk, capsys, as_json=True))
    assert found["schema"] == 1
    checks = {check["id"]: check for check in found["checks"]}
    variant = "llama.cpp's variant zen4, the fastest that loads here; uses AVX2, FMA"
    assert checks["compute.build"] == {
        "id": "compute.build", "ok": True, "severity": "cat3", "found": variant, "advice": ""
    }  # fmt: skip
    assert checks["compute.attention"]["found"] == "flash attention is used"
    assert checks["model.conversations"]["found"] == "memory: halved. It costs a little."
    lines = _report(desk, capsys, as_json=False).splitlines()
    assert f"ok    {'compute.build':32}  {variant}" in lines
    assert f"ok    {'compute.attention':32}  flash attention is used" in lines


def _two_cards(tmp_path: Path, code: str = "") -> Graphics:
    """A model over two cards, which then failed if `code` says so."""
    node = (Path("/dev/nvidia0"),)
    graphics = Graphics(
        GpuRule.CUDA, None, lambda name: Look(name, True, node, node, (Path("libcuda.so.1"),), "s")
    )
    mib = 1024 * 1024
    cards = tuple(
        Device(name=f"CUDA{at}", title=f"Card {at}", kind=DeviceKind.GPU, backend="CUDA",
               memory_bytes=4096 * mib, free_bytes=free * mib)
        for at, free in enumerate((3072, 1500))
    )  # fmt: skip
    assert graphics.choose(lambda _: Devices(devices=cards)) == "cuda"
    path = tmp_path / "tiny.gguf"
    path.write_bytes(tiny_bytes("llama-spm"))
    with path.open("rb") as file:
        facts = gguf.examine((file.fileno(),), "tiny")
    graphics.place("cuda", Devices(devices=cards), facts, LoadModel(context_tokens=64, threads=1))
    if code:
        graphics.failed("cuda", code)
    return graphics


CARDS = "Card 0: 3,072 MiB free, Card 1: 1,500 MiB free; the whole model takes "
MEMORY = {
    "": (True, "layers are on it", ""),
    "model.no-context": (
        False,
        "layers were to be on it, and did not leave room enough",
        "Choose a smaller model, or close what else uses the card.",
    ),
}


@pytest.mark.parametrize("code", MEMORY)
def test_cards_stand_in_both_reports_with_their_free_memory(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    ok, end, advice = MEMORY[code]
    desk.graphics = _two_cards(tmp_path, code)
    checks = {check["id"]: check for check in json.loads(_report(desk, capsys, as_json=True))["checks"]}
    memory = checks["gpu.memory"]
    assert memory["ok"] is ok
    assert memory["found"].startswith(CARDS)
    assert memory["found"].endswith(end)
    assert memory["advice"] == advice
    assert memory["severity"] == "cat3"
    lines = _report(desk, capsys, as_json=False).splitlines()
    at = lines.index(f"{'ok  ' if ok else 'note'}  {'gpu.memory':32}  {memory['found']}")
    if advice:
        assert lines[at + 1].strip() == advice


@pytest.mark.parametrize("code", ["worker.instruction", "template.syntax", "model.refused", "worker.memory"])
def test_no_way_that_a_card_fails_ends_the_report(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str], code: str
) -> None:
    desk.graphics = _two_cards(tmp_path, code)
    assert "GovDesk can run here." in _report(desk, capsys, as_json=False)
    last = json.loads(_report(desk, capsys, as_json=True))["checks"]
    assert [check["ok"] for check in last if check["id"].startswith("gpu.")][-1] is False


@pytest.mark.parametrize(
    ("halved", "possible", "said"),
    [
        (False, True, "memory: whole"),
        (True, True, "memory: halved. What it costs."),
        (True, False, "memory: chosen to be halved, which this model cannot: whole"),
    ],
)
def test_in_how_much_memory_conversations_are_kept(halved: bool, possible: bool, said: str) -> None:
    now = ContextMemory(halved=halved, possible=possible, note="What it costs.")
    desk = SimpleNamespace(models=SimpleNamespace(context_memory=lambda: now))
    check = doctor._conversations(desk)  # type: ignore[arg-type]
    assert check.ok and check.found == said
