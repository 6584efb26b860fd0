"""The terminal's commands: what can be typed, which processes each needs, and who runs it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from enum import Enum

from govdesk import __version__
from govdesk.cli import ask, audit, chat, doctor, init, marking, model, policy, redact, sample
from govdesk.cli.desk import Desk
from govdesk.domain.models import ModelLooks
from govdesk.errors import BugError, UsageError


class Needs(Enum):
    """What has to run before a command can."""

    NOTHING = "nothing"
    """Runs in the shell's process, sealed."""
    AUDIT_IF_PROFILE = "audit, where there is a profile"
    HOME = "a home"
    """Audit writer; the profile may be missing."""
    PROFILE = "a profile"
    THROW_AWAY = "a home of its own, removed at the end"
    WINDOW = "a screen"


_NEEDS = {
    "window": Needs.WINDOW,
    "ask": Needs.PROFILE,
    "chat": Needs.HOME,
    "sample": Needs.THROW_AWAY,
    "init": Needs.HOME,
    "doctor": Needs.HOME,
    "redact": Needs.AUDIT_IF_PROFILE,
    "audit": Needs.NOTHING,
    "policy": Needs.NOTHING,
    "marking": Needs.NOTHING,
    "model": Needs.HOME,
}


class _Parser(argparse.ArgumentParser):
    """Exits with the contract's code for wrong usage."""

    def error(self, message: str) -> None:  # type: ignore[override]
        self.print_usage(sys.stderr)
        raise UsageError(f"{message[:1].upper()}{message[1:]}.", todo="See `govdesk --help`.")


def parse(arguments: list[str]) -> argparse.Namespace:
    """What was typed; `needs` says which processes the command wants.

    Raises:
        UsageError: it cannot be understood.
    """
    parser = _Parser(
        prog="govdesk",
        description="A local model for people who work without a network. Without a command: the window.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"govdesk {__version__}")
    subparsers = parser.add_subparsers(dest="command", parser_class=_Parser, metavar="COMMAND")
    ask.add_arguments(subparsers.add_parser("ask", help="ask one question in the terminal"))
    chat.add_arguments(subparsers.add_parser("chat", help="ask one question after another in the terminal"))
    init.add_arguments(subparsers.add_parser("init", help="create a profile without a window"))
    redact.add_arguments(
        subparsers.add_parser("redact", help="find and redact, in a file or from standard input")
    )
    doctor.add_arguments(
        subparsers.add_parser("doctor", help="check this workstation and show the self-test")
    )
    audit.add_arguments(subparsers.add_parser("audit", help="verify or show an audit log"))
    policy.add_arguments(subparsers.add_parser("policy", help="check or show a policy"))
    marking.add_arguments(subparsers.add_parser("marking", help="check or roll up classification markings"))
    model.add_arguments(subparsers.add_parser("model", help="import, list, verify, show or remove models"))
    subparsers.add_parser("sample", help="one sample question in a throw-away profile (as `make run` does)")
    parsed = parser.parse_args(arguments)
    parsed.command = parsed.command or "window"
    looks = parsed.command == "model" and parsed.action in model.LOOKS
    parsed.needs = Needs.NOTHING if looks else _NEEDS[parsed.command]
    return parsed


def run_alone(parsed: argparse.Namespace, models: Callable[[], ModelLooks]) -> int:
    """Run a command that needs no other process; the exit code.

    Args:
        parsed: what was typed.
        models: the models of the profile that the environment names, for looking at.
    """
    match parsed.command:
        case "audit":
            return audit.run(parsed)
        case "policy":
            return policy.run(parsed)
        case "marking":
            return marking.run(parsed)
        case "model":
            return model.look(parsed, models())
    raise BugError(f"No way to run {parsed.command} alone.")


def run_in_session(parsed: argparse.Namespace, desk: Desk) -> int:
    """Run a command in a session process; the exit code."""
    match parsed.command:
        case "ask":
            return ask.run(parsed, desk)
        case "chat":
            return chat.run(parsed, desk)
        case "sample":
            return sample.run(desk)
        case "init":
            return init.run(parsed, desk)
        case "redact":
            return redact.run(parsed, desk)
        case "doctor":
            return doctor.run(parsed, desk)
        case "model":
            return model.run(parsed, desk)
    raise BugError(f"No way to run {parsed.command} in a session.")
