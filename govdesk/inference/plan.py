"""How a model is to be loaded on this machine now: context, threads, batches."""

from __future__ import annotations

from govdesk.domain.frames import LoadModel
from govdesk.inference import processor, threads
from govdesk.inference.manifest import Manifest

DEFAULT_CONTEXT_TOKENS = 4096


def default_plan(manifest: Manifest) -> LoadModel:
    """What suits before anything was measured here."""
    context = min(DEFAULT_CONTEXT_TOKENS, manifest.context_tokens)
    chosen = threads.choose(processor.read())
    return LoadModel(
        context_tokens=context,
        threads=chosen.decode,
        batch_threads=chosen.batch,
        template=manifest.template,
    )
