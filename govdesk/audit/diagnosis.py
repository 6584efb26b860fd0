"""Says what a bad place looks like, from the lines around it; never decides whether it is bad."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

import msgspec

from govdesk.audit import chain, record
from govdesk.audit.canonical import NotCanonicalError
from govdesk.audit.reading import Line, lines
from govdesk.audit.report import Attack, Bad
from govdesk.audit.state import State
from govdesk.audit.walk import Place

MAX_LATER_KEYS = 20_000
"""How many later keys are tried on a MAC that does not fit (a second or so)."""
_KEYS_AHEAD = 64
"""How far past the state's key: whoever stole that one can go on from it."""


@dataclass(frozen=True, slots=True)
class _Glimpse:
    """What a line claims, however bad it is; None where it claims nothing."""

    line: Line
    seq: int | None
    log: str | None
    prev: str | None
    hash: str


def diagnose(file: BinaryIO, log: str, at: Place, before: Place, state: State | None) -> tuple[Bad, Attack]:
    """Where the first bad place is, and what it looks like.

    Args:
        file: the segment.
        log: the log's id; empty when the first line is the bad one.
        at: the last good place; the line after it is bad.
        before: the place one line before that.
        state: the writer's state, when there is one.
    """
    ahead = lines(file, at.length)
    bad = _glimpse(next(ahead))
    line = next(ahead, None)
    following = None if line is None else _glimpse(line)
    here = Bad(at.seq, at.length)
    if following is not None and (following.seq, following.prev) == (at.seq, at.head) and at.seq > 0:
        return here, _intruder(file, bad, line, log, at)
    if bad.seq is None:
        return here, Attack.EDIT
    if log and bad.log != log:
        return _of_another_log(bad, following, here, at, state)
    if bad.seq > at.seq:
        return here, _ahead(file, bad, log, at)
    if bad.seq < at.seq:
        return here, _behind(file, bad, following, at)
    return _in_place(bad, following, log, at, before, state)


def _intruder(file: BinaryIO, bad: _Glimpse, following: Line | None, log: str, at: Place) -> Attack:
    """The line after the bad one is the one that belongs here."""
    if bad.log is not None and bad.log != log:
        return Attack.FOREIGN
    if _seen(file, bad, at.length):
        return Attack.DUPLICATE
    if bad.seq is None or bad.seq <= at.seq or following is None:
        return Attack.INSERTION
    for line in lines(file, following.end):  # it claims a later number: is that one missing there?
        if line.untrusted == bad.line.untrusted:
            return Attack.DUPLICATE
        if _glimpse(line).seq == bad.seq:
            return Attack.INSERTION
    return Attack.REORDER


def _of_another_log(
    bad: _Glimpse, following: _Glimpse | None, here: Bad, at: Place, state: State | None
) -> tuple[Bad, Attack]:
    vouched = following.log if following else (state.log if state else None)
    if at.seq == 1 and vouched == bad.log:
        return Bad(0, 0), Attack.EDIT  # all the others agree: it is the first line's id that was changed
    if (bad.seq, bad.prev) == (at.seq, at.head):
        return here, Attack.EDIT
    return here, Attack.FOREIGN


def _ahead(file: BinaryIO, bad: _Glimpse, log: str, at: Place) -> Attack:
    if bad.prev == at.head:
        return Attack.EDIT
    for line in lines(file, bad.line.end):
        later = _glimpse(line)
        if later.seq == at.seq and later.log == (log or bad.log):
            return Attack.REORDER
    return Attack.DELETION


def _behind(file: BinaryIO, bad: _Glimpse, following: _Glimpse | None, at: Place) -> Attack:
    if _seen(file, bad, at.length):
        return Attack.DUPLICATE
    if bad.prev == at.head or (following is not None and following.seq == at.seq + 1):
        return Attack.EDIT
    return Attack.INSERTION


def _in_place(
    bad: _Glimpse, following: _Glimpse | None, log: str, at: Place, before: Place, state: State | None
) -> tuple[Bad, Attack]:
    here = Bad(at.seq, at.length)
    if bad.prev != at.head and at.key is None and at.seq > 0:
        # Without MACs either of two lines can be the changed one; whatever follows vouches for this one.
        vouched = following.prev if following else (state.head if state else None)
        return (Bad(before.seq, before.length) if vouched == bad.hash else here), Attack.EDIT
    if at.key is not None and _fits_later_key(bad.line, at.key, log, _later_keys(at, state)):
        return here, Attack.RESEALED
    if bad.prev == at.head and following is not None and following.prev == bad.hash:
        return here, Attack.REBUILT if at.key is not None else Attack.EDIT
    return here, Attack.EDIT


def _later_keys(at: Place, state: State | None) -> int:
    if state is None:
        return MAX_LATER_KEYS
    return min(MAX_LATER_KEYS, max(0, state.seq - at.seq) + _KEYS_AHEAD)


def _fits_later_key(line: Line, key: bytes, log: str, count: int) -> bool:
    try:
        found, unsigned = record.decode(line.untrusted)
    except NotCanonicalError:
        return False
    for _ in range(count):
        key = chain.next_key(key, log)
        if chain.mac_fits(found.mac, unsigned, key):
            return True
    return False


def _seen(file: BinaryIO, bad: _Glimpse, end: int) -> bool:
    for line in lines(file):
        if line.offset >= end:
            break
        if line.untrusted == bad.line.untrusted:
            return True
    return False


def _glimpse(line: Line) -> _Glimpse:
    try:
        value = msgspec.json.decode(line.untrusted) if line.whole else None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = None
    claims = value if isinstance(value, dict) else {}
    seq, log, prev = claims.get("seq"), claims.get("log"), claims.get("prev")
    return _Glimpse(
        line=line,
        seq=seq if type(seq) is int else None,
        log=log if isinstance(log, str) else None,
        prev=prev if isinstance(prev, str) else None,
        hash=chain.line_hash(line.untrusted),
    )
