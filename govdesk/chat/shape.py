"""The shape asked of an answer (a grammar) is text like the prompt: looked at before anything is sent."""

from __future__ import annotations

from govdesk.chat.ports import Redactor
from govdesk.domain import gbnf
from govdesk.domain.decision import Deny
from govdesk.domain.redaction import Direction
from govdesk.errors import UsageError

_FINDINGS = (
    "The grammar or schema holds something that policy redacts or blocks. A shape with a hole in it would be "
    "another shape, so nothing was asked."
)
NOT_THE_SHAPE = {
    "redacted": "Redaction changed the answer, so it may not have the shape that was asked for any more.",
    "cut": "It was cut, so it does not have the shape that was asked for.",
}


def refusal(redactor: Redactor, grammar: str) -> Deny | None:
    """Why an answer of this shape (GBNF; empty: any) is not asked for, or None."""
    if not grammar:
        return None
    try:
        gbnf.check(grammar)
    except UsageError as error:
        return Deny(error.code, error.explain())
    redacted = redactor.redact(grammar, Direction.PROMPT)
    if redacted.findings or redacted.blocked or redacted.text != grammar:
        return Deny("grammar.findings", _FINDINGS)
    return None


def lost(*, cut: bool, redacted: bool) -> str:
    """What to say of a completed answer that was asked for in a shape and may not have it."""
    return " ".join(NOT_THE_SHAPE[why] for why, holds in (("cut", cut), ("redacted", redacted)) if holds)
