"""The writer's state: how much is acknowledged, the head, and the key of the next record.

Two slots in one file, written in turn and in place: a torn write leaves the other slot whole, and
the key of the past is overwritten where it was, which a file renamed over another would not do.
Whoever reads the state can forge what comes next, never what came before. In the writer's memory a key
is in buffers only, which are overwritten; a verifier reads the state as plain values.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from govdesk import crypto
from govdesk.audit import canonical, chain

NAME = "state"
SLOT_BYTES = 4096
FILE_BYTES = 2 * SLOT_BYTES
_SHAPE = re.compile(r"[0-9a-f]{32} [0-9a-f]{96} [0-9a-f]{96}")
_KEY_MEMBER = b'"key":"'
_DIGITS = b"0123456789abcdef"
NO_KEY = "0" * (2 * chain.KEY_BYTES)
"""What stands for the key in a state that is not on the disk: the writer holds it apart."""
_Count = Annotated[int, Meta(ge=0, le=canonical.MAX_INTEGER)]


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`seq` records in `length` bytes are acknowledged; `head` is the last line's hash, `key` K(seq)."""

    format: _Count
    log: str
    seq: _Count
    length: _Count
    head: str
    key: str

    @property
    def slot(self) -> int:
        """Which slot holds it: they take turns."""
        return self.seq % 2


def slot_of(at: State, key: bytearray) -> bytearray:
    """One slot: the state's canonical JSON, a line feed, its SHA-384, a line feed, zeros. Wipe it.

    Args:
        at: the state without its key (`NO_KEY`).
        key: filled in digit by digit, so that it is never part of a text that cannot be overwritten.
    """
    blank = canonical.encode(msgspec.to_builtins(at))
    slot = bytearray(SLOT_BYTES)
    slot[: len(blank)] = blank
    start = blank.index(_KEY_MEMBER) + len(_KEY_MEMBER)
    for index, byte in enumerate(key):
        slot[start + 2 * index] = _DIGITS[byte >> 4]
        slot[start + 2 * index + 1] = _DIGITS[byte & 15]
    text = slot[: len(blank)]
    check = f"\n{chain.line_hash(text)}\n".encode("ascii")
    slot[len(blank) : len(blank) + len(check)] = check
    crypto.wipe(text)
    return slot


def take(untrusted_file: bytearray) -> tuple[State, bytearray] | None:
    """The state that a file of two slots holds, without its key, and the key: for the writer.

    The buffer is overwritten. None when neither slot is whole.
    """
    best: tuple[State, bytearray] | None = None
    for start in (0, SLOT_BYTES):
        slot = untrusted_file[start : start + SLOT_BYTES]
        key = _cut_key_out(slot)
        found = None if key is None else _decode(bytes(slot))
        crypto.wipe(slot)
        if key is None:
            continue
        if found is None or (best is not None and best[0].seq >= found.seq):
            crypto.wipe(key)
            continue
        if best is not None:
            crypto.wipe(best[1])
        best = found, key
    crypto.wipe(untrusted_file)
    return best


def _cut_key_out(slot: bytearray) -> bytearray | None:
    """Replace the key in a slot that checks by `NO_KEY`, and its check by the new text's; the key."""
    end = slot.find(b"\n")
    start = slot.find(_KEY_MEMBER, 0, max(end, 0)) + len(_KEY_MEMBER)
    digits = slot[start : start + len(NO_KEY)]
    text = slot[: max(end, 0)]
    key = bytearray(chain.KEY_BYTES)
    try:
        checks = crypto.same(bytes(slot[end + 1 : end + 97]), chain.line_hash(text).encode("ascii"))
        if end < 0 or start < len(_KEY_MEMBER) or not checks:
            return None
        for index in range(chain.KEY_BYTES):
            high, low = _DIGITS.find(digits[2 * index]), _DIGITS.find(digits[2 * index + 1])
            if high < 0 or low < 0:
                return None
            key[index] = high << 4 | low
    except IndexError:  # fewer digits than a key has
        return None
    finally:
        crypto.wipe(text)
        crypto.wipe(digits)
    slot[start : start + len(NO_KEY)] = NO_KEY.encode("ascii")
    slot[end + 1 : end + 97] = chain.line_hash(bytes(slot[:end])).encode("ascii")
    return key


def newest(untrusted_file: bytes) -> State | None:
    """The state that a file of two slots holds, for a reader; None when neither slot is whole."""
    slots = (untrusted_file[:SLOT_BYTES], untrusted_file[SLOT_BYTES:FILE_BYTES])
    states = [state for slot in slots if (state := _decode(slot)) is not None]
    return max(states, key=lambda state: state.seq, default=None)


def _decode(untrusted_slot: bytes) -> State | None:
    text, _, rest = untrusted_slot.partition(b"\n")
    check, feed, padding = rest.partition(b"\n")
    if not feed or padding.strip(b"\0") or not crypto.same(check, chain.line_hash(text).encode("ascii")):
        return None
    try:
        found = msgspec.convert(canonical.decode(text), State)
    except (canonical.NotCanonicalError, msgspec.ValidationError):
        return None
    return found if _SHAPE.fullmatch(f"{found.log} {found.head} {found.key}") else None
