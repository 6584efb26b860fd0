"""How a command gets in: the policy's notice first, then the passphrase, each on record (AC-8)."""

from __future__ import annotations

import argparse
import sys

from govdesk.cli import passphrase
from govdesk.cli.desk import Desk, Unlocked


def notice(desk: Desk) -> str:
    """Marking, warning and consent text of the policy in force, as the terminal shows them."""
    consent = desk.policy.policy.consent
    return f"{marking_line(desk)}\n\n{consent.title}\n\n{consent.text}\n"


def marking_line(desk: Desk) -> str:
    """The system's marking, and what must be known of the policy in force."""
    return f"{desk.policy.policy.system_high}   {desk.policy.warning}".rstrip()


def unlock(parsed: argparse.Namespace, desk: Desk) -> Unlocked:
    """Show the notice and ask for the passphrase; typing it below the notice is the explicit act.

    With `--passphrase-fd` nobody is there to read: the record says so.
    """
    if parsed.passphrase_fd is None:
        print(notice(desk), file=sys.stderr)
    secret = passphrase.read(parsed, "I agree; my passphrase: ")
    typed = parsed.passphrase_fd is None
    desk.record_consent("passphrase typed below the notice" if typed else "passphrase on a descriptor")
    return desk.unlock(secret)
