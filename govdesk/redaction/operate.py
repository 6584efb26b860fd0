"""What an operator leaves of a finding: its type's name, its last four characters, or all of it."""

from __future__ import annotations

from govdesk.domain.redaction import Finding, Operator
from govdesk.redaction.fold import fold

_SHOWN = 4
_MASK = "*"
_NEVER_MASKED = ("SECRET.", "MARKING")


def render(finding: Finding, given: str) -> str:
    """The text that takes a finding's place.

    Args:
        finding: what was found.
        given: the characters of the finding, as given.
    """
    match finding.operator:
        case Operator.ALLOW | Operator.WARN:
            return given
        case Operator.MASK if not finding.type.startswith(_NEVER_MASKED):
            return _masked(given) or placeholder(finding)
        case _:
            return placeholder(finding)


def placeholder(finding: Finding) -> str:
    """The type's name in square brackets."""
    return f"[{finding.type}]"


def _masked(given: str) -> str:
    """All but the last four letters and digits starred; empty when those would be half of them or more."""
    folded, _ = fold(given)
    total = sum(character.isalnum() for character in folded)
    if total <= 2 * _SHOWN:
        return ""
    masked = []
    seen = 0
    for character in folded:
        seen += character.isalnum()
        masked.append(_MASK if character.isalnum() and seen <= total - _SHOWN else character)
    return "".join(masked)
