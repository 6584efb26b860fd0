"""What was measured to suit a model on this machine, kept in the profile; harmless when it is damaged.

A result counts only for the processor, its cores and limits, the library build and the model that it was
measured with: when one of them changes, its key does, and it is measured again.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from govdesk.domain.frames import SetThreads, Timing, Tune, Tuned
from govdesk.domain.ids import ModelDigest
from govdesk.inference import library
from govdesk.inference.processor import Processor
from govdesk.inference.threads import MAX_THREADS, candidates, choose

SCHEMA = 2
TUNE_MILLISECONDS = 3000
QUIET_PERCENT = 25
"""Of one processor: when others use more, what is measured says more of them than of this machine."""
_MAX_KEPT = 32
_MAX_FILE_BYTES = 64 * 1024
_AS_GOOD = 1.03
"""Fewer threads that take at most so much longer are better: they leave room."""

_Digest = Annotated[str, Meta(pattern="^[0-9a-f]{96}$")]
_Count = Annotated[int, Meta(ge=1, le=MAX_THREADS)]
_Microseconds = Annotated[int, Meta(ge=1, le=2**40)]


class Tuning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One result. `key` says what it was measured with, `machine` the same without the model.

    `work_bytes`: what a token of an answer takes of this model (`fit.work_per_token`), so that it says
    something of others. `at`: when, in seconds since the epoch.
    """

    key: _Digest
    machine: _Digest
    work_bytes: Annotated[int, Meta(ge=1, le=2**50)]
    threads: _Count
    batch_threads: _Count
    token_microseconds: _Microseconds
    read_microseconds: _Microseconds
    at: Annotated[int, Meta(ge=0, le=2**40)]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: Annotated[int, Meta(ge=SCHEMA, le=SCHEMA)]
    tunings: Annotated[tuple[Tuning, ...], Meta(max_length=_MAX_KEPT)]


class Tunings:
    """The kept results.

    Args:
        path: the file in the profile; read when it is needed, made when something was measured.
        found: the processor that GovDesk runs on now.
        build: says the library's build when something is looked up; by default that of the installation.
    """

    def __init__(self, path: Path, found: Processor, build: Callable[[], str] | None = None) -> None:
        self._path = path
        self.processor = found
        self._build = build or library.build

    def of(self, model: ModelDigest) -> Tuning | None:
        """What was measured for a model with all that is here now."""
        key = self._key(model)
        return next((kept for kept in self._read() if kept.key == key), None)

    def threads(self, model: ModelDigest) -> SetThreads | None:
        """The same as an order to the worker."""
        kept = self.of(model)
        return None if kept is None else SetThreads(threads=kept.threads, batch_threads=kept.batch_threads)

    def bytes_per_second(self, work_bytes: float) -> float | None:
        """What this machine gets through with a model of so much work for a token; None when unknown.

        From the model that was measured here and is most like it: a small one says less of a large one.
        """
        machine = self._machine()
        here = [kept for kept in self._read() if kept.machine == machine]
        if not here or work_bytes <= 0:
            return None
        nearest = min(here, key=lambda kept: abs(math.log(kept.work_bytes / work_bytes)))
        return 1e6 * nearest.work_bytes / nearest.token_microseconds

    def order(self, turn: str) -> Tune:
        """What to try here."""
        tried = candidates(self.processor)
        batch = dict.fromkeys((choose(self.processor).batch, *tried))
        return Tune(turn=turn, threads=tried, batch_threads=tuple(batch), milliseconds=TUNE_MILLISECONDS)

    def keep(
        self, model: ModelDigest, untrusted: Tuned, order: Tune, work_bytes: float, now_seconds: int
    ) -> Tuning | None:
        """Choose, and write it down; None when the figures say nothing.

        They are a worker's word: at worst they choose a number that was to be tried anyway, and call this
        machine slow or fast.
        """
        if not untrusted.complete or untrusted.others_percent > QUIET_PERCENT:
            return None
        decode = _best(untrusted.timings, order.threads, reading=False)
        read = _best(untrusted.timings, order.batch_threads, reading=True)
        if decode is None or read is None:
            return None
        kept = Tuning(
            key=self._key(model),
            machine=self._machine(),
            work_bytes=max(1, round(work_bytes)),
            threads=decode.threads,
            batch_threads=read.threads,
            token_microseconds=decode.token_microseconds,
            read_microseconds=read.token_microseconds,
            at=now_seconds,
        )
        others = [one for one in self._read() if one.key != kept.key]
        self._write((kept, *others[: _MAX_KEPT - 1]))
        return kept

    def _key(self, model: ModelDigest) -> str:
        return hashlib.sha384(f"{self._machine()}\n{model}".encode()).hexdigest()

    def _machine(self) -> str:
        return hashlib.sha384(f"{self.processor.identity}\n{self._build()}".encode()).hexdigest()

    def _read(self) -> tuple[Tuning, ...]:
        try:
            with self._path.open("rb") as file:
                return msgspec.json.decode(file.read(_MAX_FILE_BYTES), type=_File).tunings
        except (OSError, msgspec.DecodeError, ValueError):
            return ()

    def _write(self, tunings: tuple[Tuning, ...]) -> None:
        """Whole or not at all; a disk that is full costs the result and nothing else."""
        with contextlib.suppress(OSError):
            descriptor, name = tempfile.mkstemp(dir=self._path.parent, prefix=".tuning-")
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(msgspec.json.encode(_File(schema=SCHEMA, tunings=tunings)))
                Path(name).replace(self._path)
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise


def _best(timings: tuple[Timing, ...], asked: tuple[int, ...], *, reading: bool) -> Timing | None:
    """The fewest threads that are about as fast as the fastest."""
    fitting = [one for one in timings if one.reading is reading and one.threads in asked]
    if not fitting:
        return None
    fastest = min(one.token_microseconds for one in fitting)
    good = [one for one in fitting if one.token_microseconds <= _AS_GOOD * fastest]
    return min(good, key=lambda one: one.threads)
