"""What a record may say: ids, counts, hashes and markings in clear fields, bounded, and nothing else.

`Entry` is what a session asks for; `Record` is the whole line. Both pass the same shapes, so that a
line written here always reads, and a line with anything else in it is not one of ours.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from govdesk.audit import canonical
from govdesk.audit.canonical import NotCanonicalError, Value
from govdesk.domain.record import Entry, Event
from govdesk.errors import BugError

_MAX_TEXT = 200
_MAX_MARKING = 1000
_Short = Annotated[str, Meta(max_length=_MAX_TEXT)]
_Integer = Annotated[int, Meta(ge=-canonical.MAX_INTEGER, le=canonical.MAX_INTEGER)]
_Count = Annotated[int, Meta(ge=0, le=canonical.MAX_INTEGER)]
_Counts = Annotated[dict[str, _Integer], Meta(max_length=128)]
_Fields = Annotated[dict[str, _Short | bool | _Integer | _Counts | None], Meta(max_length=32)]
_Seals = Annotated[dict[str, str], Meta(max_length=16)]

# Shapes are checked here and not by Meta(pattern=…): with a pattern in a Struct's annotation, the
# interpreter crashes in about one exit of five (msgspec issue 717; seen with 0.22 on Python 3.11).
_PRINTABLE = re.compile(r"[ -~]*")
_WORD = re.compile(r"[a-z][a-z0-9.-]{0,63}")
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.:/+-]{0,63}")
_HASH = re.compile(r"[0-9a-f]{96}")
_ID = re.compile(r"[0-9a-f]{32}")
_NANOSECONDS = re.compile(r"0|[1-9][0-9]{0,18}")
_SEALED = re.compile(r"[A-Za-z0-9+/]*={0,2}")


class EntryError(BugError):
    """An entry that a record may not say: too long, or of a shape that could carry content."""

    code = "audit.entry"


class _Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Frozen; unknown keys are refused."""


class When(_Strict, frozen=True):
    """Nanoseconds as decimal strings: they pass 2**53. `monotonic_ns` counts from boot, through suspend."""

    utc_ns: str
    monotonic_ns: str
    boot_id: _Short


class Where(_Strict, frozen=True):
    """The machine, and the program that wrote."""

    host: _Short
    program: _Short


class Who(_Strict, frozen=True):
    """The subject as the writer knows it, never as a session says. `how`: what vouches for it."""

    uid: _Count
    name: _Short
    role: _Short
    how: _Short


class _Clear(_Strict, frozen=True):
    """The fields that a session fills."""

    event: str
    outcome: str
    object: _Short
    marking: Annotated[str, Meta(max_length=_MAX_MARKING)]
    policy: _Short
    model: _Short
    fields: _Fields


class Record(_Clear, frozen=True):
    """One line. `note` (a checkpoint) and `seal` (content) keep their place for later events: null now.

    `event` is any word of its shape, not only today's events: the catalogue grows within a format.
    """

    log: str
    seq: _Count
    prev: str
    when: When
    where: Where
    who: Who
    note: None
    seal: _Seals | None
    mac: str


_DECODER = msgspec.json.Decoder(Record)
_ENCODER = msgspec.json.Encoder(order="sorted")


def check(entry: Entry) -> None:
    """Refuse an entry that a record may not say.

    Raises:
        EntryError: too long, or of a shape that could carry content. The message holds no value.
    """
    try:
        _check_clear(msgspec.convert(_clear(entry), _Clear))
    except (msgspec.ValidationError, NotCanonicalError) as error:
        raise EntryError(f"A record of {entry.event.value} has a shape that is not allowed.") from error


def unsigned(
    entry: Entry,
    *,
    log: str,
    seq: int,
    prev: str,
    when: When,
    where: Where,
    who: Who,
    seal: dict[str, str] | None = None,
) -> dict[str, Value]:
    """The record that an entry becomes, without its MAC.

    Raises:
        EntryError: the entry may not be recorded.
    """
    check(entry)
    seals: dict[str, Value] | None = None if seal is None else dict(seal)
    return {
        **_clear(entry),
        "log": log,
        "seq": seq,
        "prev": prev,
        "when": msgspec.to_builtins(when),
        "where": msgspec.to_builtins(where),
        "who": msgspec.to_builtins(who),
        "note": None,
        "seal": seals,
    }


def decode(untrusted_line: bytes) -> tuple[Record, bytes]:
    """The record that a line holds, and the bytes that its MAC is over.

    Raises:
        NotCanonicalError: not canonical, or not the shape of a record.
    """
    if len(untrusted_line) > canonical.MAX_LINE_BYTES:
        raise NotCanonicalError("line too long")
    try:
        if untrusted_line.isascii():
            record = _DECODER.decode(untrusted_line)
            # All strings of an ASCII line that spells back to itself are ASCII, so NFC, and its keys
            # sort by byte as they sort by UTF-16 unit: this comparison is canonical.decode's, faster.
            if _ENCODER.encode(record) != untrusted_line:
                raise NotCanonicalError("not the canonical spelling")
        else:
            record = msgspec.convert(canonical.decode(untrusted_line), Record)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotCanonicalError("not a record") from error
    _check_clear(record)
    _check_line(record)
    return record, _without_mac(untrusted_line, record)


def _check_clear(clear: _Clear) -> None:
    _require(_WORD, clear.event, clear.outcome)
    _require(_PRINTABLE, clear.object, clear.marking, clear.policy, clear.model)
    for key, value in clear.fields.items():
        _require(_KEY, key)
        if isinstance(value, str):
            _require(_PRINTABLE, value)
        elif isinstance(value, dict):
            _require(_KEY, *value)


def _check_line(record: Record) -> None:
    _require(_HASH, record.prev, record.mac)
    _require(_ID, record.log)
    _require(_NANOSECONDS, record.when.utc_ns, record.when.monotonic_ns)
    if record.seal is not None:
        if record.event != Event.LOG_START.value:
            raise NotCanonicalError("a seal where this format has none")
        _require(_ID, *record.seal)
        _require(_SEALED, *record.seal.values())


def _require(shape: re.Pattern[str], *texts: str) -> None:
    for text in texts:
        if shape.fullmatch(text) is None:
            raise NotCanonicalError("a text of a shape that is not allowed")


def _without_mac(line: bytes, record: Record) -> bytes:
    # `mac` follows `log` in canonical order. Nothing after it can hold these bytes: quotes inside
    # strings are escaped, and no key named so is allowed there. So the last place is the right one.
    member = f'"mac":"{record.mac}",'.encode("ascii")
    at = line.rindex(f'"log":"{record.log}",'.encode("ascii") + member) + len(f'"log":"{record.log}",')
    return line[:at] + line[at + len(member) :]


def _clear(entry: Entry) -> dict[str, Value]:
    fields: dict[str, Value] = {
        name: dict(value) if isinstance(value, dict) else value for name, value in entry.fields.items()
    }
    return {
        "event": entry.event.value,
        "outcome": entry.outcome,
        "object": entry.object,
        "marking": entry.marking,
        "policy": entry.policy,
        "model": entry.model,
        "fields": fields,
    }
