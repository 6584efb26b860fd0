"""What one answer of the model is made of, on the trusted side and before redaction; and what computes it."""

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
    """The model stopped. `reason` is `end`, `length`, `loop` or `cancelled`."""

    reason: str
    usage: Usage


@dataclass(frozen=True, slots=True)
class Count:
    """How many tokens a history takes as a prompt. `estimated`: not counted to the end, for it cannot fit."""

    tokens: int
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Read:
    """What reading ahead did: the prompt's tokens, those read before and those read now.

    `cancelled`: it was stopped before its end; what was read stays read. `estimated`: the tokens were not
    counted to the end, for it cannot fit.
    """

    prompt_tokens: int
    reused_tokens: int
    read_tokens: int
    cancelled: bool = False
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class ComputeCheck:
    """One check of what models compute on: `id` as in `gpu.device`, what was found, what to do."""

    id: str
    ok: bool
    found: str
    advice: str = ""
