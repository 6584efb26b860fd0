"""The small model that a manifest names to draft for its own: admitted as any model, or left out.

The large one answers the same without it, only slower: whatever stands against the small one is recorded, and
the large one is loaded alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import msgspec

from govdesk.domain.frames import LoadModel
from govdesk.domain.ids import RecordSeq
from govdesk.domain.record import Entry
from govdesk.errors import ModelError
from govdesk.inference import fit, plan, records, store
from govdesk.inference.gguf import GgufFacts
from govdesk.inference.store import Model, Opened

USED = "used"
"""What a worker says of a small model that proposes."""
_CODE = re.compile(r"draft\.[a-z-]{1,32}")


@dataclass(frozen=True, slots=True)
class Draft:
    """A small model that may go to the worker with the large one, and its files; the holder closes them."""

    model: Model
    opened: Opened


class Drafts:
    """Opens them.

    Args:
        find: the approved model that drafts for another; None: its manifest names none. Raises ModelError.
        record: makes an audit record durable.
    """

    def __init__(self, find: Callable[[Model], Model | None], record: Callable[[Entry], RecordSeq]) -> None:
        self._find = find
        self._record = record

    def open(self, model: Model, facts: GgufFacts, order: LoadModel) -> Draft | None:
        """The one for this model, if it may be used and has room beside it; recorded either way.

        Args:
            model: the large one.
            facts: what its files hold; they are open.
            order: how it is to be loaded.
        """
        try:
            found = self._find(model)
        except ModelError as error:
            self._record(records.load(model, "failure", {"draft": model.manifest.draft, "code": error.code}))
            return None
        if found is None:
            return None
        try:
            opened = store.open_verified(found)
        except ModelError as error:
            self._failed(found, model, error.code)
            return None
        try:
            if not _fit(facts, opened.facts, order):
                self._failed(found, model, "draft.memory")
                store.close_all(opened.descriptors)
                return None
            self._record(
                records.load(
                    found, "success", {"bytes": found.variant.bytes, "drafts-for": model.manifest.name}
                )
            )
        except BaseException:
            store.close_all(opened.descriptors)
            raise
        return Draft(found, opened)

    def loaded(self, draft: Draft | None, model: Model, untrusted_code: str) -> bool:
        """Hear what became of it; False when that is nothing that a worker says."""
        if draft is None:
            return not untrusted_code
        if untrusted_code == USED:
            return True
        if not _CODE.fullmatch(untrusted_code):
            return False
        self._failed(draft.model, model, untrusted_code)
        return True

    def _failed(self, draft: Model, model: Model, code: str) -> None:
        self._record(records.load(draft, "failure", {"drafts-for": model.manifest.name, "code": code}))


def with_draft(order: LoadModel, draft: Draft | None) -> LoadModel:
    """The order that goes with the descriptors of both."""
    return (
        order if draft is None else msgspec.structs.replace(order, draft_files=len(draft.opened.descriptors))
    )


def _fit(large: GgufFacts, small: GgufFacts, order: LoadModel) -> bool:
    """Whether both have room; their sealed copies are made already."""
    here, settings = plan.machine(), plan.loaded_as(order)
    beside = replace(settings, context_tokens=min(order.context_tokens, small.context_tokens), kv="f16")
    needed = order.aside_bytes
    for facts, loaded in ((large, settings), (small, beside)):
        needed += fit.memory(facts, loaded, here.repacked).peak - facts.file_bytes
    return needed <= here.free_bytes
