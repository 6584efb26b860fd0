"""Order, recovery and failing closed, on the real file operations."""

from __future__ import annotations

import os
import resource
import stat
from pathlib import Path

import pytest

from govdesk.audit import record, state
from govdesk.audit.failures import CODES, closed, code_of
from govdesk.audit.files import Files
from govdesk.audit.record import Who
from govdesk.audit.report import LogState
from govdesk.audit.store import LOCK_NAME, SEGMENT_NAME
from govdesk.audit.verify import verify
from govdesk.audit.writer import RESERVE_BYTES, RESERVE_NAME, Writer
from govdesk.domain.record import Entry, Event
from govdesk.errors import AuditClosedError
from tests.audit_logs import Clock, Faulty, Quick, build, entry, lines_of, officer, slot_of


def opened(folder: Path, **options: object) -> Writer:
    return Writer(folder, Clock(), (officer()[1],), files=Quick(), **options)  # type: ignore[arg-type]


def refused(folder: Path, **options: object) -> str:
    with pytest.raises(AuditClosedError) as error:
        opened(folder, **options)
    assert error.value.explain()
    return error.value.code


def events(folder: Path) -> list[str]:
    return [record.decode(line)[0].event for line in lines_of((folder / SEGMENT_NAME).read_bytes())]


def test_a_new_log(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "a", Clock(), (officer()[1],))  # the one test that waits for the disk
    assert (writer.next_seq, writer.recovered) == (1, False)
    written = writer.append(entry(0))
    assert (written.seq, writer.next_seq) == (1, 2)
    writer.close()
    folder = tmp_path / "a"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    names = {LOCK_NAME, RESERVE_NAME, SEGMENT_NAME, state.NAME}
    assert {path.name for path in folder.iterdir()} == names
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert (folder / RESERVE_NAME).stat().st_blocks * 512 >= RESERVE_BYTES
    first, _ = record.decode(lines_of((folder / SEGMENT_NAME).read_bytes())[0])
    assert (first.event, first.fields["format"], first.object) == ("log.start", 1, writer.log_id)
    assert first.seal is not None
    assert len(first.seal) == 1


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    build(tmp_path / "a", 3)
    writer = opened(tmp_path / "a")
    assert (writer.next_seq, writer.recovered) == (4, False)
    assert writer.append(entry(3)).seq == 4
    writer.close()
    assert verify(tmp_path / "a", officer()[0]).state is LogState.SOUND


def test_every_field_comes_from_the_writer_or_the_entry(tmp_path: Path) -> None:
    writer = opened(tmp_path / "a")
    written = writer.append(entry(0))
    line = lines_of((tmp_path / "a" / SEGMENT_NAME).read_bytes())[1]
    found, _ = record.decode(line)
    assert (found.who.name, found.where.host, found.log) == ("ana", "ws-7", writer.log_id)
    assert (found.object, found.policy, found.marking) == ("turn-0", "dev@0123456789abcdef", "UNCLASSIFIED")
    assert found.fields == {"characters": 0, "findings": {"US_SSN": 1}, "rule": None}
    from govdesk.audit.chain import line_hash

    assert line_hash(line) == written.line_sha384
    writer.close()


def test_order_record_sync_state_sync(tmp_path: Path) -> None:
    calls: list[str] = []

    class Spy(Quick):
        def write_at(self, descriptor: int, part: memoryview, offset: int) -> int:
            calls.append(
                "record" if bytes(part).startswith(b'{"event"') else "state" if part[0] else "forget"
            )
            return super().write_at(descriptor, part, offset)

        def sync(self, descriptor: int) -> None:
            calls.append("sync")

    writer = Writer(tmp_path / "a", Clock(), files=Spy())
    calls.clear()
    writer.append(entry(0))
    assert calls == ["record", "sync", "state", "sync", "forget"]
    writer.close()


def paths_of(calls: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [call for call in calls if call[1]]


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What the real operations ask of the disk: which call, on which file of the log."""
    calls: list[tuple[str, str]] = []
    real = {name: getattr(os, name) for name in ("pwrite", "fdatasync", "fsync")}

    def spy(name: str) -> object:
        def call(descriptor: int, *arguments: object) -> object:
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            calls.append((name, path.name if tmp_path in path.parents else ""))
            return real[name](descriptor, *arguments)

        return call

    for name in real:
        monkeypatch.setattr(os, name, spy(name))
    return calls


def test_a_new_log_is_durable_with_its_name(tmp_path: Path, disk: list[tuple[str, str]]) -> None:
    """State and its name before the segment; the first record before anybody is told."""
    Writer(tmp_path / "a", Clock(), files=Files()).close()
    assert paths_of(disk) == [
        ("pwrite", state.NAME),
        ("fdatasync", state.NAME),
        ("fsync", "a"),
        ("fsync", "a"),
        ("pwrite", state.NAME),  # the slot of the past
        ("pwrite", SEGMENT_NAME),
        ("fdatasync", SEGMENT_NAME),
        ("pwrite", state.NAME),
        ("fdatasync", state.NAME),
        ("pwrite", state.NAME),
    ]


def test_a_record_is_durable_before_it_is_acknowledged(tmp_path: Path, disk: list[tuple[str, str]]) -> None:
    """Over the operating system's own calls: a seam that forgot to sync would be seen here."""
    writer = Writer(tmp_path / "a", Clock(), files=Files())
    disk.clear()
    writer.append(entry(0))
    assert paths_of(disk) == [
        ("pwrite", SEGMENT_NAME),
        ("fdatasync", SEGMENT_NAME),
        ("pwrite", state.NAME),
        ("fdatasync", state.NAME),
        ("pwrite", state.NAME),
    ]
    writer.close()


def test_torn_bytes_are_durable_with_their_name_before_they_are_cut(
    tmp_path: Path, disk: list[tuple[str, str]]
) -> None:
    build(tmp_path / "a", 1)
    with (tmp_path / "a" / SEGMENT_NAME).open("ab") as file:
        file.write(b'{"event":"turn.out')
    disk.clear()
    Writer(tmp_path / "a", Clock(), files=Files()).close()
    kept = [call for call in paths_of(disk) if call[1].startswith("torn-") or call[0] == "fsync"]
    assert [call for call, _ in kept] == ["pwrite", "fdatasync", "fsync"]
    assert disk.index(kept[-1]) < disk.index(("fdatasync", SEGMENT_NAME))


def test_two_writers(tmp_path: Path) -> None:
    writer = opened(tmp_path / "a")
    assert refused(tmp_path / "a") == "audit.held"
    writer.append(entry(0))
    writer.close()
    opened(tmp_path / "a").close()


def test_closed_is_closed(tmp_path: Path) -> None:
    writer = opened(tmp_path / "a")
    writer.close()
    writer.close()
    with pytest.raises(AuditClosedError):
        writer.append(entry(0))


def test_a_bad_entry_leaves_the_log_open(tmp_path: Path) -> None:
    writer = opened(tmp_path / "a")
    counts = {f"k{n}" + "x" * 55: n for n in range(128)}
    too_long = Entry(Event.VIEW, "success", fields={f"f{n}": dict(counts) for n in range(32)})
    for bad in (Entry(Event.VIEW, "Not a word"), too_long):
        with pytest.raises(record.EntryError):
            writer.append(bad)
    assert writer.append(entry(0)).seq == 1
    writer.close()


def test_what_could_not_be_read_back_is_not_written(tmp_path: Path) -> None:
    """A stamp that makes no record of the format: refused before a byte is written."""
    clock = Clock()
    writer = Writer(tmp_path / "a", clock, files=Quick())
    size = (tmp_path / "a" / SEGMENT_NAME).stat().st_size
    for bad in (Who(1, "e\u0301", "owner", "process"), Who(1, "x" * 201, "", ""), Who(-1, "", "", "")):
        clock.who = bad
        with pytest.raises(record.EntryError):
            writer.append(entry(0))
    assert (tmp_path / "a" / SEGMENT_NAME).stat().st_size == size
    writer.close()
    with pytest.raises(record.EntryError):
        Writer(tmp_path / "b", clock, files=Quick())
    opened(tmp_path / "b").close()  # the lock was let go


def test_a_record_nobody_was_told_of_is_adopted(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    writer = opened(folder)
    writer.append(entry(0))
    before = (folder / state.NAME).read_bytes()
    writer.append(entry(1))
    writer.close()
    (folder / state.NAME).write_bytes(before)
    writer = opened(folder)
    assert (writer.recovered, writer.next_seq) == (True, 4)
    writer.close()
    assert events(folder)[-2:] == ["turn.outcome", "log.recovered"]
    assert verify(folder, officer()[0]).state is LogState.SOUND


def test_an_adopted_record_is_written_again_first(tmp_path: Path) -> None:
    """After a sync that failed its bytes may be in memory only, and a sync alone would not write them."""
    folder = tmp_path / "a"
    writer = opened(folder)
    before = (folder / state.NAME).read_bytes()
    writer.append(entry(0))
    writer.close()
    (folder / state.NAME).write_bytes(before)
    line = lines_of((folder / SEGMENT_NAME).read_bytes())[-1]
    calls: list[object] = []

    class Spy(Quick):
        def write_at(self, descriptor: int, part: memoryview, offset: int) -> int:
            calls.append(bytes(part))
            return super().write_at(descriptor, part, offset)

        def sync(self, descriptor: int) -> None:
            calls.append("sync")

    Writer(folder, Clock(), files=Spy()).close()
    at = calls.index(line + b"\n")
    assert calls[at + 1] == "sync"
    assert b'"seq":2' in calls[at + 2]  # type: ignore[operator]


@pytest.mark.parametrize(
    "tail", [b"{", b'{"event":"turn.intent"', b"x" * 3000, b"\0" * 700, b'{"ev' + b"\0" * 90 + b"}\n"]
)
def test_torn_bytes_are_kept_aside(tmp_path: Path, tail: bytes) -> None:
    folder = tmp_path / "a"
    segment = build(folder, 3)
    (folder / SEGMENT_NAME).write_bytes(segment + tail)
    assert verify(folder, officer()[0]).words == "sound to record 3; tail open"
    writer = opened(folder)
    assert writer.recovered
    writer.close()
    assert [path.read_bytes() for path in folder.glob("torn-*")] == [tail]
    last, _ = record.decode(lines_of((folder / SEGMENT_NAME).read_bytes())[-1])
    assert (last.event, last.fields) == ("log.recovered", {"adopted": 0, "torn_bytes": len(tail)})
    report = verify(folder, officer()[0])
    assert report.state is LogState.SOUND
    assert any("torn" in note for note in report.notes)


def test_what_no_crash_leaves_keeps_the_log_closed(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    segment = build(folder, 3)
    good = (folder / state.NAME).read_bytes()
    lines = lines_of(segment)

    def when(name: str, changed: bytes | None) -> str:
        path = folder / name
        saved = path.read_bytes()
        path.unlink() if changed is None else path.write_bytes(changed)
        code = refused(folder)
        path.write_bytes(saved)
        return code

    assert when(SEGMENT_NAME, segment[:-1]) == "audit.cut"
    assert when(SEGMENT_NAME, b"") == "audit.cut"
    assert when(SEGMENT_NAME, None) == "audit.cut"
    assert when(SEGMENT_NAME, segment + lines[3] + b"\n") == "audit.tampered"
    assert when(SEGMENT_NAME, segment + b"not the next record\n") == "audit.tampered"
    assert when(SEGMENT_NAME, segment + b"a\0\nb") == "audit.tampered"
    assert when(SEGMENT_NAME, segment + b"x" * 70_000) == "audit.tampered"
    assert when(SEGMENT_NAME, segment[:-100] + b"y" + segment[-99:]) == "audit.tampered"
    assert when(state.NAME, None) == "audit.state"
    (folder / state.NAME).write_bytes(good)
    assert when(state.NAME, good[:100]) == "audit.state"
    opened(folder).close()


def test_a_newer_format_is_left_alone(tmp_path: Path) -> None:
    import msgspec

    folder = tmp_path / "a"
    build(folder, 1)
    at = state.newest((folder / state.NAME).read_bytes())
    assert at is not None
    newer = msgspec.structs.replace(at, format=2)
    slots = [bytes(state.SLOT_BYTES)] * 2
    slots[newer.slot] = slot_of(newer)
    (folder / state.NAME).write_bytes(b"".join(slots))
    before = (folder / SEGMENT_NAME).read_bytes()
    assert refused(folder) == "audit.newer"
    assert (folder / SEGMENT_NAME).read_bytes() == before


def test_another_hand_on_the_open_log_closes_it(tmp_path: Path) -> None:
    def grow(folder: Path) -> None:
        with (folder / SEGMENT_NAME).open("ab") as file:
            file.write(b"x")

    def cut(folder: Path) -> None:
        os.truncate(folder / SEGMENT_NAME, 10)

    def replace(folder: Path) -> None:
        segment = (folder / SEGMENT_NAME).read_bytes()
        (folder / "new").write_bytes(segment)
        (folder / "new").replace(folder / SEGMENT_NAME)

    def delete(folder: Path) -> None:
        (folder / SEGMENT_NAME).unlink()

    def unlock(folder: Path) -> None:
        (folder / LOCK_NAME).unlink()

    for hand in (grow, cut, replace, delete, unlock):
        folder = tmp_path / hand.__name__
        writer = opened(folder)
        hand(folder)
        with pytest.raises(AuditClosedError) as error:
            writer.append(entry(0))
        assert error.value.code == "audit.changed", hand


def test_a_full_disk_closes_with_a_last_record(tmp_path: Path) -> None:
    """The reserve gives its space for the record that says why."""
    import random

    folder = tmp_path / "a"
    files = Faulty(0, "ENOSPC", lasting=True, dice=random.Random(2))
    writer = Writer(folder, Clock(), (officer()[1],), files=files)
    writer.append(entry(0))
    size = (folder / SEGMENT_NAME).stat().st_size
    files.at = files.done + 6  # after the five looks at what is open: the write of the record
    with pytest.raises(AuditClosedError) as error:
        writer.append(entry(1))
    assert (files.hit, error.value.code) == ("write_at", "audit.disk-full")
    assert "disk is full" in error.value.explain()
    assert not (folder / RESERVE_NAME).exists()
    assert (folder / SEGMENT_NAME).stat().st_size > size
    last, _ = record.decode(lines_of((folder / SEGMENT_NAME).read_bytes())[-1])
    assert (last.event, last.fields) == ("audit.failure", {"code": "audit.disk-full"})
    report = verify(folder, officer()[0])
    assert report.state is LogState.SOUND
    assert "record 2: audit.failure" in report.notes
    opened(folder).close()
    assert (folder / RESERVE_NAME).exists()


def test_the_size_it_may_have(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    writer = opened(folder, max_bytes=RESERVE_BYTES + 20_000)
    acknowledged = 0
    with pytest.raises(AuditClosedError) as error:
        while True:
            writer.append(entry(acknowledged))
            acknowledged += 1
    assert error.value.code == "audit.quota"
    assert acknowledged > 10
    assert events(folder)[-1] == "audit.failure"
    assert (folder / SEGMENT_NAME).stat().st_size < RESERVE_BYTES + 20_000
    assert verify(folder, officer()[0]).records == acknowledged + 2
    with pytest.raises(AuditClosedError):  # full stays full
        opened(folder, max_bytes=RESERVE_BYTES + 20_000).append(entry(0))


def test_a_real_limit_on_file_size(tmp_path: Path) -> None:
    """Python ignores SIGXFSZ, so the kernel's own refusal arrives as EFBIG."""
    folder = tmp_path / "a"
    writer = opened(folder)
    writer.append(entry(0))
    size = (folder / SEGMENT_NAME).stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, limits[1]))
    try:
        with pytest.raises(AuditClosedError) as error:
            writer.append(entry(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.code == "audit.file-size"
    writer = opened(folder)  # the hundred bytes that went in are torn bytes now
    assert writer.recovered
    writer.close()
    assert verify(folder, officer()[0]).state is LogState.SOUND


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    assert refused(tmp_path / "no" / "parent") == "audit.folder"
    (tmp_path / "file").write_text("")
    assert refused(tmp_path / "file") == "audit.folder"
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert refused(tmp_path / "link") == "audit.folder"
    for name in (LOCK_NAME, state.NAME, SEGMENT_NAME):
        folder = tmp_path / f"with-{name}"
        folder.mkdir()
        (folder / name).symlink_to(tmp_path / "file")
        assert refused(folder) == "audit.io", name
    (tmp_path / "open").mkdir(mode=0o755)
    opened(tmp_path / "open").close()
    assert stat.S_IMODE((tmp_path / "open").stat().st_mode) == 0o700


def test_an_officers_key_that_is_none_is_refused_and_leaves_no_log(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with pytest.raises(AuditClosedError) as error:
        Writer(folder, Clock(), ("no key",), files=Quick())
    assert error.value.code == "audit.officer-key"
    writer = opened(folder)  # a corrected policy makes a sound log
    assert not writer.recovered
    writer.close()
    assert verify(folder, officer()[0]).state is LogState.SOUND
    with pytest.raises(AuditClosedError):
        Writer(tmp_path / "b", Clock(), (officer()[1],) * 17, files=Quick())


def test_every_code_has_words() -> None:
    import errno

    for code in (*CODES, "something.else"):
        error = closed(code)
        assert error.code == code
        assert error.exit_code == 5
        assert "kept" in error.explain()
    for number in errno.errorcode:
        assert code_of(OSError(number, "")) in CODES
