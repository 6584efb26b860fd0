"""The shell's process: becomes the broker, or runs a command that needs no other process."""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import sys
import tempfile

from govdesk import config
from govdesk.cli import commands, passphrase, redact
from govdesk.domain.models import ModelLooks
from govdesk.errors import HomeError, InstanceRunningError
from govdesk.hardening import harden
from govdesk.process import environment as env
from govdesk.process.broker import Broker, Front, Launch
from govdesk.process.instance import Instance, ask_to_raise
from govdesk.sandbox.walls import Wall, programs, prove, raise_and_prove, raise_walls


def command(arguments: list[str]) -> int:
    """Run what was typed.

    Returns:
        The exit code for the shell.
    """
    parsed = commands.parse(arguments)
    descriptor = passphrase.require_descriptor(parsed)
    passed = () if descriptor is None else (descriptor,)
    env.close_unknown(frozenset(passed))
    env.require_no_network((0, 1, 2, *passed))
    harden()
    if parsed.needs is commands.Needs.NOTHING:
        raise_and_prove(Wall.SEALED)
        return commands.run_alone(parsed, _models)
    if parsed.needs is commands.Needs.THROW_AWAY:
        return _sample()
    profile = config.profile(os.environ)
    if parsed.needs is commands.Needs.AUDIT_IF_PROFILE and not profile.exists:
        return _redact_alone(parsed)
    if parsed.needs is commands.Needs.WINDOW and not env.display_available(os.environ):
        return _without_display(profile)
    if parsed.needs is commands.Needs.WINDOW:
        env.require_local_display(os.environ)
    if parsed.needs is commands.Needs.PROFILE and not profile.exists:
        raise HomeError(
            f"There is no profile in {profile.home} yet.",
            code="home.no-profile",
            todo="Make one with `govdesk init`, or by starting the window.",
        )
    front = Front.WINDOW if parsed.needs is commands.Needs.WINDOW else Front.TERMINAL
    return _broker(front, profile, arguments, passed)


def _models() -> ModelLooks:
    """For looking only: what changes something goes through a session process, on record."""
    from govdesk.app import models
    from govdesk.app.rules import load_policy

    policy, _ = load_policy()
    return models.shelf(config.profile(os.environ), policy)


def _redact_alone(parsed: argparse.Namespace) -> int:
    """Redaction needs no profile; without one there is no log to record in."""
    raise_and_prove(Wall.SEALED)
    from govdesk.app.rules import build_redactor, load_policy

    policy, _ = load_policy()
    return redact.redact(
        parsed, build_redactor(policy), policy.stamp, lambda _counts: contextlib.nullcontext()
    )


def _broker(front: Front, profile: config.Profile, arguments: list[str], passed: tuple[int, ...]) -> int:
    profile.create()
    try:
        instance = Instance(profile, os.environ)
    except InstanceRunningError:
        if front is Front.WINDOW and ask_to_raise(profile, os.environ):
            print("GovDesk is already running; its window was brought to the front.")  # noqa: T201
            return 0
        raise
    raise_walls(Wall.BROKER, programs())
    probes = prove(Wall.BROKER)  # judged and recorded by the session process, which refuses to go on
    # inherited by every thread of the session process, which decides what an interrupt means
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    launch = Launch(front, tuple(arguments), dict(os.environ), str(profile.audit), passed, probes)
    return Broker(launch, instance).run()


def _without_display(profile: config.Profile) -> int:
    """No screen: say so, and run the same turn in the terminal."""
    interactive = sys.stdin is not None and sys.stdin.isatty()
    print("GovDesk: there is no display here, so the same turn runs in this terminal.")  # noqa: T201
    if interactive:
        return _broker(Front.TERMINAL, profile, ["chat"], ())
    return _sample()


def _sample() -> int:
    """One sample question in a home that nobody uses: its passphrase is known to nobody."""
    home = tempfile.mkdtemp(prefix="govdesk-sample-")
    print("The profile is a throw-away one; it is removed at the end.\n", flush=True)  # noqa: T201
    os.environ["GOVDESK_HOME"] = home
    try:
        return _broker(Front.TERMINAL, config.profile(os.environ), ["sample"], ())
    finally:
        shutil.rmtree(home, ignore_errors=True)
