"""What redaction found and what was done about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from govdesk.domain.ids import EntityType

ENTITY_TYPES = frozenset(
    EntityType(name)
    for name in (
        "PERSON PHONE_NUMBER EMAIL_ADDRESS LOCATION DATE_OF_BIRTH US_SSN US_ITIN US_PASSPORT "
        "US_DRIVER_LICENSE A_NUMBER EDIPI MEDICAL_RECORD US_BANK_NUMBER ABA_ROUTING IBAN_CODE "
        "CREDIT_CARD IP_ADDRESS MAC_ADDRESS HOSTNAME URL USERNAME COORDINATES MGRS CAGE_CODE UEI "
        "CONTRACT_NUMBER CALL_SIGN CODEWORD MARKING CUI SECRET.PRIVATE_KEY SECRET.CLOUD_KEY "
        "SECRET.TOKEN SECRET.PASSWORD SECRET.GENERIC DATE_TIME NRP ORGANIZATION"
    ).split()
)
"""The entity types a policy may name; besides them `CUSTOM.` with a name of the site's own."""


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
