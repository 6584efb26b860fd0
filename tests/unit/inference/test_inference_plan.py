"""How a model is loaded follows from the model and from the memory that is free."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govdesk import config
from govdesk.inference import fit, machine_memory, plan
from govdesk.inference.fit import Settings
from govdesk.inference.machine_memory import MachineMemory
from tests.unit.inference.test_inference_fit import shaped
from tests.unit.inference.workers import small_model
from tests.worker_memory import facts_of

GB = 2**30
FACTS = facts_of(config.MODELS / "smollm2-135m-instruct.gguf")
NOTHING: frozenset[str] = frozenset()


def test_the_plan_reads_with_every_core(tmp_path: Path) -> None:
    order = plan.default_plan(small_model(tmp_path).manifest, FACTS)
    assert order.batch_threads >= order.threads >= 1


@pytest.mark.parametrize(
    ("free", "context", "weights"),
    [(16 * GB, 8192, "own"), (GB // 4, 4096, "mapped"), (GB // 32, 512, "mapped")],
)
def test_what_is_free_decides(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, context: int, weights: str
) -> None:
    monkeypatch.setattr(machine_memory, "read", lambda: MachineMemory(32 * GB, free))
    order = plan.default_plan(small_model(tmp_path, context_tokens=8192).manifest, FACTS)
    assert order.weights == weights
    if context == 512:
        assert 512 <= order.context_tokens < 4096
    else:
        assert order.context_tokens == context
    assert 0 < order.aside_bytes <= max(free // 8, 32 * 2**20)


@given(st.integers(0, 4 * GB), st.integers(512, 100_000), st.sampled_from(["f16", "q8_0"]))
def test_what_is_planned_fits_where_anything_does(room: int, allowed: int, kv: fit.Kv) -> None:
    suited = plan.settings(FACTS, allowed, room, NOTHING, kv)
    assert suited.context_tokens <= max(allowed, fit.LEAST_CONTEXT_TOKENS)
    if room >= fit.memory(FACTS, Settings(512, kv), NOTHING).total:
        assert fit.memory(FACTS, suited, NOTHING).peak <= room
    else:
        assert not suited.own_weights


def test_keys_that_cannot_be_kept_smaller_are_kept_whole() -> None:
    assert plan.settings(FACTS, 4096, 8 * GB, NOTHING, "q8_0").kv == "q8_0"
    facts = shaped(key_length=80, value_length=80)
    assert plan.settings(facts, 4096, 8 * GB, NOTHING, "q8_0").kv == "f16"
