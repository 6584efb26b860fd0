"""Checks lines one after the other, remembering only the place reached: form, order, chain, MAC."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from govdesk import crypto
from govdesk.audit import chain, record
from govdesk.audit.canonical import NotCanonicalError
from govdesk.audit.reading import Line
from govdesk.audit.record import Record
from govdesk.audit.remarks import Remarks
from govdesk.audit.state import State
from govdesk.domain.record import Event


class Fault(Enum):
    """Which check a line failed."""

    FORM = "form"
    START = "start"
    LOG = "log"
    ORDER = "order"
    MAC = "mac"


@dataclass(frozen=True, slots=True)
class Place:
    """Between two lines: `seq` records in `length` bytes, the last line's hash, and K(seq) when known."""

    seq: int
    length: int
    head: str
    key: bytes | None

    def is_state(self, at: State) -> bool:
        """Whether a writer that stood here would have had this state."""
        return (
            (at.seq, at.length, at.head) == (self.seq, self.length, self.head)
            and (self.key is None or at.key == self.key.hex())
        )  # fmt: skip


class Walk:
    """The check of one log, line by line.

    Args:
        officer_key: an officer's private key in PEM; None checks no MAC.
    """

    def __init__(self, officer_key: str | None) -> None:
        self._officer_key = officer_key
        self.place = Place(0, 0, chain.NO_PREVIOUS, None)
        self.before = self.place
        """The place before the last line."""
        self.log = ""
        self.format = chain.FORMAT
        self.sealed_to = 0
        self.first: Record | None = None
        self.last: Record | None = None
        self._last_unsigned = b""
        self.remarks = Remarks()

    def take(self, line: Line) -> Fault | None:
        """Check the next line; go past it only when it is right."""
        try:
            found, unsigned = record.decode(line.untrusted)
        except NotCanonicalError:
            return Fault.FORM
        if self.place.seq == 0 and (fault := self._start(found)):
            return fault
        if found.log != self.log:
            return Fault.LOG
        if found.seq != self.place.seq or found.prev != self.place.head:
            return Fault.ORDER
        key = self.place.key
        if key is not None and not chain.mac_fits(found.mac, unsigned, key):
            return Fault.MAC
        following = None if key is None else chain.next_key(key, self.log)
        self.before = self.place
        self.place = Place(self.place.seq + 1, line.end, chain.line_hash(line.untrusted), following)
        self.first = self.first or found
        self.last, self._last_unsigned = found, unsigned
        self.remarks.take(found)
        return None

    def last_fits(self, key: bytes) -> bool:
        """Whether the last record's MAC was made with this key."""
        return self.last is not None and chain.mac_fits(self.last.mac, self._last_unsigned, key)

    def _start(self, found: Record) -> Fault | None:
        declared = found.fields.get("format")
        if (
            found.event != Event.LOG_START.value
            or found.seq != 0
            or found.seal is None
            or type(declared) is not int
            or declared < 1
        ):
            return Fault.START
        self.log, self.format, self.sealed_to = found.log, declared, len(found.seal)
        if self._officer_key is not None:
            for sealed in found.seal.values():
                try:
                    first_key = chain.open_first_key(self._officer_key, sealed, found.log)
                except crypto.CryptoError:
                    continue
                self.place = Place(0, 0, chain.NO_PREVIOUS, first_key)
                break
        return None
