"""What one answer of the model is made of, on the trusted side and before redaction."""

from __future__ import annotations

from dataclasses import dataclass

from govdesk.domain.turn import Usage


@dataclass(frozen=True, slots=True)
class Piece:
    """Text of the answer as the worker sent it: untrusted, not yet redacted. `thinking`: it comes before."""

    untrusted_text: str
    thinking: bool = False


@dataclass(frozen=True, slots=True)
class Stopped:
    """The model stopped. `reason` is `end`, `length` or `cancelled`."""

    reason: str
    usage: Usage
