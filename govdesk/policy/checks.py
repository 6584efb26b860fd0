"""What a decoded policy must fulfil before it may be in force: one rule, one code, no silent repair."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator

from govdesk import crypto
from govdesk.domain.policy import BLOCKS_MARKINGS, Policy, RedactionRules
from govdesk.domain.redaction import ENTITY_TYPES, Direction, Operator
from govdesk.errors import MarkingError, PolicyError

SCHEMA = 1
MAX_VERSION = 1_000_000_000
MAX_IDLE_LOCK_SECONDS = 3_600
MIN_IDLE_LOCK_SECONDS = 30
FLOOR_PASSPHRASE_CHARACTERS = 8
MAX_PASSPHRASE_CHARACTERS = 128
_ID = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{96}")
_CUSTOM = re.compile(r"CUSTOM\.(?:[A-Z][A-Z0-9_]{0,63}|\*)")
_VERSION = re.compile(r"\d{1,5}(?:\.\d{1,5}){0,2}")
_SECRETS = sorted(name for name in ENTITY_TYPES if name.startswith("SECRET."))

_Faults = Iterator[tuple[str, str]]


def check(
    policy: Policy, *, check_marking: Callable[[str], None], today: datetime.date, app_version: str
) -> None:
    """Refuse a policy that cannot be carried out as it is written.

    Args:
        policy: decoded; its signature was checked before.
        check_marking: raises `MarkingError` for a text that is not a banner line.
        today: the date in UTC.
        app_version: this program's, e.g. `0.1.0`.

    Raises:
        PolicyError: the first rule that is broken.
    """
    for code, what in _faults(policy, check_marking, today, app_version):
        raise PolicyError(what, code=code, todo="Mend the policy file and sign it again.")


def _faults(
    policy: Policy, check_marking: Callable[[str], None], today: datetime.date, app_version: str
) -> _Faults:
    yield from _frame(policy, today, app_version)
    yield from _marking(policy.system_high, check_marking)
    yield from _redaction(policy)
    yield from _session(policy)
    for digest in policy.models.approved:
        if not _DIGEST.fullmatch(digest):
            yield "policy.model-digest", "models.approved holds something that is not a SHA-384 digest."
    for pem in policy.audit.officers:
        try:
            crypto.check_sealing_key(pem)
        except crypto.CryptoError:
            yield (
                "policy.officer-key",
                "audit.officers holds something that is not an ML-KEM-1024 public key.",
            )


def _frame(policy: Policy, today: datetime.date, app_version: str) -> _Faults:
    if policy.schema != SCHEMA:
        yield "policy.schema", f"The policy has schema {policy.schema}; this program knows {SCHEMA}."
    if not _ID.fullmatch(policy.id):
        yield "policy.id", "The policy's id is 1 to 64 of a-z, 0-9, dot and hyphen."
    if not 1 <= policy.version <= MAX_VERSION:
        yield "policy.version", f"The policy's version is 1 to {MAX_VERSION:,}."
    if policy.min_app and not _VERSION.fullmatch(policy.min_app):
        yield "policy.min-app", "min_app is a version such as 1.2 or 1.2.3."
    elif policy.min_app and _numbers(policy.min_app) > _numbers(app_version):
        yield "policy.min-app", f"The policy needs GovDesk {policy.min_app}; this is {app_version}."
    if policy.expires is not None and today > policy.expires:
        yield "policy.expired", f"The policy expired after {policy.expires.isoformat()}."
    if not policy.consent.title.strip() or not policy.consent.text.strip():
        yield "policy.consent", "The consent text and its title may not be empty."


def _numbers(version: str) -> tuple[int, ...]:
    """`1.2.3.dev4` as (1, 2, 3); a missing part counts as 0."""
    found = re.match(r"\d+(?:\.\d+){0,2}", version)
    parts = [int(part) for part in found.group().split(".")] if found else []
    return tuple(parts + [0] * (3 - len(parts)))


def _marking(system_high: str, check_marking: Callable[[str], None]) -> _Faults:
    try:
        check_marking(system_high)
    except MarkingError as error:
        near = f" Did you mean {error.suggestion}?" if error.suggestion else ""
        yield "policy.marking", f"system_high is not a banner line: {error.what}{near}"


def _redaction(policy: Policy) -> _Faults:
    directions = {direction.value for direction in Direction}
    for name, rules in policy.redaction.items():
        if name not in directions:
            yield (
                "policy.direction",
                f"redaction.{name} is no direction; they are {', '.join(sorted(directions))}.",
            )
        for entity_type in rules.types:
            if not _known_type(entity_type):
                yield "policy.entity-type", f"redaction.{name}.types names an entity type that is not known."
        if any(rules.operator(secret) is Operator.MASK for secret in _SECRETS):
            yield "policy.mask-secret", f"redaction.{name} masks secrets; a mask shows a part of them."
        yield from _markings(name, rules)


def _markings(name: str, rules: RedactionRules) -> _Faults:
    """A marking is never silently removed or let through where it was written, and a masked one is none."""
    blocking = name in {direction.value for direction in BLOCKS_MARKINGS}
    operator = rules.types.get("MARKING", Operator.BLOCK if blocking else rules.default)
    if blocking and operator is not Operator.BLOCK:
        yield "policy.marking-operator", f'redaction.{name}.types: for MARKING only "block" is possible here.'
    elif operator is Operator.MASK:
        yield (
            "policy.marking-operator",
            f"redaction.{name} masks markings; half a marking is another marking.",
        )


def _known_type(entity_type: str) -> bool:
    return entity_type in ENTITY_TYPES or entity_type == "SECRET.*" or bool(_CUSTOM.fullmatch(entity_type))


def _session(policy: Policy) -> _Faults:
    if not MIN_IDLE_LOCK_SECONDS <= policy.session.idle_lock_seconds <= MAX_IDLE_LOCK_SECONDS:
        yield (
            "policy.idle-lock",
            f"session.idle_lock_seconds is {MIN_IDLE_LOCK_SECONDS} to {MAX_IDLE_LOCK_SECONDS}.",
        )
    characters = policy.session.minimum_passphrase_characters
    low, high = FLOOR_PASSPHRASE_CHARACTERS, MAX_PASSPHRASE_CHARACTERS
    if not low <= characters <= high:
        yield "policy.passphrase", f"session.minimum_passphrase_characters is {low} to {high}."
