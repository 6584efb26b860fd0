"""Promise: who reads the audit writer's memory or files finds no key of a record that was made before.

The keys K(0) … K(n) are computed here from the first one, which the test's own officer opens; the writer
is another process, whose whole memory is then searched for each of them, raw and in hexadecimal.
"""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from govdesk.audit import chain, record
from govdesk.audit.store import SEGMENT_NAME
from tests.audit_logs import lines_of, officer

CHECKOUT = Path(__file__).resolve().parents[2]
WRITER = """
    import sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from govdesk.audit import stamp
    from govdesk.audit.writer import Writer
    from tests.audit_logs import Quick, entry

    folder, officer = Path(sys.argv[1]), sys.stdin.readline().replace("|", chr(10))
    writer = Writer(folder, stamp.of_this_process(), (officer,), files=Quick())
    for number in range(int(sys.argv[3])):
        writer.append(entry(number))
    print(writer.next_seq, flush=True)
    sys.stdin.readline()
"""


def memory_of(pid: int) -> bytes:
    parts = []
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, rights, *_ = line.split()
            if "rw" not in rights or "[v" in line:
                continue
            start, end = (int(number, 16) for number in span.split("-"))
            memory.seek(start)
            try:
                parts.append(memory.read(end - start))
            except OSError:
                continue
    return b"\0".join(parts)


def keys_of(folder: Path, count: int) -> list[bytes]:
    first, _ = record.decode(lines_of((folder / SEGMENT_NAME).read_bytes())[0])
    assert first.seal is not None
    (sealed,) = first.seal.values()
    keys = [chain.open_first_key(officer()[0], sealed, first.log)]
    while len(keys) <= count:
        keys.append(chain.next_key(keys[-1], first.log))
    return keys


@pytest.mark.parametrize("reopened", [False, True], ids=["a new log", "an old log"])
def test_no_past_key_is_in_the_writers_memory_or_files(tmp_path: Path, reopened: bool) -> None:
    records = 0
    for _ in range(1 + reopened):
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path / "a"), str(CHECKOUT), "100"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(officer()[1].replace("\n", "|") + "\n")
        process.stdin.flush()
        records = int(process.stdout.readline())
        memory = memory_of(process.pid)
        process.communicate("\n")
    keys = keys_of(tmp_path / "a", records)
    *past, current = keys
    assert current in memory, "control: the key of the next record is found where it is"
    found = [seq for seq, key in enumerate(past) if key[:32] in memory or key.hex()[:64].encode() in memory]
    print(f"{len(past)} past keys, {len(memory):,} bytes of memory: {found} found")
    assert found == []
    files = b"".join(path.read_bytes() for path in (tmp_path / "a").iterdir())
    assert not [seq for seq, key in enumerate(past) if key in files or key.hex().encode() in files]
