"""What the end of the log says of turns, so that a start after a crash gives each exactly one outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from govdesk.audit import reading, record
from govdesk.audit.canonical import NotCanonicalError
from govdesk.domain.ids import RecordSeq, TurnId
from govdesk.domain.record import Event
from govdesk.errors import AuditUnreadableError

TAIL_BYTES = 4 * 1024 * 1024
"""One session's records after an open turn are few: a turn that is still open is near the end."""


@dataclass(frozen=True, slots=True)
class RecentTurns:
    """Turns near the end of the log: those without an outcome, and the outcome of the others."""

    open: tuple[TurnId, ...] = ()
    ended: dict[TurnId, tuple[str, RecordSeq]] = field(default_factory=dict)


def recent_turns(folder: Path) -> RecentTurns:
    """Read the end of the log, before a writer opens it. A log that is not there has no turns.

    Lines that are no records are passed over: judging them is the writer's and the verifier's part.
    """
    opened: dict[TurnId, None] = {}
    ended: dict[TurnId, tuple[str, RecordSeq]] = {}
    try:
        source = reading.locate(folder)
        with reading.open_read_only(source.segment) as file:
            size = file.seek(0, 2)
            for line in reading.lines(file, max(0, size - TAIL_BYTES)):
                try:
                    found, _ = record.decode(line.untrusted)
                except NotCanonicalError:
                    continue
                turn = TurnId(found.object)
                if found.event == Event.TURN_INTENT.value:
                    opened[turn] = None
                elif found.event == Event.TURN_OUTCOME.value:
                    opened.pop(turn, None)
                    ended[turn] = (found.outcome, RecordSeq(found.seq))
    except (AuditUnreadableError, FileNotFoundError):
        return RecentTurns()
    return RecentTurns(tuple(opened), ended)
