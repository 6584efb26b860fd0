"""One check for all that a person wrote, before it may go anywhere: redaction, policy, and storage's rules.

A message that is sent and a draft that is read ahead pass the same check: what could not be sent is not read.
"""

from __future__ import annotations

from dataclasses import dataclass

from govdesk.chat.ports import PolicyDecider, Redactor
from govdesk.domain.decision import Decision, Deny
from govdesk.domain.policy import MAX_PROMPT_CHARACTERS
from govdesk.domain.redaction import Direction, Finding, Redacted

_NOT_STORED = (
    "The message holds something that policy does not let GovDesk store, and nothing is asked that is not "
    "stored."
)


@dataclass(frozen=True, slots=True)
class Checked:
    """What may go on: `text` is redacted for the model and for storage, and empty when denied."""

    decision: Decision
    text: str
    findings: tuple[Finding, ...]


def check(prompt: str, redactor: Redactor, decider: PolicyDecider) -> Checked:
    """Redact, decide, and redact for storage; nothing raises for content.

    Args:
        prompt: what the person wrote, whole and unredacted.
        redactor: redaction under the policy in force.
        decider: policy's decision.
    """
    too_long = len(prompt) > MAX_PROMPT_CHARACTERS  # the decider refuses it; nobody looks at it before
    redacted = Redacted("", ()) if too_long else redactor.redact(prompt, Direction.PROMPT)
    decision = decider.decide(redacted, len(prompt))
    if isinstance(decision, Deny):
        return Checked(decision, "", redacted.findings)
    stored = redactor.redact(redacted.text, Direction.STORAGE)
    if stored.blocked:
        return Checked(Deny("storage.blocked", _NOT_STORED), "", redacted.findings)
    return Checked(decision, _whole(stored.text), redacted.findings)


def _whole(text: str) -> str:
    """With each lone surrogate, which no channel and no file can hold, replaced by one U+FFFD."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
