"""The policy in force, and redaction under it: what every process that sees text builds first."""

from __future__ import annotations

import datetime

from govdesk import config
from govdesk.cli.policy import check_marking
from govdesk.domain.policy import PolicyInForce
from govdesk.marking import spillage
from govdesk.policy.loader import policy_in_force
from govdesk.redaction.engine import Engine
from govdesk.redaction.packs import load_packs

POLICY_FOLDER = config.RESOURCES / "policy"


def load_policy() -> tuple[PolicyInForce, str]:
    """The policy in force, and why the file could not be used (empty when it could)."""
    today = datetime.datetime.now(datetime.UTC).date()
    policy, problem = policy_in_force(
        POLICY_FOLDER, check_marking=check_marking, today=today, installed=False
    )
    return policy, problem.explain() if problem else ""


def build_redactor(policy: PolicyInForce) -> Engine:
    """Redaction under a policy, with the shipped recognizers."""
    system_high = policy.policy.system_high
    recognizers = load_packs(
        config.RESOURCES / "recognizers", lambda text: spillage.exceeds(text, system_high)
    )
    return Engine(recognizers, policy.policy)


def covers(highest: str, held: str) -> bool:
    """True when what is marked `held` may be said to a model that may see up to `highest`.

    Raises:
        MarkingError: `highest` is no banner line.
    """
    return not spillage.exceeds(held, highest)
