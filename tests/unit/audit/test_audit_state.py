"""One of two slots is whole, whatever happened to the other."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from govdesk.audit import state
from govdesk.audit.state import SLOT_BYTES, State


def at(seq: int) -> State:
    return State(1, "ab" * 16, seq, 100 * seq, "0f" * 48, "1e" * 48)


def both(even: bytes, odd: bytes) -> bytes:
    return even.ljust(SLOT_BYTES, b"\0") + odd.ljust(SLOT_BYTES, b"\0")


def test_the_newer_whole_slot_counts() -> None:
    assert state.newest(both(state.encode(at(4)), state.encode(at(3)))) == at(4)
    assert state.newest(both(state.encode(at(4)), state.encode(at(5)))) == at(5)
    assert state.newest(both(state.encode(at(4)), b"")) == at(4)
    assert state.newest(both(b"", state.encode(at(5)))) == at(5)
    assert state.newest(b"") is None
    assert state.newest(bytes(state.FILE_BYTES)) is None
    assert [at(n).slot for n in range(3)] == [0, 1, 0]


@given(st.integers(0, SLOT_BYTES - 1), st.integers(1, 255))
def test_a_slot_with_any_byte_changed_is_none(place: int, flip: int) -> None:
    slot = bytearray(state.encode(at(2)))
    slot[place] ^= flip
    assert state.newest(bytes(slot)) is None
    assert state.newest(both(bytes(slot), state.encode(at(1)))) == at(1)


def test_a_torn_slot_leaves_the_other() -> None:
    dice = random.Random(1)
    old, new = state.encode(at(3)), state.encode(at(5))
    for _ in range(200):
        cut = dice.randrange(SLOT_BYTES)
        torn = new[:cut] + old[cut:]
        assert state.newest(both(state.encode(at(4)), torn)) in (at(4), at(5))


def test_unknown_keys_and_wrong_shapes_are_none() -> None:
    from govdesk.audit.canonical import encode
    from govdesk.audit.chain import line_hash

    good = {"format": 1, "log": "ab" * 16, "seq": 1, "length": 1, "head": "0" * 96, "key": "0" * 96}
    for changes in ({}, {"x": 1}, {"seq": -1}, {"key": "0" * 95}, {"log": "AB" * 16}, {"head": 1}):
        text = encode({**good, **changes})
        slot = text + b"\n" + line_hash(text).encode() + b"\n"
        assert (state.newest(both(slot, b"")) is None) is bool(changes), changes
