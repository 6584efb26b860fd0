"""One of two slots is whole, whatever happened to the other."""

from __future__ import annotations

import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from govdesk.audit import state
from govdesk.audit.state import SLOT_BYTES, State
from tests.audit_logs import slot_of


def at(seq: int) -> State:
    return State(1, "ab" * 16, seq, 100 * seq, "0f" * 48, "1e" * 48)


def both(even: bytes, odd: bytes) -> bytes:
    return even.ljust(SLOT_BYTES, b"\0") + odd.ljust(SLOT_BYTES, b"\0")


def newest(file: bytes) -> State | None:
    """As a reader sees it; the writer, which holds the key apart, must see the same."""
    found = state.newest(file)
    buffer = bytearray(file)
    taken = state.take(buffer)
    if taken is None:
        assert found is None
        return None
    blank, key = taken
    assert blank.key == state.NO_KEY
    assert found == msgspec.structs.replace(blank, key=key.hex())
    assert not any(buffer), "the writer leaves nothing of the key behind"
    return found


def test_the_newer_whole_slot_counts() -> None:
    assert newest(both(slot_of(at(4)), slot_of(at(3)))) == at(4)
    assert newest(both(slot_of(at(4)), slot_of(at(5)))) == at(5)
    assert newest(both(slot_of(at(4)), b"")) == at(4)
    assert newest(both(b"", slot_of(at(5)))) == at(5)
    assert newest(b"") is None
    assert newest(bytes(state.FILE_BYTES)) is None
    assert [at(n).slot for n in range(3)] == [0, 1, 0]


@given(st.integers(0, SLOT_BYTES - 1), st.integers(1, 255))
def test_a_slot_with_any_byte_changed_is_none(place: int, flip: int) -> None:
    slot = bytearray(slot_of(at(2)))
    slot[place] ^= flip
    assert newest(bytes(slot)) is None
    assert newest(both(bytes(slot), slot_of(at(1)))) == at(1)


def test_a_torn_slot_leaves_the_other() -> None:
    dice = random.Random(1)
    old, new = slot_of(at(3)), slot_of(at(5))
    for _ in range(200):
        cut = dice.randrange(SLOT_BYTES)
        torn = new[:cut] + old[cut:]
        assert newest(both(slot_of(at(4)), torn)) in (at(4), at(5))


def test_unknown_keys_and_wrong_shapes_are_none() -> None:
    from govdesk.audit.canonical import encode
    from govdesk.audit.chain import line_hash

    good = {"format": 1, "log": "ab" * 16, "seq": 1, "length": 1, "head": "0" * 96, "key": "0" * 96}
    for changes in ({}, {"x": 1}, {"seq": -1}, {"key": "0" * 95}, {"log": "AB" * 16}, {"head": 1}):
        text = encode({**good, **changes})
        slot = text + b"\n" + line_hash(text).encode() + b"\n"
        assert (newest(both(slot, b"")) is None) is bool(changes), changes
