"""One value, one spelling."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govdesk.audit import canonical
from govdesk.audit.canonical import MAX_DEPTH, MAX_INTEGER, NotCanonicalError, decode, encode

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).map(
    lambda text: unicodedata.normalize("NFC", text)
)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(texts, values, max_size=5)


@given(objects)
def test_what_is_encoded_decodes_to_the_same(value: dict) -> None:
    try:
        line = encode(value)
    except NotCanonicalError:
        return  # deeper than allowed
    assert decode(line) == value
    assert encode(decode(line)) == line
    assert b"\n" not in line


@given(objects)
def test_it_is_rfc_8785(value: dict) -> None:
    """The standard library spells the same when the keys come sorted by UTF-16 unit."""

    def ordered(item: object) -> object:
        if isinstance(item, dict):
            keys = sorted(item, key=lambda key: key.encode("utf-16-be"))
            return {key: ordered(item[key]) for key in keys}
        return [ordered(part) for part in item] if isinstance(item, list) else item

    try:
        line = encode(value)
    except NotCanonicalError:
        return
    assert line == json.dumps(ordered(value), ensure_ascii=False, separators=(",", ":")).encode()


def test_every_character_is_escaped_as_the_rfc_says() -> None:
    for code in range(0x800):
        text = unicodedata.normalize("NFC", chr(code))
        expected = json.dumps({"a": text}, ensure_ascii=False, separators=(",", ":")).encode()
        assert encode({"a": text}) == expected, code


def test_keys_are_sorted_by_utf_16_unit() -> None:
    """U+FB33 comes after U+1F600 there (RFC 8785 3.2.3), and before it by code point."""
    line = encode({"\ufb1b": 1, "\U0001f600": 2, "a": 3})
    assert list(json.loads(line)) == ["a", "\U0001f600", "\ufb1b"]
    assert decode(line)


@settings(max_examples=300)
@given(objects.filter(lambda value: len(value) > 0), st.data())
def test_another_spelling_is_refused(value: dict, data: st.DataObject) -> None:
    try:
        line = encode(value)
    except NotCanonicalError:
        return
    at = data.draw(st.integers(0, len(line)))
    changed = line[:at] + data.draw(st.sampled_from([b" ", b"\t", b"0", b"\x00", b"\xff"])) + line[at:]
    try:
        again = decode(changed)
    except NotCanonicalError:
        return
    assert encode(again) == changed  # only a value that says something else can pass
    assert again != value


@pytest.mark.parametrize(
    "line",
    [
        b'{"a":1,"a":1}', b'{"a":1,"a":2}', b'{"b":1,"a":2}', b'{"a":1.0}', b'{"a":1e2}', b'{"a":-0}',
        b'{"a":9007199254740992}', b'{"a":"\\u0061"}', b'{"a":"\\/"}', b'{"a": 1}', b'{"a":1}\n', b'{"a":01}',
        b'{"a":"\\u000A"}', '{"a":"e\u0301"}'.encode(), '{"e\u0301":1}'.encode(), b'{"a":"\xff"}',
        b'{"a":"\\ud800"}', b'{"a":NaN}', b"[]", b"1", b"", b"{", b"\xef\xbb\xbf{}", b'{"a":tru}', b"{}{}",
        b'{"\xf0\x9f\x98\x80":1,"a":1}',
    ],
)  # fmt: skip
def test_refused(line: bytes) -> None:
    with pytest.raises(NotCanonicalError):
        decode(line)


@pytest.mark.parametrize(
    "value",
    [1.5, {"a": 2**53}, {"a": -(2**53)}, {"a": "e\u0301"}, {"a": "\ud800"}, {1: 2}, {"a": b"x"}, {"a": (1,)}],
)
def test_not_encoded(value: object) -> None:
    with pytest.raises(NotCanonicalError):
        encode(value)  # type: ignore[arg-type]


def test_bounds() -> None:
    deep: object = 1
    for _ in range(MAX_DEPTH):
        deep = {"a": deep}
    assert decode(encode(deep))  # type: ignore[arg-type]
    with pytest.raises(NotCanonicalError):
        encode({"a": deep})  # type: ignore[dict-item]
    with pytest.raises(NotCanonicalError):
        decode(b'{"a":' * 30_000 + b"1" + b"}" * 30_000)
    fits = encode({"a": "x" * (canonical.MAX_LINE_BYTES - 8)})
    assert len(fits) == canonical.MAX_LINE_BYTES
    assert decode(fits)
    with pytest.raises(NotCanonicalError):
        decode(fits.replace(b"x", b"xx", 1))
