"""How a command gets in: the policy's notice first, then the passphrase, each on record (AC-8)."""

from __future__ import annotations

import argparse
import sys

from govdesk.cli import passphrase
from govdesk.cli.desk import Desk, Unlocked


def notice(desk: Desk) -> str:
    """Marking, warning and consent text of the policy in force, as the terminal shows them."""
    policy = desk.policy.policy
    head = f"{policy.system_high}   {desk.policy.warning}".rstrip()
    return f"{head}\n\n{policy.consent.title}\n\n{policy.consent.text}\n"


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
