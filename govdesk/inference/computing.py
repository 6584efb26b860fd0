"""What a loaded model is computed with: the library's variant for this processor, flash attention.

The worker says it, so it is made plain before anybody reads it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from govdesk.domain.frames import FlashAttention, FromWorker, Loaded
from govdesk.domain.inference import ComputeCheck

_VARIANT = re.compile(r"[a-z0-9]{1,32}")
_FEATURE = re.compile(r"[A-Z0-9_]{1,32}")


@dataclass(frozen=True, slots=True)
class Computing:
    """Empty where the worker said nothing, or nothing plain."""

    variant: str = ""
    features: tuple[str, ...] = ()
    flash_attention: FlashAttention = ""


def of(untrusted: FromWorker) -> Computing:
    """What the worker says with a model that it loaded."""
    if not isinstance(untrusted, Loaded):
        return Computing()
    return Computing(
        variant=untrusted.processor if _VARIANT.fullmatch(untrusted.processor) else "",
        features=tuple(name for name in untrusted.features if _FEATURE.fullmatch(name)),
        flash_attention=untrusted.flash_attention,
    )


def findings(computing: Computing | None) -> tuple[ComputeCheck, ...]:
    """For `govdesk doctor`; nothing where no model is loaded."""
    if computing is None:
        return ()
    return (_library(computing), _attention(computing.flash_attention))


def _library(computing: Computing) -> ComputeCheck:
    match computing.variant:
        case "":
            built = "a build of llama.cpp that does not say which"
        case "native":
            built = "llama.cpp built for this processor"
        case variant:
            built = f"llama.cpp's variant {variant}, the fastest that loads here"
    used = ", ".join(computing.features) or "none that it tells"
    return ComputeCheck("compute.build", ok=True, found=f"{built}; uses {used}")


def _attention(flash: FlashAttention) -> ComputeCheck:
    found = {
        "on": "flash attention is used",
        "off": "flash attention is not used: this model, or what it computes on, does not allow it",
        "auto": "flash attention is asked for where it can be had; the library did not say what came of it",
        "": "the worker did not say whether flash attention is used",
    }[flash]
    advice = "Nothing has to be done: long conversations take more memory without it."
    return ComputeCheck("compute.attention", flash != "off", found, advice if flash == "off" else "")
