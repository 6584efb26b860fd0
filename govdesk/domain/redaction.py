"""What redaction found and what was done about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from govdesk.domain.ids import EntityType


class Direction(Enum):
    """Where a text is going; policy has rules per direction."""

    PROMPT = "prompt"
    OUTPUT = "output"
    STORAGE = "storage"
    LOG = "log"


class Operator(Enum):
    """What is done with a finding. Declared strictest first: on overlap the strictest wins."""

    BLOCK = "block"
    REDACT = "redact"
    MASK = "mask"
    WARN = "warn"
    ALLOW = "allow"

    @property
    def strictness(self) -> int:
        """Higher is stricter."""
        return len(_OPERATORS) - _OPERATORS.index(self)


_OPERATORS = tuple(Operator)


@dataclass(frozen=True, slots=True)
class Finding:
    """One span that a recognizer found in a text.

    `start` and `end` are code points, end exclusive, over the text exactly as given.
    """

    start: int
    end: int
    type: EntityType
    score: float
    rule: str
    operator: Operator


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text after redaction, with the findings in the text before it (sorted, never overlapping)."""

    text: str
    findings: tuple[Finding, ...]

    @property
    def blocked(self) -> tuple[Finding, ...]:
        """The findings that must stop the whole text."""
        return tuple(f for f in self.findings if f.operator is Operator.BLOCK)


def counts(findings: tuple[Finding, ...]) -> dict[str, int]:
    """Number of findings by entity type: the only thing about findings that clear audit fields may say."""
    result: dict[str, int] = {}
    for finding in findings:
        result[finding.type] = result.get(finding.type, 0) + 1
    return result
