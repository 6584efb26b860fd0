"""What verifying a log found, in one value: a state with its exit code, words, and the first bad place."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum
from typing import Any


class LogState(Enum):
    """The contract's states of what was given."""

    SOUND = "sound"
    INCOMPLETE = "incomplete"
    TAMPERED = "tampered"
    UNREADABLE = "unreadable"


_EXIT_CODES = {LogState.SOUND: 0, LogState.INCOMPLETE: 2, LogState.TAMPERED: 1, LogState.UNREADABLE: 4}
NO_WITNESS = "none"


class Attack(Enum):
    """What a bad place looks like."""

    EDIT = "edit of one record"
    DELETION = "deletion of records"
    INSERTION = "insertion of a record"
    REORDER = "records in another order"
    DUPLICATE = "a record put in twice"
    CUT = "cut tail"
    FOREIGN = "record of another log"
    RESEALED = "old entries sealed again with a newer key"
    REBUILT = "records rewritten and chained again without the key"
    STATE = "state file changed, put back or of another log"


@dataclass(frozen=True, slots=True)
class Bad:
    """The first place that is not as it was written: record number and byte offset in the segment."""

    seq: int
    offset: int


@dataclass(frozen=True, slots=True)
class Report:
    """The result. `first` and `last` are RFC 3339 times; `notes` are remarkable and no sign of tampering."""

    state: LogState
    words: str
    records: int = 0
    segments: int = 0
    first: str | None = None
    last: str | None = None
    head_seq: int | None = None
    head_root: str | None = None
    first_bad: Bad | None = None
    looks_like: Attack | None = None
    notes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """As the contract's table."""
        return _EXIT_CODES[self.state]

    def as_json(self) -> dict[str, Any]:
        """The contract's shape. Checkpoints and witnesses come with a later version of the format."""
        bad = self.first_bad
        return {
            "state": self.state.value,
            "records": self.records,
            "segments": self.segments,
            "first": self.first,
            "last": self.last,
            "head": None if self.head_seq is None else {"seq": self.head_seq, "root": self.head_root},
            "checkpoints": {"ok": 0, "total": 0},
            "witness": NO_WITNESS,
            "first_bad": None if bad is None else {"seq": bad.seq, "offset": bad.offset},
            "looks_like": None if self.looks_like is None else self.looks_like.value,
        }


def rfc3339(utc_ns: str) -> str:
    """Decimal nanoseconds since the epoch (at most 19 digits) as a UTC time."""
    seconds, nanoseconds = divmod(int(utc_ns), 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds:09d}Z"
