"""Logs for the audit's tests: made by the real writer under our own clock, with file faults on demand."""

from __future__ import annotations

import errno
import functools
import os
import random
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from govdesk import crypto
from govdesk.audit import state
from govdesk.audit.files import Files
from govdesk.audit.record import When, Where, Who
from govdesk.audit.state import State
from govdesk.audit.store import SEGMENT_NAME
from govdesk.audit.writer import Writer
from govdesk.domain.record import Entry, Event

SECTOR = 512


@functools.cache
def officer() -> tuple[str, str]:
    """An officer's pair: (private, public), made once per run."""
    return crypto.new_sealing_key()


@dataclass
class Clock:
    """Implements `Stamp`; a second passes at each look, and tests may jump."""

    utc_ns: int = 1_764_000_000_000_000_000
    monotonic_ns: int = 1_000_000_000
    boot_id: str = "11111111-1111-4111-8111-111111111111"
    who: Who = field(default_factory=lambda: Who(uid=1000, name="ana", role="owner", how="process"))
    where: Where = field(default_factory=lambda: Where(host="ws-7", program="govdesk test"))

    def when(self) -> When:
        self.utc_ns += 1_000_000_000
        self.monotonic_ns += 1_000_000_000
        return When(str(self.utc_ns), str(self.monotonic_ns), self.boot_id)


def entry(number: int) -> Entry:
    """Turns: an intent, then its outcome."""
    event = (Event.TURN_INTENT, Event.TURN_OUTCOME)[number % 2]
    return Entry(
        event,
        ("permit", "completed")[number % 2],
        object=f"turn-{number // 2}",
        marking="UNCLASSIFIED",
        policy="dev@0123456789abcdef",
        fields={"characters": number, "findings": {"US_SSN": 1}, "rule": None},
    )


def build(folder: Path, records: int, *, officers: tuple[str, ...] | None = None) -> bytes:
    """A closed log with `records` records besides its first; the segment's bytes."""
    writer = Writer(folder, Clock(), (officer()[1],) if officers is None else officers, files=Quick())
    for number in range(records):
        writer.append(entry(number))
    writer.close()
    return (folder / SEGMENT_NAME).read_bytes()


def slot_of(at: State) -> bytes:
    """The slot of a state whose key is in it."""
    blank = msgspec.structs.replace(at, key=state.NO_KEY)
    return bytes(state.slot_of(blank, bytearray.fromhex(at.key)))


def lines_of(segment: bytes) -> list[bytes]:
    """Whole lines, without line feeds."""
    return segment.split(b"\n")[:-1]


class Quick(Files):
    """The real operations without waiting for the disk."""

    def sync(self, descriptor: int) -> None:
        os.fstat(descriptor)

    def sync_folder(self, path: Path) -> None:
        path.stat()


class Crash(BaseException):
    """The process or the machine stops here; no code of ours may catch it."""


class Faulty(Files):
    """Fails at one file operation, in one way; `power` also loses what was not synced.

    Args:
        at: which operation, from 1; 0 never fails.
        kind: kill, power, short, or an errno's name.
        lasting: the error stays (a full disk until something is removed).
        dice: seeded.
    """

    def __init__(self, at: int, kind: str, *, lasting: bool, dice: random.Random) -> None:
        self.at, self.kind, self.lasting, self.dice = at, kind, lasting, dice
        self.done = 0
        self.hit = ""
        self._failing = False
        self._open: dict[int, Path] = {}
        self._durable: dict[Path, bytes] = {}
        self._new: set[Path] = set()

    def _step(self, name: str) -> bool:
        """Count; True when this operation is the one that goes wrong."""
        self.done += 1
        if self.done == self.at:
            self.hit = name
            self._failing = self.lasting
            return True
        return self._failing and (self.kind != "ENOSPC" or name in ("write_at", "allocate"))

    def _before(self, name: str) -> bool:
        """Fail before the operation takes place; True when it should stop after it."""
        if not self._step(name):
            return False
        if self.kind in ("kill", "power"):
            if self.dice.random() < 0.5:
                self._stop()
            return True
        if self.kind == "short":
            return False
        raise OSError(getattr(errno, self.kind), self.kind)

    def _stop(self) -> None:
        if self.kind == "power":
            self._lose()
        raise Crash(self.hit)

    def _lose(self) -> None:
        """What was synced is there; of the rest, any sectors and any of the lengths may be."""
        for path in {*self._open.values(), *self._new}:
            if path.exists():
                now, then = path.read_bytes(), self._durable.get(path, b"")
                length = self.dice.choice((len(now), len(then), (len(now) + len(then)) // 2))
                mixed = bytearray()
                for start in range(0, length, SECTOR):
                    source = self.dice.choice((now, then))
                    mixed += source[start : start + SECTOR].ljust(min(SECTOR, length - start), b"\0")
                path.write_bytes(bytes(mixed[:length]))
                if path in self._new and self.dice.random() < 0.5:
                    path.unlink()

    def make_folder(self, path: Path) -> None:
        after = self._before("make_folder")
        super().make_folder(path)
        if after:
            self._stop()

    def open(self, path: Path, flags: int) -> int:
        after = self._before("open")
        there = path.exists()
        descriptor = super().open(path, flags)
        self._open[descriptor] = path
        if there:
            self._durable.setdefault(path, path.read_bytes())
        else:
            self._new.add(path)
        if after:
            self._stop()
        return descriptor

    def close(self, descriptor: int) -> None:
        super().close(descriptor)
        self._open.pop(descriptor, None)

    def lock(self, descriptor: int) -> None:
        after = self._before("lock")
        super().lock(descriptor)
        if after:
            self._stop()

    def status(self, where: int | Path) -> os.stat_result:
        after = self._before("status")
        if after:
            self._stop()
        return super().status(where)

    def read_at(self, descriptor: int, count: int, offset: int) -> bytearray:
        after = self._before("read_at")
        if after:
            self._stop()
        return super().read_at(descriptor, count, offset)

    def write_at(self, descriptor: int, part: memoryview, offset: int) -> int:
        after = self._before("write_at")
        if after or (self.kind == "short" and self.done == self.at):
            part = part[: self.dice.randrange(1, len(part) + 1)]
        written = super().write_at(descriptor, part, offset)
        if after:
            self._stop()
        return written

    def sync(self, descriptor: int) -> None:
        after = self._before("sync")
        path = self._open[descriptor]
        self._durable[path] = path.read_bytes()
        if after:
            self._stop()

    def sync_folder(self, path: Path) -> None:
        after = self._before("sync_folder")
        self._new = {new for new in self._new if new.parent != path}
        if after:
            self._stop()

    def truncate(self, descriptor: int, length: int) -> None:
        after = self._before("truncate")
        super().truncate(descriptor, length)
        if after:
            self._stop()

    def allocate(self, descriptor: int, length: int) -> None:
        after = self._before("allocate")
        super().truncate(descriptor, length)
        if after:
            self._stop()

    def remove(self, path: Path) -> None:
        after = self._before("remove")
        super().remove(path)
        if self.kind == "ENOSPC":
            self._failing = False  # the reserve gave its space back
        if after:
            self._stop()

    def abandon(self) -> None:
        """The process is gone: the system closes what it had open."""
        for descriptor in list(self._open):
            os.close(descriptor)
        self._open.clear()
