"""`govdesk doctor`: what this workstation gives GovDesk, check by check, for people and for fleets."""

from __future__ import annotations

import argparse
import datetime
import os
import time
from pathlib import Path

import msgspec

from govdesk.cli import interrupts
from govdesk.cli.desk import Desk
from govdesk.domain.frames import Probe
from govdesk.domain.inference import ComputeCheck
from govdesk.domain.policy import PolicySource
from govdesk.domain.text import terminal_safe
from govdesk.errors import KnownError
from govdesk.inference import processor, threads
from govdesk.inference.tuning import Tuning, Tunings
from govdesk.process.environment import BOUNDED_SPIN
from govdesk.process.others import Others

_LOOK_SECONDS = 0.5
_DISTURBS = 0.6
"""Of a processor: less than this no answer feels."""


class Check(msgspec.Struct, frozen=True):
    """One line of the report. `severity` cat1 stops GovDesk, cat2 weakens it, cat3 is advice."""

    id: str
    ok: bool
    severity: str
    found: str
    advice: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `doctor`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(parsed: argparse.Namespace, desk: Desk) -> int:
    """Run every check; 0 when no cat1 check failed, else 1. Ctrl-C leaves at any time."""
    with interrupts.leaving():
        return _run(parsed, desk)


def _run(parsed: argparse.Namespace, desk: Desk) -> int:
    model = _model(desk)  # starts the worker, whose self-test is part of the report
    checks = [
        *_network(desk.probes),
        model,
        _conversations(desk),
        *_computing(desk),
        *_graphics(desk),
        *_policy(desk),
        *_machine(desk),
    ]
    ok = all(check.ok for check in checks if check.severity == "cat1")
    if parsed.json:
        print(msgspec.json.encode({"schema": 1, "ok": ok, "checks": checks}).decode())
        return 0 if ok else 1
    for check in checks:
        mark = "ok  " if check.ok else "FAIL" if check.severity == "cat1" else "note"
        print(f"{mark}  {check.id:32}  {terminal_safe(check.found)}")
        if not check.ok and check.advice:
            print(f"      {'':32}  {check.advice}")
    print("\nGovDesk can run here." if ok else "\nGovDesk refuses to run here.")
    return 0 if ok else 1


def _network(probes: tuple[Probe, ...]) -> list[Check]:
    return [
        Check(
            id=f"network.{probe.channel}",
            ok=probe.blocked,
            severity="cat1",
            found=f"refused ({probe.found})" if probe.blocked else f"open ({probe.found})",
            advice="The operating system let this channel through; GovDesk does not start like this.",
        )
        for probe in probes
    ]


def _model(desk: Desk) -> Check:
    try:
        model = desk.model()
    except KnownError as error:
        return Check("model", ok=False, severity="cat1", found=error.what, advice=error.todo)
    found = f"{model.name}, {model.context_tokens} tokens of context, SHA-384 {model.digest[:16]}…"
    found += f"; runs on {desk.runs_on}"
    return Check("model", ok=True, severity="cat1", found=found)


def _conversations(desk: Desk) -> Check:
    """In how much memory the model keeps conversations; a choice, and nothing wrong."""
    now = desk.models.context_memory()
    found = f"{now.words}. {now.note}" if now.halved and now.possible else now.words
    return Check("model.conversations", ok=True, severity="cat3", found=f"memory: {found}")


def _computing(desk: Desk) -> list[Check]:
    """On what answers are computed, with how many threads and why, and what disturbs now."""
    found = processor.read()
    kept = Tunings(desk.profile.tuning, found)
    try:
        tuning = kept.of(desk.model().digest)
    except KnownError:
        tuning = None
    checks = [
        Check("compute.processor", ok=True, severity="cat3", found=found.name),
        *_advice(desk.computing_findings()),
        Check("compute.threads", ok=True, severity="cat3", found=threads.explain(found)),
        Check(
            "compute.waiting",
            ok=True,
            severity="cat3",
            found=f"threads spin {BOUNDED_SPIN} times, then sleep; fewer while others compute",
        ),
        Check(
            "compute.tuning",
            ok=tuning is not None,
            severity="cat3",
            found=_tuning(tuning),
            advice="It is measured by itself after the first answer on the processor, in a quiet moment.",
        ),
    ]
    others = Others()
    others.begin()
    time.sleep(_LOOK_SECONDS)
    used = others.look()
    if used is not None:
        checks.append(
            Check(
                "compute.others",
                ok=others.cpus - used >= min(others.cpus, threads.choose(found).decode) - _DISTURBS,
                severity="cat3",
                found=f"other programs use {used:.1f} of {others.cpus} processors now",
                advice="The workstation is busy: answers come slower until it is not.",
            )
        )
    return checks


def _tuning(tuning: Tuning | None) -> str:
    if tuning is None:
        return "not measured yet on this machine, with this library and this model"
    day = datetime.datetime.fromtimestamp(tuning.at, datetime.UTC).strftime("%Y-%m-%d")
    return (
        f"{tuning.threads} threads to answer ({1e6 / tuning.token_microseconds:.0f} tokens/s at best), "
        f"{tuning.batch_threads} to read ({1e6 / tuning.read_microseconds:.0f} tokens/s), measured {day}"
    )


def _graphics(desk: Desk) -> list[Check]:
    """Why a graphics card is used or not: never more than advice, for every model runs without one."""
    return _advice(desk.graphics_findings())


def _advice(findings: tuple[ComputeCheck, ...]) -> list[Check]:
    return [
        Check(finding.id, ok=finding.ok, severity="cat3", found=finding.found, advice=finding.advice)
        for finding in findings
    ]


def _policy(desk: Desk) -> list[Check]:
    policy = desk.policy
    site = policy.source is PolicySource.SITE
    return [
        Check(
            "policy",
            ok=site and not desk.policy_problem,
            severity="cat2",
            found=f"{policy.source.value}: {policy.stamp}"
            + (f"; {policy.warning}" if policy.warning else ""),
            advice=desk.policy_problem or "An organisation signs its own policy; this is not one.",
        ),
        Check(
            "assurance",
            ok=False,
            severity="cat2",
            found="run uninstalled: audit writer under the same account (reduced assurance)",
            advice="Installed by IT, the writer has an account of its own.",
        ),
        Check(
            "machine-secret",
            ok=False,
            severity="cat3",
            found="none: the passphrase alone protects the keys",
            advice="Installed, a secret of the machine is mixed in.",
        ),
    ]


def _machine(desk: Desk) -> list[Check]:
    swap = [line.split()[0] for line in _read("/proc/swaps").splitlines()[1:]]
    plain_swap = [name for name in swap if not name.startswith(("/dev/dm-", "/dev/zram"))]
    mode = desk.profile.home.stat().st_mode & 0o777
    return [
        Check(
            "swap",
            ok=not plain_swap,
            severity="cat2",
            found=", ".join(plain_swap) or "none in clear",
            advice="Memory may reach the disk in clear; encrypt swap or switch it off.",
        ),
        Check(
            "hibernation",
            ok="disk" not in _read("/sys/power/state").split() or not swap,
            severity="cat2",
            found="possible" if "disk" in _read("/sys/power/state").split() and swap else "not possible",
            advice="Hibernating writes all memory to the disk; switch it off.",
        ),
        Check(
            "home.mode",
            ok=mode == 0o700,
            severity="cat2",
            found=f"{mode:04o}",
            advice="Others can look into the profile's folder.",
        ),
        Check(
            "account",
            ok=os.geteuid() != 0,
            severity="cat3",
            found="root" if os.geteuid() == 0 else "an ordinary account",
            advice="Use an ordinary account for daily work.",
        ),
    ]


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
