"""A decision of policy: a value that is audited and shown, not an exception (XACML's words)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Permit:
    """The turn may go on, with what must be done on the way."""

    obligations: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Deny:
    """The turn ends here. `rule` is stable; `why` is for the person and holds no content."""

    rule: str
    why: str


Decision = Permit | Deny
