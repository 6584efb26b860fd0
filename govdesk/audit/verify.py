"""Verifies a log, or a copy of one, read-only and in bounded memory; a log being written is no false alarm.

The state is read before the log and after it. A log is never shorter than a state that was read
before it, and never more than one record longer than a state that was read after it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import BinaryIO

from govdesk.audit import canonical, chain, reading
from govdesk.audit.diagnosis import diagnose
from govdesk.audit.report import Attack, Bad, LogState, Report, rfc3339
from govdesk.audit.state import State
from govdesk.audit.walk import Fault, Walk
from govdesk.errors import AuditUnreadableError

_ATTEMPTS = 20
_PAUSE_SECONDS = 0.002


def verify(path: Path, officer_key: str | None = None) -> Report:
    """Check a log.

    Args:
        path: the log's folder (or a copy), or one segment's file.
        officer_key: an officer's private key in PEM; without it MACs are not checked.

    Returns:
        What was found; something that cannot be read is a result too.
    """
    try:
        return _Verification(reading.locate(path), officer_key).run()
    except AuditUnreadableError as error:
        return Report(LogState.UNREADABLE, f"unreadable: {error.what}")
    except OSError as error:
        return Report(LogState.UNREADABLE, f"unreadable: {reading.unreadable(path, error).what}")


class _Verification:
    def __init__(self, source: reading.Source, officer_key: str | None) -> None:
        self._source = source
        self._walk = Walk(officer_key)
        self._asked_for_macs = officer_key is not None
        self._before: State | None = None
        self._after: State | None = None
        self._unfinished_bytes = 0

    def run(self) -> Report:
        self._before = self._state()
        if self._source.state is not None and self._before is None:
            return self._tampered(Bad(0, 0), Attack.STATE)
        try:
            file = reading.open_read_only(self._source.segment)
        except FileNotFoundError as error:
            if self._before is None:
                raise reading.unreadable(self._source.segment, error) from error
            if self._before.seq > 0:
                return self._cut()
            return self._incomplete("no record was written yet")
        with file:
            return self._walk_through(file)

    def _walk_through(self, file: BinaryIO) -> Report:
        for _ in range(_ATTEMPTS):
            found = self._lines(file)
            if found is not None:
                return found
            self._after = self._state()
            place = self._walk.place
            if not self._unfinished_bytes or self._after is None or self._after.length <= place.length:
                return self._against_state() or self._result()
            if os.fstat(file.fileno()).st_size < self._after.length:
                return self._cut()
            # What was unfinished is acknowledged by now, so all of it is there: read it again.
        return self._tampered(Bad(self._walk.place.seq, self._walk.place.length), Attack.EDIT)

    def _lines(self, file: BinaryIO) -> Report | None:
        """All whole lines from where the walk stands; None at the end of the file."""
        self._unfinished_bytes = 0
        if (wrong := self._at_state()) is not None:
            return wrong
        for line in reading.lines(file, self._walk.place.length):
            if not line.whole and len(line.untrusted) <= canonical.MAX_LINE_BYTES:
                self._unfinished_bytes = len(line.untrusted)
                break
            fault = self._walk.take(line) if line.whole else Fault.FORM
            if fault is None and self._walk.format > chain.FORMAT:
                fault = self._newer()
            if fault is Fault.FORM and self._is_torn(file, line):
                self._unfinished_bytes = len(line.untrusted) + 1
                break
            if fault is not None:
                place, before = self._walk.place, self._walk.before
                bad, attack = diagnose(file, self._walk.log, place, before, self._before)
                return self._tampered(bad, attack)
            if (wrong := self._at_state()) is not None:
                return wrong
        return None

    def _is_torn(self, file: BinaryIO, line: reading.Line) -> bool:
        """The machine stopped when the line's length was on the disk and not all of its bytes.

        Such a line is the last, has zeros in it, and the state does not know of it: the next start
        keeps it aside.
        """
        if b"\0" not in line.untrusted or line.end < os.fstat(file.fileno()).st_size:
            return False
        at = self._state()
        return at is not None and at.length <= line.offset

    def _newer(self) -> Fault:
        """A newer format is not ours to judge; one that the state does not know is a changed line."""
        if self._before is None or self._before.format == self._walk.format:
            raise AuditUnreadableError(
                "The log was written by a newer GovDesk.", todo="Verify it with that one."
            )
        self._walk.place = self._walk.before
        return Fault.START

    def _at_state(self) -> Report | None:
        """Where the first state says the log stood, it must have stood so."""
        at, place = self._before, self._walk.place
        if at is None or at.seq != place.seq or place.is_state(at):
            return None
        if place.key is None and place.seq > 0 and at.log == self._walk.log:
            before = self._walk.before
            return self._tampered(Bad(before.seq, before.length), Attack.EDIT)
        return self._tampered(Bad(place.seq, place.length), Attack.STATE)

    def _against_state(self) -> Report | None:
        """The log's end against both states."""
        if self._before is None or self._source.state is None:
            return None
        place, last, after = self._walk.place, self._walk.before, self._after
        if self._before.seq > place.seq:
            return self._cut()
        if after is None or after.seq < self._before.seq:
            return self._tampered(Bad(place.seq, place.length), Attack.STATE)
        if after.log != self._walk.log and place.seq > 0:
            return self._tampered(Bad(0, 0), Attack.STATE)
        if after.seq >= place.seq:
            return None  # it grew while it was read; where it stood first was checked on the way
        if after.seq + 1 < place.seq:
            return self._tampered(Bad(after.seq, after.length), self._surplus())
        if not last.is_state(after):
            return self._tampered(Bad(place.seq, place.length), Attack.STATE)
        if not self._walk.last_fits(bytes.fromhex(after.key)):
            return self._tampered(Bad(last.seq, last.length), Attack.INSERTION)
        return None

    def _surplus(self) -> Attack:
        """Records that the state does not know: genuine ones mean that the state is an old one."""
        return Attack.STATE if self._walk.place.key is not None else Attack.INSERTION

    def _state(self) -> State | None:
        """The state; a writer may be in the middle of a slot, so a bad one is looked at again."""
        if self._source.state is None:
            return None
        for attempt in range(_ATTEMPTS):
            found = reading.read_state(self._source.state)
            if found is not None:
                return found
            if attempt + 1 < _ATTEMPTS:
                time.sleep(_PAUSE_SECONDS)
        return None

    def _result(self) -> Report:
        if self._walk.place.seq == 0:
            return self._incomplete("no record in it")
        missing: list[str] = []
        if self._walk.place.key is None:
            missing.append(self._why_no_macs())
        if self._source.state is None:
            missing.append("no state file, so a cut tail is not excluded")
        if self._source.strangers:
            missing.append(f"{len(self._source.strangers)} segments that this program does not know")
        if missing:
            return self._incomplete("; ".join(missing))
        if self._tail_open:
            return self._report(LogState.SOUND, f"sound to record {self._walk.place.seq - 1:,}; tail open")
        return self._report(LogState.SOUND, "sound; roll-back of the whole log not excluded")

    def _why_no_macs(self) -> str:
        if not self._walk.sealed_to:
            return "MACs not checked (the log is sealed to no officer)"
        if self._asked_for_macs:
            return "MACs not checked (the key given opens none of the log's seals)"
        return "MACs not checked"

    @property
    def _tail_open(self) -> bool:
        seqs = {self._walk.place.seq}
        seqs.update(at.seq for at in (self._before, self._after) if at is not None)
        return len(seqs) > 1 or self._unfinished_bytes > 0

    def _cut(self) -> Report:
        return self._tampered(Bad(self._walk.place.seq, self._walk.place.length), Attack.CUT)

    def _incomplete(self, why: str) -> Report:
        return self._report(LogState.INCOMPLETE, f"incomplete: {why}")

    def _tampered(self, bad: Bad, attack: Attack) -> Report:
        words = f"tampered: record {bad.seq:,}, byte {bad.offset:,}; looks like: {attack.value}"
        return self._report(LogState.TAMPERED, words, bad, attack)

    def _report(
        self, state: LogState, words: str, bad: Bad | None = None, attack: Attack | None = None
    ) -> Report:
        walk = self._walk
        notes = list(walk.remarks.finish())
        if self._unfinished_bytes:
            notes.append(f"{self._unfinished_bytes:,} bytes of an unfinished line at the end")
        if self._source.torn:
            notes.append(f"{self._source.torn} files of torn bytes were kept aside after crashes")
        return Report(
            state,
            words,
            records=walk.place.seq,
            segments=int(walk.place.seq > 0),
            first=rfc3339(walk.first.when.utc_ns) if walk.first else None,
            last=rfc3339(walk.last.when.utc_ns) if walk.last else None,
            head_seq=walk.place.seq - 1 if walk.place.seq else None,
            head_root=walk.place.head if walk.place.seq else None,
            first_bad=bad,
            looks_like=attack,
            notes=tuple(notes),
        )
