"""What fits: more of anything needs more, limits are kept exactly, and the words say it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govdesk.inference import fit
from govdesk.inference.fit import Machine, Settings
from govdesk.inference.gguf import FormatUse, GgufFacts
from govdesk.inference.gguf_rules import Shape

GB = 2**30
SHAPE = Shape(
    layers=32,
    embedding=4096,
    heads=32,
    heads_kv=8,
    key_length=128,
    value_length=128,
    feed_forward=14336,
    context_tokens=32768,
    rope_dimension=128,
    rope_base=500000.0,
    experts=0,
    experts_used=0,
    expert_feed_forward=0,
    sliding_window=0,
    full_layers=32,
    latent=False,
)
FACTS = GgufFacts(
    architecture="llama",
    name="Eight billion",
    file_type=2,
    formats=(FormatUse("Q4_0", 224, 4 * GB, 4 * GB), FormatUse("Q6_K", 2, GB // 2, GB // 4)),
    shape=SHAPE,
    vocabulary=128_256,
    tokenizer="gpt2",
    pre_tokenizer="llama-bpe",
    chat_template=None,
    template_sha384="",
    parameters=8 * 10**9,
    weights_bytes=4 * GB + GB // 2,
    token_table_bytes=GB // 4,
    tied=False,
    expert_bytes=0,
    parts=1,
    file_bytes=4 * GB + GB // 2,
    trailing_bytes=0,
)


def shaped(**changes: object) -> GgufFacts:
    return replace(FACTS, shape=replace(SHAPE, **changes))  # type: ignore[arg-type]


def test_keys_and_values_are_counted_exactly() -> None:
    kv = fit.memory(FACTS, Settings(8192)).kv
    assert kv == 8192 * 32 * 8 * (128 + 128) * 2 == GB
    assert fit.memory(FACTS, Settings(8192, "q8_0")).kv == kv * 34 // 64
    assert fit.memory(FACTS, Settings(8000)).kv == kv * 8192 // 8192  # contexts come in whole cells
    assert fit.memory(FACTS, Settings(257)).kv == kv * 512 // 8192


def test_a_sliding_window_saves_only_where_it_is_used() -> None:
    facts = shaped(sliding_window=1024, full_layers=8)
    whole = fit.memory(facts, Settings(16384)).kv
    window = fit.memory(facts, Settings(16384, micro_batch_tokens=512, whole_window=False)).kv
    assert whole == 2 * GB
    assert window == whole * (8 * 16384 + 24 * 1536) // (32 * 16384)


def test_latent_attention_keeps_one_key_and_no_values() -> None:
    facts = shaped(latent=True, heads_kv=1, key_length=576, value_length=512)
    assert fit.memory(facts, Settings(8192)).kv == 8192 * 32 * 576 * 2


def test_a_copy_in_another_order_is_extra_and_the_file_counts_once() -> None:
    plain, copied = fit.memory(FACTS, Settings(4096)), fit.memory(FACTS, Settings(4096), frozenset({"Q4_0"}))
    assert plain.weights == copied.weights == FACTS.file_bytes
    assert copied.total - plain.total == copied.repacked == 4 * GB


def plain(facts: GgufFacts) -> GgufFacts:
    """The same with all weights in Q8_0."""
    return replace(facts, formats=(FormatUse("Q8_0", 226, facts.weights_bytes, facts.weights_bytes),))


def test_a_token_is_multiplied_with_few_experts_and_looked_up_in_its_table() -> None:
    facts = plain(FACTS)
    assert fit.work_per_token(facts) == facts.weights_bytes - facts.token_table_bytes
    assert fit.work_per_token(replace(facts, tied=True)) == facts.weights_bytes
    mixed = replace(facts, expert_bytes=4 * GB, shape=replace(SHAPE, experts=8, experts_used=2))
    assert fit.work_per_token(mixed) == GB // 2 - GB // 4 + GB


def test_what_was_measured_of_one_model_says_what_another_will_do() -> None:
    """Bare loops over SmolLM2 135M on a quiet machine with two cores: tokens/s by format."""
    table, rest = 30_081_024, 140_544
    measured = {"Q8_0": (112_803_840, 100), "Q4_1": (66_355_200, 82), "Q4_0": (59_719_680, 124)}
    measured |= {"IQ4_NL": (59_719_680, 117), "F16": (212_336_640, 75)}

    def of(name: str, matrices: int) -> GgufFacts:
        table_format = ("F16", table * 32 // 17) if name == "F16" else ("Q8_0", table)
        parts = [(name, matrices), table_format, ("F32", rest)]
        uses = tuple(FormatUse(part, 1, size, 0) for part, size in parts)
        return replace(FACTS, formats=uses, weights_bytes=sum(use.bytes for use in uses), tied=True)

    rate = fit.reading_rate(of("Q8_0", measured["Q8_0"][0]), measured["Q8_0"][1])
    for name, (matrices, tokens_per_second) in measured.items():
        machine = Machine(16 * GB, 16 * GB, read_bytes_per_second=rate)
        expected = fit.judge(of(name, matrices), Settings(512), machine).tokens_per_second
        assert expected == pytest.approx(tokens_per_second, rel=0.15), name


@pytest.mark.parametrize(
    ("machine", "verdict", "words"),
    [
        (Machine(16 * GB, 9 * GB), "fits", "fits"),
        (Machine(16 * GB, 9 * GB, read_bytes_per_second=100.0 * GB), "fits", "fits"),
        (Machine(16 * GB, 9 * GB, read_bytes_per_second=12.75 * GB), "slow", "slow: about 3 tokens/s"),
        (Machine(16 * GB, 9 * GB, read_bytes_per_second=4.3 * GB), "slow", "slow: about 1 token/s"),
        (Machine(16 * GB, 9 * GB, read_bytes_per_second=GB), "slow", "slow: less than 1 token/s"),
        (
            Machine(16 * GB, 2 * GB),
            "too-large-now",
            "will not fit now: needs 5.2 GB, and 2.0 GB of 16 GB are free",
        ),
        (Machine(4 * GB, 2 * GB), "too-large", "will not fit: needs 5.2 GB of 4.0 GB"),
        (
            Machine(8 * GB, 8 * GB, frozenset({"Q4_0"})),
            "too-large",
            "will not fit: needs 9.2 GB of 8.0 GB",
        ),
    ],
)
def test_the_words(machine: Machine, verdict: str, words: str) -> None:
    found = fit.judge(plain(FACTS) if machine.repacked == frozenset() else FACTS, Settings(4096), machine)
    assert (found.verdict, found.words) == (verdict, words)
    assert found.loads == (verdict in {"fits", "slow"})


@given(st.integers(0, 20 * GB), st.integers(1, 100_000), st.sampled_from(["f16", "q8_0"]))
def test_the_largest_context_fits_and_the_next_one_does_not(free: int, wanted: int, kv: fit.Kv) -> None:
    found = fit.largest_context(FACTS, free, Settings(wanted, kv))
    most = min(wanted, FACTS.context_tokens)
    assert 0 <= found <= most
    if found:
        assert fit.memory(FACTS, Settings(found, kv)).total <= free
    if found < most:
        more = min(most, max(found + fit.CELLS, fit.LEAST_CONTEXT_TOKENS))
        assert fit.memory(FACTS, Settings(more, kv)).total > free


@given(st.integers(1, 60_000), st.integers(1, 60_000), st.integers(1, 2048), st.integers(1, 2048))
def test_more_context_and_larger_batches_never_need_less(a: int, b: int, u: int, v: int) -> None:
    small, large = Settings(min(a, b), "f16", min(u, v)), Settings(max(a, b), "f16", max(u, v))
    assert fit.memory(FACTS, small).total <= fit.memory(FACTS, large).total


def test_blocks_of_the_kv_cache_must_divide_the_heads() -> None:
    assert fit.kv_possible(FACTS, "q8_0")
    assert not fit.kv_possible(shaped(key_length=80, value_length=80), "q8_0")
    assert fit.kv_possible(shaped(key_length=80, value_length=80), "f16")


def test_weights_of_its_own_need_the_copy_while_they_are_loaded_and_no_repacked_ones() -> None:
    repacked = frozenset({"Q4_0"})
    mapped, own = (fit.memory(FACTS, Settings(4096, own_weights=own), repacked) for own in (False, True))
    assert mapped.repacked > 0 == own.repacked and mapped.peak == mapped.total
    assert own.total == mapped.total - mapped.repacked
    assert own.peak == own.total + FACTS.file_bytes
