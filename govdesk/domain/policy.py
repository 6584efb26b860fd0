"""The decoded policy: what an organisation signed. Frozen; nothing here reads a file.

The file format is TOML; `govdesk.policy` checks the signature and decodes strictly into these
values (an unknown key is refused). The shape is documented in resources/docs/policy-reference.md.
"""

from __future__ import annotations

import datetime
from enum import Enum

import msgspec

from govdesk.domain.redaction import Direction, Operator

MAX_PROMPT_CHARACTERS = 2_000_000
"""Code points of a prompt that are checked at once; a longer one is refused before anything looks at it."""


class PolicySource(Enum):
    """Where the policy in force came from."""

    SITE = "site"
    DEVELOPMENT = "development"
    BUILT_IN = "built-in"


class ConsentText(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Shown verbatim before anything else, until an explicit click."""

    title: str
    text: str


class SessionRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Lock and passphrase rules."""

    idle_lock_seconds: int = 900
    minimum_passphrase_characters: int = 15


class GpuRule(Enum):
    """Which graphics backend may compute. A driver is much code with rights: policy has to ask for it."""

    AUTO = "auto"
    OFF = "off"
    VULKAN = "vulkan"
    CUDA = "cuda"


class ModelRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which models may load. Digests are SHA-384 of the GGUF file, lower-case hexadecimal."""

    approved: tuple[str, ...] = ()


class RedactionRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Operators for one direction: an exact entity type wins over `SECRET.*`, that over `default`."""

    default: Operator = Operator.REDACT
    types: dict[str, Operator] = {}

    def operator(self, entity_type: str) -> Operator:
        """The operator for an entity type in this direction."""
        exact = self.types.get(entity_type)
        if exact is not None:
            return exact
        family, dot, _ = entity_type.partition(".")
        if dot:
            return self.types.get(family + ".*", self.default)
        return self.default


class InferenceRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the model's process may do beside answering."""

    read_ahead: bool = True
    """Whether what is being written is read before it is sent (checked, redacted and recorded)."""
    prompt_state_cache: bool = True
    """Whether what the model read of a long conversation is kept on disk, sealed, until it is deleted."""
    gpu: GpuRule = GpuRule.OFF


class AuditRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Officers' public ML-KEM-1024 keys (PEM), to which the log's first MAC key is sealed."""

    officers: tuple[str, ...] = ()


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One signed policy file."""

    schema: int
    id: str
    version: int
    system_high: str
    consent: ConsentText
    redaction: dict[str, RedactionRules]
    session: SessionRules = SessionRules()
    models: ModelRules = ModelRules()
    audit: AuditRules = AuditRules()
    inference: InferenceRules = InferenceRules()
    min_app: str = ""
    expires: datetime.date | None = None

    def rules(self, direction: Direction) -> RedactionRules:
        """The redaction rules for a direction; a direction the file leaves out redacts everything.

        A marking above the system's own is never silently removed: where a person or the model wrote it, it
        blocks, said or not.
        """
        rules = self.redaction.get(direction.value, RedactionRules())
        if direction in BLOCKS_MARKINGS:
            rules = RedactionRules(rules.default, {**rules.types, "MARKING": Operator.BLOCK})
        return rules


BLOCKS_MARKINGS = (Direction.PROMPT, Direction.OUTPUT)
"""Directions in which a finding of type `MARKING` has one operator only."""


class PolicyInForce(msgspec.Struct, frozen=True):
    """A policy with where it came from and the hash of the bytes that were signed."""

    policy: Policy
    source: PolicySource
    sha384: str
    warning: str = ""
    """Words for the screen: why this is not a site's policy. Empty for a site's policy."""

    @property
    def stamp(self) -> str:
        """`id@hash`, as it goes with every message, export and record."""
        return f"{self.policy.id}@{self.sha384[:16]}"
