"""Which model fits this machine: the memory it needs and the speed to expect, before anything is loaded.

Pure functions over what a file's facts say and what was measured of the machine. What is estimated is what
will be resident: native code reserves more (a row of logits for every token of a micro-batch) and never
touches it.

The model's bytes count once. Mapped, the sealed copy and the worker's mapping of it are the same pages, and
what a processor's kernels want in another order is copied out of them, which is extra. In the worker's own
memory they are put into that order at once, and the sealed copy goes when they are loaded; until then there
are both (`Memory.peak`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from govdesk.inference.gguf import GgufFacts

CELLS = 256
"""Contexts come in multiples of this."""
LEAST_CONTEXT_TOKENS = 512
"""Less than this is no conversation."""
SLOW_TOKENS_PER_SECOND = 8.0
"""People read about as fast; what is slower is said."""
Kv = Literal["f16", "q8_0"]
"""How keys and values are kept."""
KV_BYTES: dict[Kv, float] = {"f16": 2.0, "q8_0": 34 / 32}
"""What one number of the KV cache takes."""
QUALITY_NOTE = (
    "Halves the memory of the context; answers may differ slightly, and long prompts are read slower."
)
"""What to say where the KV cache may be `q8_0`."""
_Q8_ELEMENTS = 32
_MIB = 2**20

# Measured with the library's own allocator over models of 135M and 270M (see decision 0041).
_PROGRAM_BYTES = 30 * _MIB
_TOKEN_BYTES = {"gpt2": 375, "llama": 167}
"""Of a vocabulary, by tokenizer: tables, and merges where there are any."""
_STATE_OF_FEED_FORWARD = 3
_STATE_OF_WIDTH = 5
_GRAPH_BYTES_PER_LAYER = 128 * 1024

# From one model of 135M in each format, two threads with AVX2: what a byte takes beside a byte of Q8_0.
_WORK = {"F32": 0.7, "F16": 0.7, "BF16": 0.7, "Q8_0": 1.0, "Q4_0": 1.43, "IQ4_NL": 1.54, "Q4_1": 2.18}
_WORK_OF_OTHERS = 1.5


@dataclass(frozen=True, slots=True)
class Settings:
    """How a model would be loaded. `whole_window`: layers with a sliding window keep everything too.

    `own_weights`: in the worker's own memory, not mapped.
    """

    context_tokens: int
    kv: Kv = "f16"
    micro_batch_tokens: int = 512
    whole_window: bool = True
    own_weights: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """What it has. `repacked`: formats whose matrices its kernels keep in an order of their own.

    `read_bytes_per_second`: from `reading_rate`, of an answer that was measured; None before that.
    """

    total_bytes: int
    free_bytes: int
    repacked: frozenset[str] = frozenset()
    read_bytes_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """What will be resident, in bytes."""

    weights: int
    repacked: int
    vocabulary: int
    kv: int
    compute: int
    program: int
    copied: int
    """The sealed copy, while the worker makes its own of it."""

    @property
    def total(self) -> int:
        """All of it."""
        return self.loaded + self.program

    @property
    def loaded(self) -> int:
        """What comes with the model, without the program that was there before."""
        return self.weights + self.repacked + self.vocabulary + self.kv + self.compute

    @property
    def peak(self) -> int:
        """While it is loaded."""
        return self.total + self.copied


@dataclass(frozen=True, slots=True)
class Fit:
    """The answer: in a word, in words, and the figures behind them."""

    verdict: Literal["fits", "slow", "too-large", "too-large-now", "loaded"]
    words: str
    memory: Memory
    tokens_per_second: float | None

    @property
    def loads(self) -> bool:
        """Whether there is room for it now."""
        return self.verdict in {"fits", "slow", "loaded"}


def memory(facts: GgufFacts, settings: Settings, repacked: frozenset[str] = frozenset()) -> Memory:
    """What a model needs when it is loaded so."""
    extra = sum(use.matrix_bytes for use in facts.formats if use.name in repacked)
    return Memory(
        weights=facts.file_bytes,
        repacked=0 if settings.own_weights else extra,
        vocabulary=facts.vocabulary * _TOKEN_BYTES.get(facts.tokenizer, max(_TOKEN_BYTES.values())),
        kv=_kv(facts, settings),
        compute=_compute(facts, settings),
        program=_PROGRAM_BYTES,
        copied=facts.file_bytes if settings.own_weights else 0,
    )


def _kv(facts: GgufFacts, settings: Settings) -> int:
    """Keys and values of every layer; latent attention keeps keys alone."""
    shape = facts.shape
    per_head = shape.key_length + (0 if shape.latent else shape.value_length)
    per_token = shape.heads_kv * per_head * KV_BYTES[settings.kv]
    cells = _cells(settings.context_tokens)
    windowed = cells
    if shape.sliding_window and not settings.whole_window:
        windowed = min(cells, _cells(shape.sliding_window + settings.micro_batch_tokens))
    windowed_layers = shape.layers - shape.full_layers
    return int(per_token * (shape.full_layers * cells + windowed_layers * windowed))


def _cells(tokens: int) -> int:
    return -(-tokens // CELLS) * CELLS


def _compute(facts: GgufFacts, settings: Settings) -> int:
    """The states of one micro-batch on their way through a layer, one row of logits, and the graph."""
    shape = facts.shape
    width = max(shape.embedding, shape.heads * shape.key_length)
    inner = max(shape.feed_forward, shape.experts_used * shape.expert_feed_forward)
    states = 4 * (_STATE_OF_FEED_FORWARD * inner + _STATE_OF_WIDTH * width)
    mask = 2 * _cells(settings.context_tokens)  # which token sees which
    logits = 8 * facts.vocabulary
    return (states + mask) * settings.micro_batch_tokens + logits + _GRAPH_BYTES_PER_LAYER * shape.layers


def kv_possible(facts: GgufFacts, kv: Kv) -> bool:
    """Whether the model's keys and values can be kept in this format."""
    shape = facts.shape
    lengths = (shape.key_length, shape.key_length if shape.latent else shape.value_length)
    return kv == "f16" or (kv in KV_BYTES and all(length % _Q8_ELEMENTS == 0 for length in lengths))


def work_per_token(facts: GgufFacts) -> float:
    """What one token of an answer takes: bytes of Q8_0 that are as much work as the weights it needs.

    Of experts only those that are used. The table of tokens is only looked up, unless it is the last matrix.
    """
    shape = facts.shape
    stored = sum(use.bytes for use in facts.formats)
    work = sum(use.bytes * _WORK.get(use.name, _WORK_OF_OTHERS) for use in facts.formats)
    used = facts.weights_bytes - facts.expert_bytes
    if not facts.tied:
        used -= facts.token_table_bytes
    if shape.experts:
        used += facts.expert_bytes * shape.experts_used // shape.experts
    return work * used / stored


def reading_rate(facts: GgufFacts, tokens_per_second: float) -> float:
    """What this machine gets through, from one model's measured answer: for `Machine`."""
    return tokens_per_second * work_per_token(facts)


def largest_context(
    facts: GgufFacts, room_bytes: int, settings: Settings, repacked: frozenset[str] = frozenset()
) -> int:
    """The largest context in tokens, up to that of the settings and what the model was trained for.

    Args:
        facts: the model's.
        room_bytes: what may be used, the model's own weights included.
        settings: how it would be loaded.
        repacked: see `Machine`.

    Returns:
        0 when there is no room for `LEAST_CONTEXT_TOKENS`.
    """

    def fits(tokens: int) -> bool:
        return memory(facts, replace(settings, context_tokens=tokens), repacked).total <= room_bytes

    most = min(settings.context_tokens, facts.context_tokens)
    if most <= 0:
        return 0
    if fits(most):
        return most
    low, high = 0, most // CELLS
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle * CELLS) else (low, middle - 1)
    return low * CELLS if low * CELLS >= min(LEAST_CONTEXT_TOKENS, most) else 0


def judge(facts: GgufFacts, settings: Settings, machine: Machine) -> Fit:
    """Does it fit this machine, and how fast will it be?"""
    needed = memory(facts, settings, machine.repacked)
    reading = machine.read_bytes_per_second
    speed = None if reading is None else reading / work_per_token(facts)
    if needed.total > machine.total_bytes:
        words = f"will not fit: needs {gigabytes(needed.total)} of {gigabytes(machine.total_bytes)}"
        return Fit("too-large", words, needed, speed)
    if needed.total > machine.free_bytes:
        words = (
            f"will not fit now: needs {gigabytes(needed.total)}, and {gigabytes(machine.free_bytes)} of "
            f"{gigabytes(machine.total_bytes)} are free"
        )
        return Fit("too-large-now", words, needed, speed)
    if speed is not None and speed < SLOW_TOKENS_PER_SECOND:
        return Fit("slow", f"slow: {_speed(speed)}", needed, speed)
    return Fit("fits", "fits", needed, speed)


def loaded(facts: GgufFacts, settings: Settings, machine: Machine) -> Fit:
    """The same of a model that is loaded: there was room for it."""
    needed = memory(facts, settings, machine.repacked)
    reading = machine.read_bytes_per_second
    speed = None if reading is None else reading / work_per_token(facts)
    slow = speed is not None and speed < SLOW_TOKENS_PER_SECOND
    return Fit("loaded", f"loaded; slow: {_speed(speed)}" if slow and speed else "loaded", needed, speed)


def _speed(tokens_per_second: float) -> str:
    if tokens_per_second < 1:
        return "less than 1 token/s"
    rounded = f"{tokens_per_second:.0f}"
    return f"about {rounded} {'token' if rounded == '1' else 'tokens'}/s"


def gigabytes(size: int) -> str:
    """A size as people say it: 22 GB, 1.5 GB, 0.2 GB; what memory is sold in, 2**30 bytes."""
    size_gb = size / 2**30
    return f"{size_gb:.0f} GB" if size_gb >= 9.95 else f"{size_gb:.1f} GB"
