"""The writer's state: how much is acknowledged, the head, and the key of the next record.

Two slots in one file, written in turn and in place: a torn write leaves the other slot whole, and
the key of the past is overwritten where it was, which a file renamed over another would not do.
Whoever reads the state can forge what comes next, never what came before.
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


def encode(state: State) -> bytes:
    """One slot: the state's canonical JSON, a line feed, its SHA-384, a line feed, zeros."""
    text = canonical.encode(msgspec.to_builtins(state))
    return (text + b"\n" + chain.line_hash(text).encode("ascii") + b"\n").ljust(SLOT_BYTES, b"\0")


def newest(untrusted_file: bytes) -> State | None:
    """The state that a file of two slots holds; None when neither slot is whole."""
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
