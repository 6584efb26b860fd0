"""What a sound log still shows: moved clocks, turns that never ended, crashes. Bounded memory."""

from __future__ import annotations

from govdesk.audit.record import Record
from govdesk.domain.record import Event

MAX_NOTES = 50
MAX_OPEN_TURNS = 10_000
CLOCK_SLACK_NS = 5_000_000_000
"""Time servers slew; a person who moves the clock moves it by more."""


class Remarks:
    """Fed with every record in order."""

    def __init__(self) -> None:
        self._notes: list[str] = []
        self._left_out = 0
        self._last: Record | None = None
        self._open: dict[str, int] = {}
        self._untracked = False
        self._last_turn_event: int | None = None

    def take(self, record: Record) -> None:
        """Look at the next record."""
        if self._last is not None:
            self._clock(self._last, record)
        self._last = record
        if record.event == Event.TURN_INTENT.value:
            self._intent(record)
        elif record.event == Event.TURN_OUTCOME.value:
            self._outcome(record)
        elif record.event in {Event.LOG_RECOVERED.value, Event.AUDIT_FAILURE.value}:
            self._note(f"record {record.seq:,}: {record.event}")

    def finish(self) -> tuple[str, ...]:
        """All notes; the turn that is under way at the end is none."""
        for seq in self._open.values():
            if seq != self._last_turn_event:
                self._note(f"record {seq:,}: a turn's intent without an outcome (gap)")
        if self._untracked:
            self._note("more turns were open at once than are followed: outcomes were not all matched")
        more = (f"and {self._left_out:,} more notes",) if self._left_out else ()
        return (*self._notes, *more)

    def _note(self, text: str) -> None:
        if len(self._notes) < MAX_NOTES:
            self._notes.append(text)
        else:
            self._left_out += 1

    def _clock(self, before: Record, now: Record) -> None:
        wall = int(now.when.utc_ns) - int(before.when.utc_ns)
        if before.when.boot_id != now.when.boot_id:
            if wall < 0:
                self._note(f"record {now.seq:,}: the clock is {-wall / 1e9:.0f} s behind the boot before")
            return
        monotonic = int(now.when.monotonic_ns) - int(before.when.monotonic_ns)
        if monotonic < 0:
            self._note(f"record {now.seq:,}: the clock since boot went back")
        elif abs(wall - monotonic) > CLOCK_SLACK_NS:
            self._note(f"record {now.seq:,}: the clock was moved by {(wall - monotonic) / 1e9:+.0f} s")

    def _intent(self, record: Record) -> None:
        self._last_turn_event = record.seq
        if record.object in self._open:
            self._note(f"record {record.seq:,}: a second intent of the same turn (gap)")
        if len(self._open) >= MAX_OPEN_TURNS:
            self._untracked = True
            return
        self._open[record.object] = record.seq

    def _outcome(self, record: Record) -> None:
        self._last_turn_event = record.seq
        if self._open.pop(record.object, None) is None and not self._untracked:
            self._note(f"record {record.seq:,}: a turn's outcome without an open intent (gap)")
