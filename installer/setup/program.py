"""The steps in their order: system, environment, packages, llama.cpp, checkout, model."""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from installer.setup import backends, machine
from installer.setup.commands import Commands
from installer.setup.environment import Environment
from installer.setup.files import locked
from installer.setup.llama import Llama
from installer.setup.models import Models
from installer.setup.native import cache_folder
from installer.setup.report import Report, SetupError
from installer.setup.stamps import STAMPS, Stamps, Step

CHECKOUT = Path(__file__).resolve().parent.parent.parent
REQUIREMENTS = CHECKOUT / "installer" / "requirements"
DEFAULT_MODEL = "smollm2-135m-instruct"
TEST_MODEL = "gemma-3-270m"
MAX_LOG_BYTES = 2 * 1024 * 1024
PURPOSES = {
    "run": "what `make run` needs",
    "test": "that, and what the tests need",
    "check": "only what the static checks need: no llama.cpp, no model, no window",
    "peers": "only what `make bench` measures against, for an environment of its own",
    "backends": "that of `run`, with every processor variant and Vulkan as libraries to load",
    "gemma": "that of `run`, and the second model, which tests/integration/test_second_model.py uses",
}


def main(arguments: Sequence[str]) -> int:
    """Set up; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python3 -m installer.setup", description=__doc__)
    parser.add_argument("purpose", choices=PURPOSES, help="; ".join(f"{k}: {v}" for k, v in PURPOSES.items()))
    parser.add_argument("--venv", default=os.environ.get("VENV") or ".venv", help="the environment's folder")
    try:
        chosen = parser.parse_args(arguments)
    except SystemExit as stop:
        return 3 if stop.code else 0
    report = Report()
    started = time.monotonic()
    try:
        done = set_up(chosen.purpose, (CHECKOUT / chosen.venv).absolute(), report)
    except SetupError as error:
        report.say(error.what)
        if error.todo:
            report.say(error.todo)
        return error.exit_code
    except OSError as error:
        report.say(f"{error.filename or 'A file'} cannot be used: {error.strerror}.")
        report.say("Check the disk and the folder's owner, then run the same command again.")
        return 5
    except KeyboardInterrupt:
        report.say("stopped; the next run goes on from here")
        return 130
    if done:
        report.say(f"ready after {time.monotonic() - started:.0f} s")
    return 0


def set_up(purpose: str, venv: Path, report: Report) -> int:
    """Do what has to be done for a purpose; returns how many steps that were."""
    machine.require_platform()
    inherited = {
        name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}
    }
    inherited.update(LC_ALL="C.UTF-8", PATH=f"{venv / 'bin'}{os.pathsep}{inherited.get('PATH', os.defpath)}")
    commands = Commands(report, CHECKOUT / "build" / "setup.log", inherited)
    with locked(
        CHECKOUT / "build" / "setup.lock", lambda: report.say("another set-up runs in this checkout; waiting")
    ):
        start_log(commands.log)
        machine.provide(
            lambda: missing(purpose, venv, commands),
            commands,
            report,
            root=os.geteuid() == 0,
            apt=shutil.which("apt-get"),
        )
        stamps = Stamps(venv / STAMPS)
        return sum(stamps.perform(step, report) for step in steps(purpose, venv, commands, report))


def start_log(log: Path) -> None:
    """A log that has grown large makes room for a new one; the last large one stays beside it."""
    if log.exists() and log.stat().st_size > MAX_LOG_BYTES:
        log.replace(log.with_name(log.name + ".before"))


def missing(purpose: str, venv: Path, commands: Commands) -> list[machine.Missing]:
    """What the machine lacks for a purpose."""
    lacking = [] if (venv / "pyvenv.cfg").exists() else machine.missing_venv_module()
    if purpose in {"check", "peers"}:
        return lacking
    lacking += machine.missing_programs(machine.BUILD_PROGRAMS)
    lacking += machine.missing_libraries(machine.QT_LIBRARIES, machine.known_libraries(commands))
    lacking += machine.missing_font()
    if purpose == "test":
        lacking += machine.missing_programs(machine.TEST_PROGRAMS)
    return lacking


def steps(purpose: str, venv: Path, commands: Commands, report: Report) -> Iterator[Step]:
    """The steps in their order; each is asked for only once those before it are done."""
    environment = Environment(venv, commands, report)
    cache = cache_folder(os.environ)
    models = Models(CHECKOUT / "models", cache, environment, commands, report)
    yield environment.create_step()
    if purpose == "peers":
        yield environment.packages_step("peers", REQUIREMENTS / "peers.txt")
        return
    yield environment.packages_step("build", REQUIREMENTS / "build.txt")
    yield environment.packages_step("runtime", REQUIREMENTS / "runtime.txt")
    if purpose != "check":
        whole = ("cpu", "vulkan") if purpose == "backends" else None
        asked = backends.asked_for(os.environ, otherwise=whole)
        yield Llama(REQUIREMENTS / "llama.txt", cache, environment, commands, report, asked).step()
    yield environment.checkout_step(CHECKOUT)
    if purpose != "check":
        yield models.step(DEFAULT_MODEL)
    if purpose == "gemma":
        yield models.step(TEST_MODEL)
    if purpose in {"test", "check"}:
        yield environment.packages_step("dev", REQUIREMENTS / "dev.txt")
