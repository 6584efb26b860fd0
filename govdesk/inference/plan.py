"""How a model is to be loaded on this machine now: context, keys and values, weights, threads, batches."""

from __future__ import annotations

from dataclasses import replace

from govdesk.domain.frames import LoadModel
from govdesk.inference import fit, formats, machine_memory, processor, threads
from govdesk.inference.fit import Kv, Settings
from govdesk.inference.gguf import GgufFacts
from govdesk.inference.machine_memory import MachineMemory
from govdesk.inference.manifest import Manifest

USUAL_CONTEXT_TOKENS = 4096
"""So much is given as long as it fits at all."""
MOST_CONTEXT_TOKENS = 32768
"""More takes minutes to read on any processor."""
_FOR_MORE = 4
"""Beyond the usual, a context gets one part in so many of the memory that is free beside the model."""
_FOR_ASIDE = 16
_MOST_ASIDE_BYTES = 2**30
_LEAST_ASIDE_BYTES = 32 * 2**20


def default_plan(manifest: Manifest, facts: GgufFacts, kv: Kv = "f16") -> LoadModel:
    """What suits before anything was measured; the model's sealed copy is made already.

    Args:
        manifest: what it is to be loaded as.
        facts: what its files hold.
        kv: how keys and values are to be kept, if that can be.
    """
    memory = machine_memory.read()
    chosen = threads.choose(processor.read())
    repacked = formats.repacked_formats(formats.this_cpu())
    suited = settings(facts, manifest.context_tokens, memory.free_bytes + facts.file_bytes, repacked, kv)
    return LoadModel(
        context_tokens=suited.context_tokens,
        threads=chosen.decode,
        batch_threads=chosen.batch,
        kv=suited.kv,
        template=manifest.template,
        weights="own" if suited.own_weights else "mapped",
        aside_bytes=aside_bytes(facts, suited, memory, repacked),
    )


def settings(
    facts: GgufFacts, context_tokens: int, room_bytes: int, repacked: frozenset[str], kv: Kv = "f16"
) -> Settings:
    """Context, keys and values, and where the weights are.

    Args:
        facts: the model's.
        context_tokens: the most that its manifest allows.
        room_bytes: what may be used, the model's own weights included.
        repacked: see `fit.Machine`.
        kv: wanted; what the model cannot have is not given.
    """
    kept = kv if fit.kv_possible(facts, kv) else "f16"
    most = Settings(min(MOST_CONTEXT_TOKENS, context_tokens), kept)
    least = replace(most, context_tokens=fit.LEAST_CONTEXT_TOKENS)
    beside = max(0, room_bytes - fit.memory(facts, least, repacked).total)
    roomy = fit.largest_context(facts, room_bytes - beside + beside // _FOR_MORE, most, repacked)
    usual = replace(most, context_tokens=min(USUAL_CONTEXT_TOKENS, most.context_tokens))
    tokens = max(roomy, fit.largest_context(facts, room_bytes, usual, repacked))
    suited = replace(most, context_tokens=tokens or min(fit.LEAST_CONTEXT_TOKENS, context_tokens))
    own = replace(suited, own_weights=True)
    return own if fit.memory(facts, own, repacked).peak <= room_bytes else suited


def aside_bytes(facts: GgufFacts, suited: Settings, memory: MachineMemory, repacked: frozenset[str]) -> int:
    """For conversations that the context has no place for: a part of what stays free."""
    needed = fit.memory(facts, suited, repacked)
    left = memory.free_bytes + facts.file_bytes - needed.total
    return min(_MOST_ASIDE_BYTES, max(_LEAST_ASIDE_BYTES, left // _FOR_ASIDE))
