"""The end of the log says which turns are open and how the others ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from govdesk.audit import tail
from govdesk.audit.store import SEGMENT_NAME
from govdesk.audit.tail import recent_turns
from govdesk.audit.writer import Writer
from govdesk.domain.record import Entry, Event
from govdesk.errors import AuditUnreadableError
from tests.audit_logs import Clock, Quick, build, entry, lines_of


def test_open_and_ended_turns(tmp_path: Path) -> None:
    build(tmp_path / "a", 5)  # two turns ended, the third is open
    turns = recent_turns(tmp_path / "a")
    assert turns.open == ("turn-2",)
    assert turns.ended == {"turn-0": ("completed", 2), "turn-1": ("completed", 4)}


def test_no_log_has_no_turns(tmp_path: Path) -> None:
    assert recent_turns(tmp_path / "none").open == ()
    build(tmp_path / "a", 0)
    assert recent_turns(tmp_path / "a") == tail.RecentTurns()


def test_only_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = lines_of(build(tmp_path / "a", 20))
    monkeypatch.setattr(tail, "TAIL_BYTES", len(lines[-1]) + len(lines[-2]) + 2 + 10)
    assert list(recent_turns(tmp_path / "a").ended) == ["turn-9"]


@pytest.mark.parametrize("cut", ["line feed", "half"])
def test_a_turn_whose_outcome_is_torn_is_open(tmp_path: Path, cut: str) -> None:
    """The writer keeps such a line aside: believed here, the turn would lose its one outcome."""
    folder = tmp_path / "a"
    build(folder, 1)
    state = (folder / "state").read_bytes()
    writer = Writer(folder, Clock(), files=Quick())
    writer.append(entry(1))
    writer.close()
    segment = folder / SEGMENT_NAME
    segment.write_bytes(segment.read_bytes()[: -1 if cut == "line feed" else -200])
    (folder / "state").write_bytes(state)
    assert recent_turns(folder).open == ("turn-0",)

    writer = Writer(folder, Clock(), files=Quick())
    assert writer.recovered
    turns = recent_turns(folder)
    assert turns.open == ("turn-0",)
    writer.append(Entry(Event.TURN_OUTCOME, "interrupted", object="turn-0"))
    writer.close()
    assert recent_turns(folder).open == ()


def test_an_outcome_that_the_writer_adopts_counts(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    build(folder, 1)
    state = (folder / "state").read_bytes()
    writer = Writer(folder, Clock(), files=Quick())
    writer.append(entry(1))
    writer.close()
    (folder / "state").write_bytes(state)  # a crash before anybody was told
    Writer(folder, Clock(), files=Quick()).close()
    assert recent_turns(folder).ended == {"turn-0": ("completed", 2)}


def test_lines_that_are_no_records_are_passed_over(tmp_path: Path) -> None:
    build(tmp_path / "a", 3)
    segment = tmp_path / "a" / SEGMENT_NAME
    segment.write_bytes(b"no record\n" + segment.read_bytes())
    assert recent_turns(tmp_path / "a").open == ("turn-1",)


def test_a_log_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    build(folder, 3)
    (folder / SEGMENT_NAME).unlink()
    (folder / SEGMENT_NAME).mkdir()
    with pytest.raises(AuditUnreadableError):
        recent_turns(folder)


def test_a_disk_that_fails_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path / "a", 3)

    def failing(*_: object) -> object:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(tail.reading, "lines", failing)
    with pytest.raises(AuditUnreadableError) as caught:
        recent_turns(tmp_path / "a")
    assert "Input/output" in caught.value.explain()
