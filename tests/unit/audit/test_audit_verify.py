"""States, words, notes and the JSON of a verification; what it refuses to read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from govdesk.audit import remarks
from govdesk.audit.report import Attack, Bad, LogState, Report, rfc3339
from govdesk.audit.store import SEGMENT_NAME
from govdesk.audit.verify import verify
from govdesk.audit.writer import Writer
from govdesk.domain.record import Entry, Event
from tests.audit_logs import Clock, Quick, build, entry, officer


def turn(event: Event, name: str) -> Entry:
    return Entry(event, "permit", object=name)


def notes(folder: Path) -> tuple[str, ...]:
    report = verify(folder, officer()[0])
    assert report.state is LogState.SOUND
    return report.notes


def test_json_has_the_contract_shape(tmp_path: Path) -> None:
    build(tmp_path / "a", 2)
    report = verify(tmp_path / "a", officer()[0])
    shape = report.as_json()
    assert list(shape) == [
        "state", "records", "segments", "first", "last", "head", "checkpoints", "witness", "first_bad",
        "looks_like",
    ]  # fmt: skip
    assert (shape["state"], shape["records"], shape["segments"]) == ("sound", 3, 1)
    assert shape["head"] == {"seq": 2, "root": report.head_root}
    assert (shape["first"], shape["last"]) == (
        "2025-11-24T16:00:01.000000000Z",
        "2025-11-24T16:00:03.000000000Z",
    )
    assert (shape["checkpoints"], shape["witness"]) == ({"ok": 0, "total": 0}, "none")
    assert (shape["first_bad"], shape["looks_like"]) == (None, None)
    bad = Report(LogState.TAMPERED, "", first_bad=Bad(3, 99), looks_like=Attack.EDIT).as_json()
    assert (bad["first_bad"], bad["looks_like"]) == ({"seq": 3, "offset": 99}, "edit of one record")


def test_exit_codes() -> None:
    codes = {found: Report(found, "").exit_code for found in LogState}
    assert codes == {
        LogState.SOUND: 0,
        LogState.TAMPERED: 1,
        LogState.INCOMPLETE: 2,
        LogState.UNREADABLE: 4,
    }


def test_times() -> None:
    assert rfc3339("0") == "1970-01-01T00:00:00.000000000Z"
    assert rfc3339("1764000000000000001") == "2025-11-24T16:00:00.000000001Z"
    assert rfc3339("9" * 19).startswith("2286-")


def test_what_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").mkdir()
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / SEGMENT_NAME).mkdir()
    for name in ("missing", "pipe", "empty", "both"):
        report = verify(tmp_path / name)
        assert (report.state, report.exit_code) == (LogState.UNREADABLE, 4), name
    assert verify(Path("/dev/zero")).state is LogState.UNREADABLE


@pytest.mark.parametrize("junk", [b"", b"\n", b"\n\n\n", b"{}\n", b"\x00" * 5000, b"a" * 200_000 + b"\n"])
def test_files_that_are_no_log(tmp_path: Path, junk: bytes) -> None:
    path = tmp_path / SEGMENT_NAME
    path.write_bytes(junk)
    assert verify(path, officer()[0]).state in {LogState.INCOMPLETE, LogState.TAMPERED}


def test_a_segment_alone_is_never_sound(tmp_path: Path) -> None:
    build(tmp_path / "a", 2)
    report = verify(tmp_path / "a" / SEGMENT_NAME, officer()[0])
    assert (report.exit_code, report.records) == (2, 3)
    assert "cut tail is not excluded" in report.words


def test_a_segment_that_does_not_belong_is_said(tmp_path: Path) -> None:
    build(tmp_path / "a", 2)
    (tmp_path / "a" / "segment-000001.jsonl").write_bytes(b"")
    report = verify(tmp_path / "a", officer()[0])
    assert report.exit_code == 2
    assert "1 segments that this program does not know" in report.words


def test_a_newer_format_is_not_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr("govdesk.audit.chain.FORMAT", 2)
        build(tmp_path / "a", 2)
    report = verify(tmp_path / "a", officer()[0])
    assert report.state is LogState.UNREADABLE
    assert "newer" in report.words


def test_turns_without_an_outcome_are_gaps_and_no_tampering(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "a", Clock(), (officer()[1],), files=Quick())
    for event, name in (
        (Event.TURN_INTENT, "a"), (Event.TURN_INTENT, "b"), (Event.TURN_OUTCOME, "b"),
        (Event.TURN_OUTCOME, "b"), (Event.TURN_INTENT, "c"),
    ):  # fmt: skip
        writer.append(turn(event, name))
    writer.close()
    assert notes(tmp_path / "a") == (
        "record 4: a turn's outcome without an open intent (gap)",
        "record 1: a turn's intent without an outcome (gap)",
    )


def test_a_moved_clock_is_a_note(tmp_path: Path) -> None:
    clock = Clock(monotonic_ns=10**12)
    writer = Writer(tmp_path / "a", clock, (officer()[1],), files=Quick())
    writer.append(entry(0))
    clock.utc_ns += 3600 * 10**9
    writer.append(entry(1))
    clock.monotonic_ns -= 30 * 10**9
    writer.append(entry(2))
    clock.boot_id, clock.monotonic_ns = "2" * 36, 0
    writer.append(entry(3))
    clock.boot_id, clock.utc_ns = "3" * 36, clock.utc_ns - 7200 * 10**9
    writer.append(entry(4))
    clock.utc_ns += 4 * 10**9  # a time server's slew
    writer.append(entry(5))
    writer.close()
    assert notes(tmp_path / "a") == (
        "record 2: the clock was moved by +3600 s",
        "record 3: the clock since boot went back",
        "record 5: the clock is 7199 s behind the boot before",
    )


def test_notes_and_open_turns_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remarks, "MAX_OPEN_TURNS", 60)
    writer = Writer(tmp_path / "a", Clock(), (officer()[1],), files=Quick())
    for number in range(80):
        writer.append(turn(Event.TURN_INTENT, f"t{number}"))
    writer.close()
    found = notes(tmp_path / "a")
    assert len(found) == remarks.MAX_NOTES + 1
    assert found[-1] == "and 11 more notes"
