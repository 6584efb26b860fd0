"""What the end of the log says of turns, so that a start after a crash gives each exactly one outcome."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from govdesk.audit import reading, record
from govdesk.audit.canonical import NotCanonicalError
from govdesk.domain.ids import RecordSeq, TurnId
from govdesk.domain.record import Event

TAIL_BYTES = 4 * 1024 * 1024
"""One session's records after an open turn are few: a turn that is still open is near the end."""


@dataclass(frozen=True, slots=True)
class RecentTurns:
    """Turns near the end of the log: those without an outcome, and the outcome of the others."""

    open: tuple[TurnId, ...] = ()
    ended: dict[TurnId, tuple[str, RecordSeq]] = field(default_factory=dict)


def recent_turns(folder: Path) -> RecentTurns:
    """Read the end of the log, once the writer has opened it. A log that is not there has no turns.

    Only whole lines count: what a crash left unfinished the writer keeps aside, and what it adopts it
    has adopted by then. Lines that are no records are passed over: judging them is the verifier's part.

    Raises:
        AuditUnreadableError: the log is there and cannot be read, so nobody knows which turns are open.
    """
    opened: dict[TurnId, None] = {}
    ended: dict[TurnId, tuple[str, RecordSeq]] = {}
    if not folder.exists():
        return RecentTurns()
    try:
        source = reading.locate(folder)
        with reading.open_read_only(source.segment) as file:
            size = file.seek(0, 2)
            for line in reading.lines(file, max(0, size - TAIL_BYTES)):
                if not line.whole:
                    continue
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
    except FileNotFoundError:
        return RecentTurns()
    except OSError as error:
        raise reading.unreadable(folder, error) from error
    return RecentTurns(tuple(opened), ended)
