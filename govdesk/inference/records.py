"""What is recorded of a worker: its loading, its self-test, its failures; only what is plain gets there."""

from __future__ import annotations

import re

from govdesk.domain.frames import GpuBackend, LoadModel, Probe
from govdesk.domain.record import Entry, Event
from govdesk.inference.store import Model

Fields = dict[str, str | bool | int | dict[str, int] | None]
_CHANNEL = re.compile(r"[a-z0-9_-]{1,32}")
_FOUND = re.compile(r"[A-Za-z0-9]{1,20}|\?")


def plain(untrusted_probes: tuple[Probe, ...]) -> bool:
    """Each channel once, and nothing but short words: they go into the log and before people."""
    names = {probe.channel for probe in untrusted_probes}
    return len(names) == len(untrusted_probes) and all(
        _CHANNEL.fullmatch(probe.channel) and _FOUND.fullmatch(probe.found) for probe in untrusted_probes
    )


def load(model: Model, outcome: str, fields: Fields) -> Entry:
    """Of a model that the worker is about to get, or that it cannot have."""
    return Entry(
        event=Event.MODEL_LOAD,
        outcome=outcome,
        object=model.manifest.name,
        model=model.digest,
        fields={"version": model.manifest.version, **fields},
    )


def loaded_as(model: Model, order: LoadModel) -> Fields:
    """How: its bytes, the context in tokens, and how keys and values are kept."""
    return {"bytes": model.variant.bytes, "context": order.context_tokens, "kv": order.kv}


def self_test(outcome: str, probes: tuple[Probe, ...], code: str | None) -> Entry:
    """Of what the worker's self-test found."""
    channels = {probe.channel: int(probe.blocked) for probe in probes}
    return Entry(
        event=Event.SELF_TEST,
        outcome=outcome,
        object="worker",
        fields={"channels": channels} if code is None else {"channels": channels, "code": code},
    )


def failure(code: str, found: dict[str, int], gpu: GpuBackend) -> Entry:
    """Of a worker that failed, and the graphics backend that it could use."""
    backend = {"backend": gpu} if gpu else {}
    return Entry(
        event=Event.WORKER_FAILURE,
        outcome="failure",
        object="worker",
        fields={"code": code, **found, **backend},
    )
