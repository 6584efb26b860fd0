"""Whether a model computes on a graphics card: only when policy, machine and a try of its own say so.

A driver that hangs or crashes costs the worker that tried it. The verdict is kept with the driver's stamp, so
that a bad driver is not tried at every start; a kept verdict is never more than that: policy, the devices and
the installed backends are looked at each time. When a card is not used, it is known why.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from govdesk.domain.frames import GPU_BACKENDS, Device, Devices, GpuBackend, LoadModel
from govdesk.domain.policy import GpuRule
from govdesk.inference import placement
from govdesk.inference.gguf import GgufFacts
from govdesk.inference.graphics_look import Look, look
from govdesk.inference.placement import Placement

MAX_KEPT_BYTES = 4096
_OF_THE_DRIVER = frozenset({
    "backend.refused", "worker.crashed", "worker.hung", "worker.garbage", "worker.instruction",
    "worker.walls",
})  # fmt: skip
"""It would end like this again: kept, and not tried again with this driver."""
PASSING = frozenset({"backend.missing", "worker.killed", "worker.memory"})
"""It may go well the next time, with more memory free: true for one load, and never kept."""
_KEPT = _OF_THE_DRIVER | {"", "gpu.probe"}
_NOT_PLAIN = re.compile(r"[^ -~]")


class _Verdict(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    stamp: str
    code: str


class _Kept(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: int
    verdicts: dict[str, _Verdict]


@dataclass(frozen=True, slots=True)
class Status:
    """How it stands with one backend. `code` is empty while nothing speaks against it.

    Codes: `gpu.policy`, `gpu.backend`, `gpu.device`, `gpu.permission`, `gpu.driver`, `gpu.probe`,
    `gpu.memory`, `gpu.load`, or what a worker on it ended with.
    """

    look: Look
    code: str = ""
    devices: tuple[Device, ...] = ()
    placement: Placement | None = None


class Graphics:
    """Decides for one session, and knows why.

    Args:
        rule: the policy's.
        kept: file for verdicts; None: nothing is kept.
        look_at: what the machine has for a backend.
    """

    def __init__(
        self,
        rule: GpuRule = GpuRule.OFF,
        kept: Path | None = None,
        look_at: Callable[[GpuBackend], Look] = look,
    ) -> None:
        self.rule = rule
        self._kept = kept
        self._look_at = look_at
        self._statuses: dict[GpuBackend, Status] = {}
        self.used: Status | None = None
        """What the running worker computes on besides the processor."""

    @property
    def statuses(self) -> tuple[Status, ...]:
        """Every backend's, as it was found at the last start of a worker, or as it looks now."""
        return tuple(self._statuses.get(name) or self._status(name) for name in GPU_BACKENDS)

    def choose(self, probe: Callable[[GpuBackend], Devices]) -> GpuBackend:
        """The backend to use now, or empty: the processor alone.

        Args:
            probe: tries a backend in a worker of its own; what it says is untrusted.
        """
        self.used = None
        self._statuses = {name: self._status(name) for name in GPU_BACKENDS}
        verdicts = self._read()
        for name, status in self._statuses.items():
            if status.code:
                continue
            verdict = verdicts.get(name)
            if verdict is None or verdict.stamp != status.look.stamp:
                verdict = _Verdict(status.look.stamp, _judged(probe(name)))
                self._keep(name, verdict)
            if not verdict.code:
                return name
            self._statuses[name] = replace(status, code=verdict.code)
        return ""

    def place(self, backend: GpuBackend, untrusted: Devices, facts: GgufFacts, order: LoadModel) -> LoadModel:
        """The order with the model's layers placed; without any when not one fits."""
        devices = plain(untrusted.devices)
        placed = placement.place(placement.sizes(facts, order), devices)
        status = replace(self._statuses[backend], devices=devices, placement=placed)
        if not placed.shares:
            self._statuses[backend] = replace(status, code="gpu.memory" if devices else "gpu.device")
            return order
        self.used = self._statuses[backend] = status
        return msgspec.structs.replace(
            order,
            devices=tuple(share.device.name for share in placed.shares),
            device_layers=tuple(share.layers for share in placed.shares),
        )

    def opened(self, backend: GpuBackend) -> dict[str, str | bool | int | dict[str, int] | None]:
        """What the record says of the wider walls: the backend, and what they leave open for it."""
        opening = self._statuses[backend].look.opening
        return {
            "backend": backend,
            "nodes": {str(node): 1 for node in opening.nodes},
            "files": {str(path): 1 for path in opening.files},
            "ioctl_types": {str(kind): 1 for kind in opening.ioctl_types},
        }

    def why_not(self) -> dict[str, str]:
        """For the record of a loading without a card: why each backend that policy allows is not used."""
        found = {status.look.backend: status.code for status in self.statuses}
        return {backend: code for backend, code in found.items() if code and code != "gpu.policy"}

    def code(self, backend: GpuBackend) -> str:
        """Why this backend is not used; empty when nothing speaks against it."""
        return self._statuses[backend].code

    def failed(self, backend: GpuBackend, code: str) -> None:
        """A worker on this backend failed although the try went well.

        What says something about the driver is kept: not again with this one. What may lie in the model, or
        in the memory that was free, counts until the next load: another model is not to suffer for it.
        """
        status = self._statuses[backend]
        self.used = None
        self._statuses[backend] = replace(status, code=_ended(code))
        self._keep(backend, _Verdict(status.look.stamp, _ended(code)))

    def _status(self, backend: GpuBackend) -> Status:
        found = self._look_at(backend)
        allowed = self.rule is GpuRule.AUTO or self.rule.value == backend
        reasons = (
            ("gpu.policy", allowed),
            ("gpu.backend", found.installed),
            ("gpu.device", bool(found.nodes)),
            ("gpu.permission", bool(found.usable)),
            ("gpu.driver", bool(found.driver)),
        )
        return Status(found, next((code for code, fulfilled in reasons if not fulfilled), ""))

    def _read(self) -> dict[str, _Verdict]:
        """The kept verdicts; none where they cannot be read: then it is tried again."""
        if self._kept is None:
            return {}
        try:
            with self._kept.open("rb") as file:
                kept = msgspec.json.decode(file.read(MAX_KEPT_BYTES), type=_Kept)
        except (OSError, msgspec.MsgspecError):
            return {}
        if kept.schema != 1:
            return {}
        return {name: found for name, found in kept.verdicts.items() if found.code in _KEPT}

    def _keep(self, backend: GpuBackend, verdict: _Verdict) -> None:
        if verdict.code in _KEPT:
            self._write({**self._read(), backend: verdict})

    def _write(self, verdicts: dict[str, _Verdict]) -> None:
        """Keep them. A disk that takes nothing costs another try at the next start, nothing else."""
        if self._kept is None:
            return
        content = msgspec.json.encode(_Kept(1, verdicts))
        beside = self._kept.with_name(self._kept.name + ".new")
        with contextlib.suppress(OSError):
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(descriptor, "wb") as file:  # noqa: PTH123  a descriptor, not a path
                file.write(content)
            beside.replace(self._kept)


def plain(untrusted: tuple[Device, ...]) -> tuple[Device, ...]:
    """Devices with names that can go before people and into the log; one name twice is one device."""
    found = {
        device.name: msgspec.structs.replace(device, title=_NOT_PLAIN.sub("?", device.title).strip() or "?")
        for device in untrusted
        if device.name and not _NOT_PLAIN.search(device.name)
    }
    return tuple(found.values())


def _judged(untrusted: Devices) -> str:
    """Empty when a device computed right; else why not, in our words."""
    if untrusted.code:
        return untrusted.code if untrusted.code in _OF_THE_DRIVER | PASSING else "gpu.probe"
    return "" if untrusted.devices else "gpu.probe"


def _ended(code: str) -> str:
    """What the end of a worker with a model on a card says of the card."""
    if code in _OF_THE_DRIVER | PASSING:
        return code
    return "gpu.memory" if code == "model.no-context" else "gpu.load"
