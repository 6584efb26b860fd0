"""A record that was acknowledged survives any fault of any file operation, and no fault ruins the log.

Long run: GOVDESK_FUZZ_EXAMPLES=20000.
"""

from __future__ import annotations

import collections
import os
import random
import shutil
from pathlib import Path

import pytest

from govdesk.audit.chain import line_hash
from govdesk.audit.report import LogState
from govdesk.audit.store import SEGMENT_NAME
from govdesk.audit.verify import verify
from govdesk.audit.writer import Writer
from govdesk.errors import AuditClosedError
from tests.audit_logs import Clock, Crash, Faulty, Quick, entry, lines_of, officer

EXAMPLES = int(os.environ.get("GOVDESK_FUZZ_EXAMPLES", "400"))
KINDS = ("kill", "power", "short", "EIO", "ENOSPC", "EINTR", "EROFS", "EFBIG")
OWN = (b'"event":"log.', b'"event":"audit.failure"')


def use(folder: Path, files: Faulty, clock: Clock, records: int) -> dict[int, str]:
    """Open and append until something happens; what was acknowledged."""
    acknowledged: dict[int, str] = {}
    try:
        writer = Writer(folder, clock, (officer()[1],), files=files)
        for number in range(records):
            written = writer.append(entry(number))
            acknowledged[written.seq] = written.line_sha384
        writer.close()
    except (AuditClosedError, Crash):
        pass
    finally:
        files.abandon()
    return acknowledged


def operations(folder: Path) -> int:
    files = Faulty(0, "kill", lasting=False, dice=random.Random(0))
    use(folder, files, Clock(), 3)
    shutil.rmtree(folder)
    return files.done


def test_every_operation_every_fault(tmp_path: Path) -> None:
    """A seeded sample over operations × faults, on new logs and on logs with a history of faults."""
    last = operations(tmp_path / "count")
    assert last > 50
    dice = random.Random(20251124)
    plan = [(at, kind) for at in range(1, last + 1) for kind in KINDS]
    dice.shuffle(plan)
    while len(plan) < EXAMPLES:
        plan.append((dice.randrange(1, last + 1), dice.choice(KINDS)))
    runs = hits = torn = 0
    seen: collections.Counter[str] = collections.Counter()
    folder, clock = tmp_path / "0", Clock()
    acknowledged: dict[int, str] = {}
    for at, kind in plan[:EXAMPLES]:
        if runs % 5 == 0:
            shutil.rmtree(folder, ignore_errors=True)
            folder, clock, acknowledged = tmp_path / str(runs), Clock(), {}
        runs += 1
        before = torn_files(folder)
        files = Faulty(at, kind, lasting=dice.random() < 0.5, dice=dice)
        new = use(folder, files, clock, 3)
        hits += bool(files.hit)
        seen[f"{files.hit} {kind}"] += bool(files.hit)
        acknowledged |= new
        if dice.random() < 0.3:
            clock.utc_ns += dice.randrange(-(10**12), 10**12)
            clock.boot_id = f"{runs:08d}"

        if (folder / SEGMENT_NAME).exists():
            report = verify(folder, officer()[0])
            assert report.state is not LogState.TAMPERED, (at, kind, files.hit, report)
        writer = Writer(folder, clock, (officer()[1],), files=Quick())  # 0 unrecoverable
        written = writer.append(entry(9))
        acknowledged[written.seq] = written.line_sha384
        writer.close()

        lines = lines_of((folder / SEGMENT_NAME).read_bytes())
        lost = [seq for seq, digest in acknowledged.items() if line_hash(lines[seq]) != digest]
        assert not lost, (at, kind, files.hit)
        extra = [
            line for seq, line in enumerate(lines) if seq not in acknowledged and not has_own_event(line)
        ]
        assert len(extra) <= runs, (at, kind, files.hit)
        assert torn_files(folder) - before <= 2, (at, kind, files.hit)
        torn += torn_files(folder) > before
        report = verify(folder, officer()[0])
        assert report.state is LogState.SOUND, (at, kind, files.hit, report)
    print(
        f"{runs} runs, {hits} faults hit ({len(seen)} operation × fault pairs), 0 acknowledged lost, "
        f"0 unrecoverable, {torn} runs left torn bytes"
    )
    assert hits >= runs * 0.6
    assert len(seen) >= min(50, EXAMPLES // 6)


def torn_files(folder: Path) -> int:
    return len(list(folder.glob("torn-*"))) if folder.exists() else 0


def has_own_event(line: bytes) -> bool:
    return any(line[1:].startswith(event) for event in OWN)


def test_each_crash_leaves_at_most_one_unacknowledged_record(tmp_path: Path) -> None:
    """Kill at every operation of an append to a log that is open."""
    for at in range(1, 200):
        folder = tmp_path / str(at)
        files = Faulty(at, "kill", lasting=False, dice=random.Random(at))
        acknowledged = use(folder, files, Clock(), 4)
        if not files.hit:
            break
        Writer(folder, Clock(), (officer()[1],), files=Quick()).close()
        lines = lines_of((folder / SEGMENT_NAME).read_bytes())
        turns = [line for line in lines if not has_own_event(line)]
        assert 0 <= len(turns) - len(acknowledged) <= 1, at
        shutil.rmtree(folder)
    else:
        pytest.fail("never got through")


def test_a_sync_that_failed_is_never_tried_again(tmp_path: Path) -> None:
    """After a failed sync no operation but closing touches the log's files."""
    count = Faulty(0, "EIO", lasting=False, dice=random.Random(1))
    use(tmp_path / "count", count, Clock(), 1)
    syncs = 0
    for at in range(1, count.done + 1):
        files = Faulty(at, "EIO", lasting=False, dice=random.Random(at))
        use(tmp_path / str(at), files, Clock(), 1)
        if files.hit == "sync":
            syncs += 1
            assert files.done == at
    assert syncs >= 5


@pytest.mark.parametrize("kind", ["ENOSPC", "EROFS", "EIO", "EFBIG"])
def test_a_fault_closes_for_good(tmp_path: Path, kind: str) -> None:
    files = Faulty(0, kind, lasting=True, dice=random.Random(1))
    writer = Writer(tmp_path / "a", Clock(), files=files)
    writer.append(entry(0))
    files.at = files.done + 1
    with pytest.raises(AuditClosedError) as first:
        writer.append(entry(1))
    files.at, files._failing = 0, False  # the disk is well again; the writer is not
    with pytest.raises(AuditClosedError) as second:
        writer.append(entry(2))
    assert first.value.code == second.value.code != "audit.closed"
    files.abandon()
