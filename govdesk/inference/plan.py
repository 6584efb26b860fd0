"""How a model is to be loaded on this machine now: context, keys and values, weights, threads, batches."""

from __future__ import annotations

from dataclasses import replace

from govdesk.domain.frames import LoadModel
from govdesk.inference import fit, formats, machine_memory, processor, threads
from govdesk.inference.fit import Fit, Kv, Machine, Settings
from govdesk.inference.gguf import GgufFacts
from govdesk.inference.manifest import Manifest

USUAL_CONTEXT_TOKENS = 4096
"""So much is given as long as it fits at all."""
MOST_CONTEXT_TOKENS = 32768
"""More takes minutes to read on any processor."""
MICRO_BATCH_TOKENS = (512, 256, 128)
"""Most first. Fewer read a prompt in more parts; they are taken where the memory of one part is context."""
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
    here = machine(more_bytes=facts.file_bytes)
    chosen = threads.choose(processor.read())
    suited = settings(facts, manifest.context_tokens, here, kv)
    return LoadModel(
        context_tokens=suited.context_tokens,
        threads=chosen.decode,
        batch_threads=chosen.batch,
        batch_tokens=suited.micro_batch_tokens,
        micro_batch_tokens=suited.micro_batch_tokens,
        kv=suited.kv,
        template=manifest.template,
        weights="own" if suited.own_weights else "mapped",
        aside_bytes=aside_bytes(facts, suited, here),
    )


def machine(more_bytes: int = 0, read_bytes_per_second: float | None = None) -> Machine:
    """This machine now.

    Args:
        more_bytes: what is in use now and will be free: a copy that was made already, a model that goes.
        read_bytes_per_second: what was measured of it.
    """
    memory = machine_memory.read()
    return Machine(
        memory.total_bytes,
        min(memory.total_bytes, memory.free_bytes + more_bytes),
        formats.repacked_formats(formats.this_cpu()),
        read_bytes_per_second,
    )


def judge(facts: GgufFacts, context_tokens: int, here: Machine, kv: Kv = "f16") -> Fit:
    """Whether a model fits as it would be loaded: what is said before loading, and what refuses it then.

    Args:
        facts: the model's.
        context_tokens: the most that its manifest allows.
        here: with all that may be used, the model's own weights included.
        kv: as wanted.
    """
    return fit.judge(facts, settings(facts, context_tokens, here, kv), here)


def loaded_as(order: LoadModel) -> Settings:
    """The settings that an order stands for."""
    return Settings(
        order.context_tokens, order.kv, order.micro_batch_tokens, own_weights=order.weights == "own"
    )


def settings(facts: GgufFacts, context_tokens: int, here: Machine, kv: Kv = "f16") -> Settings:
    """Context, keys and values, micro-batch, and where the weights are.

    Args:
        facts: the model's.
        context_tokens: the most that its manifest allows.
        here: with all that may be used, the model's own weights included.
        kv: wanted; what the model cannot have is not given.
    """
    kept = kv if fit.kv_possible(facts, kv) else "f16"
    most = Settings(min(MOST_CONTEXT_TOKENS, context_tokens), kept)
    enough = min(USUAL_CONTEXT_TOKENS, most.context_tokens, facts.context_tokens)
    suited = replace(most, context_tokens=0)
    for tokens in MICRO_BATCH_TOKENS:
        tried = replace(most, micro_batch_tokens=tokens)
        found = replace(tried, context_tokens=_context(facts, here, tried))
        suited = max(suited, found, key=lambda one: one.context_tokens)
        if suited.context_tokens >= enough // fit.CELLS * fit.CELLS:
            break
    if not suited.context_tokens:
        least = min(fit.LEAST_CONTEXT_TOKENS, context_tokens)
        return replace(suited, context_tokens=least, micro_batch_tokens=MICRO_BATCH_TOKENS[-1])
    own = replace(suited, own_weights=True)
    return own if fit.memory(facts, own, here.repacked).peak <= here.free_bytes else suited


def _context(facts: GgufFacts, here: Machine, most: Settings) -> int:
    """The usual as long as it fits at all, and more where much is free; 0 when there is no room."""
    least = replace(most, context_tokens=fit.LEAST_CONTEXT_TOKENS)
    beside = max(0, here.free_bytes - fit.memory(facts, least, here.repacked).total)
    room = here.free_bytes - beside + beside // _FOR_MORE
    usual = replace(most, context_tokens=min(USUAL_CONTEXT_TOKENS, most.context_tokens))
    roomy = fit.largest_context(facts, room, most, here.repacked)
    return max(roomy, fit.largest_context(facts, here.free_bytes, usual, here.repacked))


def aside_bytes(facts: GgufFacts, suited: Settings, here: Machine) -> int:
    """For conversations that the context has no place for: a part of what stays free."""
    left = here.free_bytes - fit.memory(facts, suited, here.repacked).total
    return min(_MOST_ASIDE_BYTES, max(_LEAST_ASIDE_BYTES, left // _FOR_ASIDE))
