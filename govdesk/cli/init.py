"""`govdesk init`: a profile without a window; the recovery code is shown once."""

from __future__ import annotations

import argparse
import sys

import msgspec

from govdesk.cli import passphrase
from govdesk.cli.desk import Desk
from govdesk.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `init`."""
    passphrase.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(parsed: argparse.Namespace, desk: Desk) -> int:
    """Create the profile that GOVDESK_HOME names; the exit code."""
    if desk.profile.exists:
        raise UsageError(
            f"There is a profile in {desk.profile.home} already.",
            kept="It was not touched.",
            todo="Name another folder with GOVDESK_HOME.",
        )
    chosen = passphrase.read(parsed, "Choose a passphrase: ")
    if parsed.passphrase_fd is None and passphrase.read(parsed, "Once more: ") != chosen:
        raise UsageError("The two passphrases differ.", kept="Nothing was created.")
    problem = desk.passphrase_problem(chosen)
    if problem:
        raise UsageError(problem, code="passphrase.unsuitable", kept="Nothing was created.")
    code = desk.create_profile(chosen)
    if parsed.json:
        print(msgspec.json.encode({"home": str(desk.profile.home), "recovery_code": code}).decode())
        return 0
    print(f"The profile is in {desk.profile.home}.")
    print("Recovery code, shown this once; write it down and keep it apart from the workstation:\n")
    print(f"    {code}\n")
    sys.stdout.flush()
    return 0
