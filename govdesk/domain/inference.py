"""What one answer of the model is made of, on the trusted side and before redaction."""

from __future__ import annotations

from dataclasses import dataclass

from govdesk.domain.turn import Usage


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of the answer as the worker sent it: untrusted, not yet redacted."""

    untrusted_text: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The model stopped. `reason` is `end`, `length`, `loop` or `cancelled`."""

    reason: str
    usage: Usage
