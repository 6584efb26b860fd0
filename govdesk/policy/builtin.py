"""The built-in strict policy: in force whenever no valid policy is; nothing about it can be configured."""

from __future__ import annotations

import msgspec

from govdesk import crypto
from govdesk.domain.policy import (
    ConsentText,
    GpuRule,
    InferenceRules,
    ModelRules,
    Policy,
    PolicyInForce,
    PolicySource,
    RedactionRules,
)
from govdesk.domain.redaction import Direction, Operator

EMBEDDED_MODEL_SHA384 = (
    "bf626ecbc409134f6d038867d2238570965b6754c883652d27e6c946f0dc229fbeb1ff7129eba197c91f0e10fe7316f3"
)
"""The embedded default model, SmolLM2-135M-Instruct Q8_0."""
WARNING = "no valid policy"
_BLOCKED = {"SECRET.*": Operator.BLOCK, "MARKING": Operator.BLOCK}

_POLICY = Policy(
    schema=1,
    id="built-in-strict",
    version=1,
    system_high="UNCLASSIFIED",
    consent=ConsentText(
        title="No valid policy",
        text=(
            "No valid policy of your organisation was found, so GovDesk runs under its strictest rules. "
            "Use is recorded. Do not enter classified or controlled information. "
            "Tell your administrator that the policy is missing or damaged."
        ),
    ),
    redaction={
        Direction.PROMPT.value: RedactionRules(types=_BLOCKED),
        Direction.OUTPUT.value: RedactionRules(types=_BLOCKED),
        Direction.STORAGE.value: RedactionRules(),
        Direction.LOG.value: RedactionRules(),
    },
    models=ModelRules(approved=(EMBEDDED_MODEL_SHA384,)),
    inference=InferenceRules(read_ahead=False, prompt_state_cache=False, gpu=GpuRule.OFF),
)


def strict_policy() -> PolicyInForce:
    """The built-in strict policy with its warning; its hash is over its JSON, as nothing was signed."""
    encoded = msgspec.json.encode(_POLICY, order="deterministic")
    return PolicyInForce(
        policy=_POLICY, source=PolicySource.BUILT_IN, sha384=crypto.sha384(encoded).hex(), warning=WARNING
    )
