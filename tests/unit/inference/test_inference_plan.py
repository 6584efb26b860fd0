"""How a model is loaded follows from the model and from the memory that is free."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govdesk import config
from govdesk.inference import fit, formats, machine_memory, plan, store
from govdesk.inference.fit import Settings
from govdesk.inference.machine_memory import MachineMemory
from tests.unit.inference.manifests import refused
from tests.unit.inference.test_inference_fit import shaped
from tests.unit.inference.workers import small_model
from tests.worker_memory import facts_of

GB = 2**30
FACTS = facts_of(config.MODELS / "smollm2-135m-instruct.gguf")
NOTHING: frozenset[str] = frozenset()


def _with(free: int) -> fit.Machine:
    return fit.Machine(32 * GB, free)


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
    suited = plan.settings(FACTS, allowed, _with(room), kv)
    assert suited.context_tokens <= max(allowed, fit.LEAST_CONTEXT_TOKENS)
    if room >= fit.memory(FACTS, Settings(512, kv), NOTHING).total:
        assert fit.memory(FACTS, suited, NOTHING).peak <= room
    else:
        assert not suited.own_weights


def test_keys_that_cannot_be_kept_smaller_are_kept_whole() -> None:
    assert plan.settings(FACTS, 4096, _with(8 * GB), "q8_0").kv == "q8_0"
    facts = shaped(key_length=80, value_length=80)
    assert plan.settings(facts, 4096, _with(8 * GB), "q8_0").kv == "f16"


def test_a_prompt_is_read_in_smaller_parts_only_where_their_memory_makes_the_usual_context() -> None:
    roomy = plan.settings(FACTS, 8192, _with(8 * GB))
    assert roomy.micro_batch_tokens == plan.MICRO_BATCH_TOKENS[0]
    usual = Settings(plan.USUAL_CONTEXT_TOKENS)
    needed = [
        fit.memory(FACTS, replace(usual, micro_batch_tokens=tokens), NOTHING).total
        for tokens in plan.MICRO_BATCH_TOKENS
    ]
    assert needed == sorted(needed, reverse=True)
    for tokens, bytes_ in zip(plan.MICRO_BATCH_TOKENS, needed, strict=True):
        tight = plan.settings(FACTS, 8192, _with(bytes_))
        assert (tight.micro_batch_tokens, tight.context_tokens) == (tokens, plan.USUAL_CONTEXT_TOKENS)
    less = plan.settings(FACTS, 8192, _with(needed[-1] - 1))
    assert less.context_tokens == plan.USUAL_CONTEXT_TOKENS - fit.CELLS
    assert less.micro_batch_tokens == 256, "the largest with which so much fits"


def test_the_order_has_the_batches_that_were_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_memory, "read", lambda: MachineMemory(32 * GB, GB // 32))
    order = plan.default_plan(small_model(tmp_path, context_tokens=8192).manifest, FACTS)
    assert order.batch_tokens == order.micro_batch_tokens == 128
    assert plan.loaded_as(order).micro_batch_tokens == 128


def test_what_the_list_says_and_what_is_refused_are_one_rule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A format that is copied into the processor's order needs its size again beside a mapped file."""
    model = small_model(tmp_path, context_tokens=512)
    repacked = frozenset(use.name for use in store.open_verified(model).facts.formats)
    facts = facts_of(model.path)
    monkeypatch.setattr(formats, "repacked_formats", lambda _cpu: repacked)
    least = fit.memory(facts, Settings(512, micro_batch_tokens=128), repacked)
    assert least.repacked > 0
    for free, fits in ((least.total, True), (least.total - 1, False)):
        monkeypatch.setattr(machine_memory, "read", lambda free=free: MachineMemory(32 * GB, free))
        assert plan.judge(facts, 512, plan.machine()).loads is fits
        copied = free - facts.file_bytes  # the copy is made when it is looked at
        reads = iter([MachineMemory(32 * GB, free), MachineMemory(32 * GB, copied)])
        monkeypatch.setattr(machine_memory, "read", lambda reads=reads: next(reads))
        if fits:
            store.close_all(store.open_verified(model).descriptors)
        else:
            assert refused(lambda: store.open_verified(model)).code == "model.memory"
