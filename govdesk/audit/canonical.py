"""One value, one spelling: canonical JSON, so that a hash over a line is a hash over what it says.

RFC 8785 restricted: strings in NFC, booleans, null, integers below 2**53, arrays, and objects whose
keys are sorted by UTF-16 code unit. What is decoded has to encode to the very same bytes, which
refuses duplicate keys, other escapes, white space, fractions and exponents in one comparison.
"""

from __future__ import annotations

import unicodedata

import msgspec

MAX_LINE_BYTES = 64 * 1024
"""Longest line accepted, without its line feed."""
MAX_DEPTH = 8
"""Deepest nesting; the outermost value is at depth 1."""
MAX_INTEGER = 2**53 - 1

Value = str | bool | int | None | list["Value"] | dict[str, "Value"]


class NotCanonicalError(ValueError):
    """A value that has no canonical form here, or bytes that are not in it."""


def encode(value: Value) -> bytes:
    """The canonical bytes of a value.

    Raises:
        NotCanonicalError: it holds something that has no canonical form here.
    """
    # msgspec escapes as RFC 8785 3.2.2.2 asks: the short escapes, else \u00xx in lower case, and
    # nothing above U+001F; a test compares every character below U+0800 with the standard library.
    return msgspec.json.encode(_ordered(value, MAX_DEPTH))


def decode(untrusted_line: bytes) -> dict[str, Value]:
    """The object that a canonical line holds.

    Raises:
        NotCanonicalError: too long, too deep, not JSON, no object, or not spelled as `encode` would.
    """
    if len(untrusted_line) > MAX_LINE_BYTES:
        raise NotCanonicalError("line too long")
    try:
        value = msgspec.json.decode(untrusted_line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise NotCanonicalError("not JSON") from error
    if not isinstance(value, dict):
        raise NotCanonicalError("not an object")
    if encode(value) != untrusted_line:
        raise NotCanonicalError("not the canonical spelling")
    return value


def _ordered(value: Value, depth: int) -> Value:
    """The value with every object in canonical order; refuses what has no canonical form."""
    kind = type(value)
    if kind is str:
        _check_string(value)  # type: ignore[arg-type]
        return value
    if value is None or kind is bool:
        return value
    if isinstance(value, int) and kind is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise NotCanonicalError("integer too large")
        return value
    if depth <= 0:
        raise NotCanonicalError("too deep")
    if isinstance(value, dict):
        return {key: _ordered(value[key], depth - 1) for key in _sorted_keys(value)}
    if isinstance(value, list):
        return [_ordered(item, depth - 1) for item in value]
    raise NotCanonicalError("a type that has no canonical form")


def _sorted_keys(value: dict[str, Value]) -> list[str]:
    ascii_only = True
    for key in value:
        if type(key) is not str:
            raise NotCanonicalError("a key that is no string")
        _check_string(key)
        ascii_only = ascii_only and key.isascii()
    if ascii_only:
        return sorted(value)
    return sorted(value, key=lambda key: key.encode("utf-16-be"))


def _check_string(text: str) -> None:
    if text.isascii():
        return
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise NotCanonicalError("lone surrogate")
    if not unicodedata.is_normalized("NFC", text):
        raise NotCanonicalError("string not in NFC")
