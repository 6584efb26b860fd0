"""A prompt goes on only when nothing in it is blocked and there is something to answer."""

from __future__ import annotations

import unicodedata

from govdesk.domain.decision import Decision, Deny, Permit
from govdesk.domain.policy import MAX_PROMPT_CHARACTERS, PolicyInForce
from govdesk.domain.redaction import Redacted

_INVISIBLE_CATEGORIES = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co", "Cn", "Mn", "Me"})
_FILLERS = frozenset("\u115f\u1160\u2800\u3164\uffa0")
"""Letters and symbols by category that show nothing."""


class Decider:
    """Implements `chat.ports.PolicyDecider` for the policy in force."""

    def __init__(self, policy: PolicyInForce) -> None:
        self._policy = policy

    def decide(self, redacted: Redacted, characters: int) -> Decision:
        """Permit or Deny.

        Args:
            redacted: the prompt after redaction; empty when it is too long to be looked at.
            characters: length of the prompt as it was given, in code points.
        """
        if characters > MAX_PROMPT_CHARACTERS:
            return Deny(
                "prompt.too-long",
                f"The prompt has {characters:,} characters; at most {MAX_PROMPT_CHARACTERS:,} can be checked "
                "at once. Send it in parts.",
            )
        if redacted.blocked:
            return Deny("prompt.blocked", self._blocked(redacted))
        if not any(_visible(character) for character in redacted.text):
            return Deny("prompt.empty", "There is nothing to answer: the prompt has no visible character.")
        return Permit()

    def _blocked(self, redacted: Redacted) -> str:
        """Entity types and rules of what is blocked; no content."""
        names = sorted({f"{finding.type} (rule {finding.rule})" for finding in redacted.blocked})
        return (
            f"The policy {self._policy.policy.id} does not let this through: {', '.join(names)}. "
            "Nothing was sent to the model. Take it out and ask again."
        )


def _visible(character: str) -> bool:
    return character not in _FILLERS and unicodedata.category(character) not in _INVISIBLE_CATEGORIES
