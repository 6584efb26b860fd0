"""Whoever changes a log that officers hold the key of is seen, and what was done is named.

Long run: GOVDESK_FUZZ_EXAMPLES=20000 (structural edits).
"""

from __future__ import annotations

import collections
import os
import random
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from govdesk.audit import chain, state
from govdesk.audit.canonical import decode, encode
from govdesk.audit.report import Attack, LogState, Report
from govdesk.audit.state import State
from govdesk.audit.store import SEGMENT_NAME
from govdesk.audit.verify import verify
from govdesk.audit.writer import Writer
from govdesk.errors import AuditClosedError
from tests.audit_logs import Clock, Quick, build, entry, lines_of, officer, slot_of

EXAMPLES = int(os.environ.get("GOVDESK_FUZZ_EXAMPLES", "1000"))
RECORDS = 24


def check(folder: Path, *, key: bool = True) -> Report:
    return verify(folder, officer()[0] if key else None)


def write(folder: Path, lines: list[bytes]) -> None:
    (folder / SEGMENT_NAME).write_bytes(b"".join(line + b"\n" for line in lines))


def read_state(folder: Path) -> State:
    found = state.newest((folder / state.NAME).read_bytes())
    assert found is not None
    return found


def write_state(folder: Path, at: State) -> None:
    slots = [bytes(state.SLOT_BYTES)] * 2
    slots[at.slot] = slot_of(at)
    (folder / state.NAME).write_bytes(b"".join(slots))


def test_a_sound_log_is_sound(tmp_path: Path) -> None:
    build(tmp_path / "a", RECORDS)
    report = check(tmp_path / "a")
    assert (report.state, report.exit_code, report.records) == (LogState.SOUND, 0, RECORDS + 1)
    assert report.words == "sound; roll-back of the whole log not excluded"
    without = check(tmp_path / "a", key=False)
    assert (without.state, without.exit_code) == (LogState.INCOMPLETE, 2)
    assert "MACs not checked" in without.words


def test_every_byte_three_bits(tmp_path: Path) -> None:
    """With the officer's key the record is named; without it, chain and state still see every flip."""
    folder = tmp_path / "a"
    segment = build(folder, 1)
    dice = random.Random(3)
    ends = [at for at, byte in enumerate(segment) if byte == 10]
    flips = 0
    for at in range(len(segment)):
        owner = sum(end < at for end in ends)
        for bit in dice.sample(range(8), 3):
            damaged = bytearray(segment)
            damaged[at] ^= 1 << bit
            (folder / SEGMENT_NAME).write_bytes(damaged)
            report = check(folder)
            flips += 1
            assert report.state is LogState.TAMPERED, (at, bit)
            assert report.looks_like is Attack.EDIT, (at, bit, report)
            assert report.first_bad is not None
            assert report.first_bad.seq == owner, (at, bit, report)
        if at % 3 == 0:
            assert check(folder, key=False).state is LogState.TAMPERED, at
    print(f"{flips} bit flips in {len(segment)} bytes, all seen, all named, the right record each time")


def test_cut_at_every_offset(tmp_path: Path) -> None:
    """The state beside the log knows its length; a segment alone is never called sound."""
    folder = tmp_path / "a"
    segment = build(folder, 2)
    alone = tmp_path / SEGMENT_NAME
    for at in range(len(segment)):
        (folder / SEGMENT_NAME).write_bytes(segment[:at])
        report = check(folder)
        assert (report.state, report.looks_like) == (LogState.TAMPERED, Attack.CUT), at
        if at % 7 == 0:
            alone.write_bytes(segment[:at])
            assert check(alone).state is LogState.INCOMPLETE, at
            assert check(alone, key=False).state is LogState.INCOMPLETE, at
    (folder / SEGMENT_NAME).unlink()
    assert check(folder).looks_like is Attack.CUT


# ── structural edits: each returns the lines and the names that fit ──────────

Edit = Callable[[list[bytes], random.Random, "Stolen"], tuple[list[bytes], set[Attack]]]


class Stolen:
    """What an attacker may hold: another log of the same officer, and the keys from some record on."""

    def __init__(self, folder: Path, lines: list[bytes]) -> None:
        build(folder, RECORDS)
        self.foreign = lines_of((folder / SEGMENT_NAME).read_bytes())
        seal = decode(lines[0])["seal"]
        assert isinstance(seal, dict)
        self.log = str(decode(lines[0])["log"])
        key = chain.open_first_key(officer()[0], str(next(iter(seal.values()))), self.log)
        self.keys = [key]
        for _ in range(RECORDS + 40):
            self.keys.append(chain.next_key(self.keys[-1], self.log))


def altered(line: bytes, key: bytes | None, **changes: object) -> bytes:
    value = {**decode(line), **changes}
    if key is None:
        return encode(value)
    value.pop("mac")
    return chain.line_of(value, key)


def chained(lines: list[bytes], start: int, keys: list[bytes]) -> list[bytes]:
    """Give lines from `start` on new numbers, links and MACs (one key each)."""
    result = list(lines[:start])
    for line, key in zip(lines[start:], keys, strict=True):
        result.append(altered(line, key, seq=len(result), prev=chain.line_hash(result[-1])))
    return result


def delete(lines: list[bytes], dice: random.Random, _: Stolen) -> tuple[list[bytes], set[Attack]]:
    at, count = dice.randrange(len(lines) - 4), dice.randrange(1, 4)
    return lines[:at] + lines[at + count :], {Attack.DELETION}


def duplicate(lines: list[bytes], dice: random.Random, _: Stolen) -> tuple[list[bytes], set[Attack]]:
    at = dice.randrange(len(lines))
    to = dice.randrange(at + 1, len(lines) + 1)
    return [*lines[:to], lines[at], *lines[to:]], {Attack.DUPLICATE}


def swap(lines: list[bytes], dice: random.Random, _: Stolen) -> tuple[list[bytes], set[Attack]]:
    a, b = sorted(dice.sample(range(len(lines)), 2))
    lines[a], lines[b] = lines[b], lines[a]
    return lines, {Attack.REORDER}


def move_back(lines: list[bytes], dice: random.Random, _: Stolen) -> tuple[list[bytes], set[Attack]]:
    at = dice.randrange(len(lines) - 1)
    line = lines.pop(at)
    lines.insert(dice.randrange(at + 1, len(lines) + 1), line)
    return lines, {Attack.REORDER}


def insert_forged(lines: list[bytes], dice: random.Random, _: Stolen) -> tuple[list[bytes], set[Attack]]:
    at = dice.randrange(1, len(lines))
    forged = altered(lines[at], dice.randbytes(48), outcome="denied")
    return [*lines[:at], forged, *lines[at:]], {Attack.INSERTION}


def insert_foreign(lines: list[bytes], dice: random.Random, own: Stolen) -> tuple[list[bytes], set[Attack]]:
    at = dice.randrange(1, len(lines) + 1)
    return [*lines[:at], dice.choice(own.foreign), *lines[at:]], {Attack.FOREIGN}


def replace_foreign(lines: list[bytes], dice: random.Random, own: Stolen) -> tuple[list[bytes], set[Attack]]:
    at = dice.randrange(1, len(lines))
    return [*lines[:at], own.foreign[at], *lines[at + 1 :]], {Attack.FOREIGN}


def edit_value(lines: list[bytes], dice: random.Random, _: Stolen) -> tuple[list[bytes], set[Attack]]:
    at = dice.randrange(len(lines))
    change = dice.choice(({"outcome": "denied"}, {"seq": dice.randrange(1000, 9999)}, {"object": "x"}))
    lines[at] = altered(lines[at], None, **change)
    return lines, {Attack.EDIT}


def rebuild(lines: list[bytes], dice: random.Random, _: Stolen) -> tuple[list[bytes], set[Attack]]:
    """Change one, chain the rest again, without any key of the log."""
    at = dice.randrange(1, len(lines) - 1)
    lines[at] = altered(lines[at], None, outcome="denied")
    return chained(lines, at, [dice.randbytes(48) for _ in lines[at:]]), {Attack.REBUILT}


def reseal(lines: list[bytes], dice: random.Random, own: Stolen) -> tuple[list[bytes], set[Attack]]:
    """Change one, chain the rest again with keys stolen later."""
    at = dice.randrange(1, len(lines) - 1)
    stolen = dice.randrange(at + 1, len(lines) + 10)
    lines[at] = altered(lines[at], None, outcome="denied")
    return chained(lines, at, own.keys[stolen : stolen + len(lines) - at]), {Attack.RESEALED}


def cut_and_go_on(lines: list[bytes], dice: random.Random, own: Stolen) -> tuple[list[bytes], set[Attack]]:
    """Truncate, then append with the key that is current."""
    at = dice.randrange(1, len(lines) - 1)
    more = [lines[-1]] * dice.randrange(1, 6)
    now = len(lines)
    return chained(lines[:at] + more, at, own.keys[now : now + len(more)]), {Attack.RESEALED}


def add_many(lines: list[bytes], dice: random.Random, own: Stolen) -> tuple[list[bytes], set[Attack]]:
    """Append without telling the state; even with the right keys a crash leaves one at most."""
    more = [lines[-1]] * dice.randrange(2, 5)
    now = len(lines)
    return chained(lines + more, now, own.keys[now : now + len(more)]), {Attack.STATE}


def add_one_forged(lines: list[bytes], dice: random.Random, _: Stolen) -> tuple[list[bytes], set[Attack]]:
    more = chained([*lines, lines[-1]], len(lines), [dice.randbytes(48)])
    return more, {Attack.EDIT}


EDITS: tuple[Edit, ...] = (
    delete, duplicate, swap, move_back, insert_forged, insert_foreign, replace_foreign, edit_value, rebuild,
    reseal, cut_and_go_on, add_many, add_one_forged,
)  # fmt: skip


def test_structural_edits(tmp_path: Path) -> None:
    """A seeded sample; half of the attackers also make the state file fit what they can make fit."""
    lines = lines_of(build(tmp_path / "a", RECORDS))
    stolen = Stolen(tmp_path / "b", lines)
    folder = tmp_path / "a"
    honest = read_state(folder)
    dice = random.Random(5)
    seen: collections.Counter[str] = collections.Counter()
    for run in range(EXAMPLES):
        edit = EDITS[run % len(EDITS)]
        changed, names = edit(list(lines), dice, stolen)
        write(folder, changed)
        if run % 2 and edit is not add_many:
            length = sum(len(line) + 1 for line in changed)
            head = chain.line_hash(changed[-1])
            write_state(folder, State(1, honest.log, len(changed), length, head, honest.key))
        else:
            write_state(folder, honest)
        report = check(folder)
        assert report.state is LogState.TAMPERED, (edit.__name__, run)
        assert report.looks_like in names, (edit.__name__, run, report)
        seen[edit.__name__] += 1
        if changed[-1] != lines[-1] or len(changed) != len(lines):
            write_state(folder, honest)
            with pytest.raises(AuditClosedError):  # nor does the writer go on after a changed end
                Writer(folder, Clock(), files=Quick())
    print(f"{EXAMPLES} structural edits, all seen and named: {dict(seen)}")


def test_a_key_stolen_at_any_point_forges_nothing_earlier(tmp_path: Path) -> None:
    """State taken after each record: no key before it follows, and resealing with it is seen."""
    folder = tmp_path / "a"
    writer = Writer(folder, Clock(), (officer()[1],), files=Quick())
    stolen = [read_state(folder)]
    for number in range(RECORDS):
        writer.append(entry(number))
        stolen.append(read_state(folder))
    writer.close()
    lines = lines_of((folder / SEGMENT_NAME).read_bytes())
    own = Stolen(tmp_path / "b", lines)
    forged = 0
    dice = random.Random(8)
    for at in stolen:
        raw = bytes.fromhex(at.key)
        assert raw == own.keys[at.seq]
        reachable = {raw}
        for _ in range(RECORDS):
            raw = chain.next_key(raw, at.log)
            reachable.add(raw)
        assert not reachable & set(own.keys[: at.seq])
        for target in range(1, at.seq):
            again = [altered(line, None) for line in lines]
            again[target] = altered(lines[target], None, outcome="denied")
            keys = own.keys[at.seq : at.seq + len(lines) - target]
            again = chained(again, target, keys)
            write(folder, again)
            length = sum(len(line) + 1 for line in again)
            key = dice.choice((stolen[-1].key, own.keys[at.seq + len(keys)].hex()))
            write_state(folder, State(1, at.log, len(again), length, chain.line_hash(again[-1]), key))
            report = check(folder)
            assert (report.state, report.looks_like) == (LogState.TAMPERED, Attack.RESEALED)
            assert report.first_bad is not None
            assert report.first_bad.seq == target
            forged += 1
    print(f"{len(stolen)} points of theft, {forged} attempts, 0 earlier records forged")


def test_the_state_on_the_disk_keeps_no_past_key(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    writer = Writer(folder, Clock(), files=Quick())
    past: list[bytes] = []
    for number in range(6):
        raw = (folder / state.NAME).read_bytes()
        assert not [key for key in past if key in raw]
        past.append(read_state(folder).key.encode())
        writer.append(entry(number))
    writer.close()
    assert not [key for key in past if key in (folder / state.NAME).read_bytes()]


@pytest.mark.parametrize("behind", range(1, 6))
def test_an_old_state_put_back_is_seen(tmp_path: Path, behind: int) -> None:
    """One record behind is what a crash leaves; it is accepted, and nothing is lost by it."""
    folder = tmp_path / "a"
    writer = Writer(folder, Clock(), (officer()[1],), files=Quick())
    for number in range(6):
        writer.append(entry(number))
        if number == 5 - behind:
            old = (folder / state.NAME).read_bytes()
    writer.close()
    (folder / state.NAME).write_bytes(old)
    report = check(folder)
    if behind == 1:
        assert report.words == "sound to record 6; tail open"
        return
    assert (report.state, report.looks_like) == (LogState.TAMPERED, Attack.STATE)
    with pytest.raises(AuditClosedError) as error:
        Writer(folder, Clock(), files=Quick())
    assert error.value.code == "audit.tampered"


def test_a_forged_record_at_the_end_is_seen_without_an_officers_key(tmp_path: Path) -> None:
    """One record more than the state is what a crash leaves, so the state's own key has to fit it."""
    folder = tmp_path / "a"
    lines = lines_of(build(folder, 4))
    write(folder, chained([*lines, lines[-1]], len(lines), [bytes(48)]))
    for key in (True, False):
        assert check(folder, key=key).state is LogState.TAMPERED
    right = bytes.fromhex(read_state(folder).key)
    write(folder, chained([*lines, lines[-1]], len(lines), [right]))
    assert check(folder).words == "sound to record 5; tail open"
    assert check(folder, key=False).state is LogState.INCOMPLETE


def test_a_cut_hidden_by_a_crash_is_seen(tmp_path: Path) -> None:
    """Cutting an acknowledged record and leaving torn bytes in its place is no crash."""
    folder = tmp_path / "a"
    segment = build(folder, 4)
    lines = lines_of(segment)
    (folder / SEGMENT_NAME).write_bytes(b"".join(line + b"\n" for line in lines[:-1]) + lines[-1][:40])
    assert check(folder).looks_like is Attack.CUT
    with pytest.raises(AuditClosedError) as error:
        Writer(folder, Clock(), files=Quick())
    assert error.value.code == "audit.cut"


def test_a_state_of_nothing_or_of_another_log_is_seen(tmp_path: Path) -> None:
    build(tmp_path / "a", 4)
    build(tmp_path / "b", 4)
    folder = tmp_path / "a"
    shutil.copy(tmp_path / "b" / state.NAME, folder / state.NAME)
    assert check(folder).state is LogState.TAMPERED
    (folder / state.NAME).write_bytes(bytes(state.FILE_BYTES))
    assert check(folder).looks_like is Attack.STATE
    (folder / state.NAME).unlink()
    report = check(folder)
    assert report.state is LogState.INCOMPLETE
    assert "no state file" in report.words


def test_another_officers_key_checks_no_mac(tmp_path: Path) -> None:
    from govdesk import crypto

    build(tmp_path / "a", 2)
    report = verify(tmp_path / "a", crypto.new_sealing_key()[0])
    assert report.state is LogState.INCOMPLETE
    assert "opens none" in report.words
    build(tmp_path / "b", 2, officers=())
    assert "sealed to no officer" in check(tmp_path / "b").words


def _moved_on(reports: list[Report]) -> bool:
    """The log was seen at several lengths, and at least once in the middle of an append."""
    lengths = {report.records for report in reports}
    return len(lengths) > 5 and any(report.words.endswith("tail open") for report in reports)


def test_a_log_that_is_being_written_is_no_false_alarm(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    writer = Writer(folder, Clock(), (officer()[1],), files=Quick())
    stop = threading.Event()

    def write_on() -> None:
        number = 0
        while not stop.wait(0.002):
            writer.append(entry(number))
            number += 1

    thread = threading.Thread(target=write_on)
    thread.start()
    try:
        reports: list[Report] = []
        deadline = (
            time.monotonic() + 60
        )  # the log grows, so a look takes longer until an append falls into it
        while len(reports) < 50 or (not _moved_on(reports) and time.monotonic() < deadline):
            reports.append(check(folder, key=bool(len(reports) % 2)))
    finally:
        stop.set()
        thread.join()
    writer.close()
    assert {report.state for report in reports} <= {LogState.SOUND, LogState.INCOMPLETE}
    assert _moved_on(reports)
    assert check(folder).words == "sound; roll-back of the whole log not excluded"
    print(f"{len(reports)} verifies of a log being written, 0 false alarms")
