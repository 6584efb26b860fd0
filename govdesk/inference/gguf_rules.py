"""What a GGUF's values must be for native code not to fail on them: hyperparameters and vocabulary.

llama.cpp answers most nonsense with a refusal, but some of it with an abort, a division by zero or an
exception that nothing catches. Each rule here stands for one of those; they hold for the architectures in
`ARCHITECTURES`, and no other is let through.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass

from govdesk.inference.gguf_reading import Array, Kind, Structure, TensorInfo, refused

ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma3", "phi3", "deepseek2", "gpt-oss")
"""Each has a tiny model in the tests, which the real worker loads; the list grows with them."""
TOKENS = "tokenizer.ggml.tokens"
TOKENIZERS = ("llama", "gpt2")
MAX_LAYERS = 512
MAX_EXPERTS = 1024
MAX_HEADS = 1024
MAX_WIDTH = 2**20
MAX_CONTEXT_TOKENS = 2**24
MAX_VOCABULARY = 2**20
_ROPE_SCALINGS = (b"none", b"linear", b"yarn", b"longrope")
_SWA_PATTERNS = {"gemma3": 6, "gpt-oss": 2}
"""Every how manyth layer sees everything, where the file does not say."""
_ROPE_OF_WHOLE_HEADS = frozenset({"llama", "qwen2", "qwen3", "gpt-oss"})
_HEADS_MAKE_EMBEDDING = frozenset({"qwen2", "phi3"})
_GATINGS = (0, 1, 2)
_WHOLE = frozenset({Kind.UINT32, Kind.INT32})
_SPECIALS = ("bos", "eos", "eot", "eom", "unknown", "seperator", "padding", "mask")
_BYTES = tuple(b"<0x%02X>" % byte for byte in range(256))


@dataclass(frozen=True, slots=True)
class Shape:
    """The model's measures."""

    layers: int
    embedding: int
    heads: int
    heads_kv: int
    key_length: int
    value_length: int
    feed_forward: int
    context_tokens: int
    rope_dimension: int
    rope_base: float
    experts: int
    experts_used: int
    expert_feed_forward: int
    sliding_window: int
    """0: every layer sees everything."""
    full_layers: int
    """Layers that see everything."""
    latent: bool
    """Multi-head latent attention: one compressed key for all heads, and no values."""


class _Hyper:
    """Typed access to one architecture's keys."""

    def __init__(self, structure: Structure, architecture: str, name: str) -> None:
        self._keys = structure.keys
        self._architecture = architecture
        self._name = name

    def wrong(self, key: str, why: str) -> Exception:
        return refused(self._name, f"says that {self._architecture}.{key} {why}", "gguf.hyperparameter")

    def has(self, key: str) -> bool:
        return f"{self._architecture}.{key}" in self._keys

    def whole(self, key: str, low: int, high: int, default: int | None = None) -> int:
        found = self._keys.get(f"{self._architecture}.{key}")
        if found is None:
            if default is None:
                raise self.wrong(key, "is not there")
            return default
        if found.kind is not Kind.UINT32 or not isinstance(found.value, int):
            raise self.wrong(key, "is no 32-bit whole number")
        if not low <= found.value <= high:
            raise self.wrong(key, f"is {found.value}, not {low} to {high}")
        return found.value

    def same_for_all(self, key: str, low: int, high: int, layers: int, default: int | None = None) -> int:
        """A number, or one per layer that is the same in all."""
        found = self._keys.get(f"{self._architecture}.{key}")
        if found is None or not isinstance(found.value, Array):
            return self.whole(key, low, high, default)
        numbers = found.value.numbers
        if numbers is None or found.value.kind not in _WHOLE or len(numbers) != layers:
            raise self.wrong(key, f"is no list of {layers} whole numbers")
        if len(set(numbers)) != 1:
            raise self.wrong(key, "differs between layers")
        if not low <= numbers[0] <= high:
            raise self.wrong(key, f"is {numbers[0]}, not {low} to {high}")
        return int(numbers[0])

    def real(self, key: str, low: float, high: float, default: float) -> float:
        found = self._keys.get(f"{self._architecture}.{key}")
        if found is None:
            return default
        if found.kind is not Kind.FLOAT32 or not isinstance(found.value, float):
            raise self.wrong(key, "is no 32-bit real number")
        if not math.isfinite(found.value) or not low <= found.value <= high:
            raise self.wrong(key, f"is {found.value}, not {low} to {high}")
        return found.value

    def truth(self, key: str, default: bool) -> bool:
        found = self._keys.get(f"{self._architecture}.{key}")
        if found is None:
            return default
        if found.kind is not Kind.BOOL:
            raise self.wrong(key, "is neither true nor false")
        return bool(found.value)

    def text(self, key: str, allowed: tuple[bytes, ...]) -> None:
        found = self._keys.get(f"{self._architecture}.{key}")
        if found is not None and (found.kind is not Kind.STRING or found.value not in allowed):
            raise self.wrong(key, "is a word that is not known")

    def array(self, key: str) -> Array | None:
        found = self._keys.get(f"{self._architecture}.{key}")
        return found.value if found is not None and isinstance(found.value, Array) else None


def measures(structure: Structure, architecture: str, name: str) -> Shape:
    """The hyperparameters, each in its range and all of them together possible.

    Raises:
        ModelError: one is missing, of another type, out of range, or does not go with the others.
    """
    hyper = _Hyper(structure, architecture, name)
    layers = hyper.whole("block_count", 1, MAX_LAYERS)
    hyper.whole("nextn_predict_layers", 0, layers - 1, 0)
    embedding = hyper.whole("embedding_length", 1, MAX_WIDTH)
    heads = hyper.same_for_all("attention.head_count", 1, MAX_HEADS, layers)
    heads_kv = hyper.same_for_all("attention.head_count_kv", 1, MAX_HEADS, layers, heads)
    if heads % heads_kv:
        raise hyper.wrong("attention.head_count", f"is {heads}, which {heads_kv} do not divide")
    if not hyper.has("attention.key_length") and embedding % heads:
        raise hyper.wrong("attention.head_count", f"is {heads}, which does not divide {embedding}")
    key = hyper.whole("attention.key_length", 1, MAX_WIDTH, embedding // heads)
    value = hyper.whole("attention.value_length", 1, MAX_WIDTH, embedding // heads)
    rope = hyper.whole("rope.dimension_count", 2, MAX_WIDTH, key)
    hyper.text("rope.scaling.type", _ROPE_SCALINGS)
    _plain_attention(hyper, architecture, embedding, heads, key, value, rope)
    latent = architecture == "deepseek2" and _latent(hyper, heads_kv, key, value, rope)
    experts, used, expert_width = _experts(hyper, architecture, layers)
    window, full = _window(hyper, architecture, layers)
    return Shape(
        layers=layers,
        embedding=embedding,
        heads=heads,
        heads_kv=heads_kv,
        key_length=key,
        value_length=value,
        feed_forward=hyper.same_for_all("feed_forward_length", 1, MAX_WIDTH, layers),
        context_tokens=hyper.whole("context_length", 1, MAX_CONTEXT_TOKENS),
        rope_dimension=rope,
        rope_base=hyper.real("rope.freq_base", 1.0, 1e12, 10000.0),
        experts=experts,
        experts_used=used,
        expert_feed_forward=expert_width,
        sliding_window=window,
        full_layers=full,
        latent=latent,
    )


def _plain_attention(
    hyper: _Hyper, architecture: str, embedding: int, heads: int, key: int, value: int, rope: int
) -> None:
    hyper.real("attention.layer_norm_rms_epsilon", 0.0, 1.0, 0.0)
    if not hyper.has("attention.layer_norm_rms_epsilon"):
        raise hyper.wrong("attention.layer_norm_rms_epsilon", "is not there")
    hyper.real("rope.scaling.factor", 0.0, 1e6, 1.0)
    hyper.real("rope.scale_linear", 0.0, 1e6, 1.0)
    hyper.real("rope.freq_base_swa", 1.0, 1e12, 10000.0)
    for factor in ("yarn_ext_factor", "yarn_attn_factor", "yarn_beta_fast", "yarn_beta_slow", "attn_factor"):
        hyper.real(f"rope.scaling.{factor}", 0.0, 1e6, 1.0)
    hyper.real("rope.scaling.alpha", 0.0, 1e6, 1.0)
    hyper.real("rope.scaling.yarn_log_multiplier", -1e6, 1e6, 1.0)
    hyper.whole("rope.scaling.original_context_length", 1, MAX_CONTEXT_TOKENS, 1)
    for softcapping in ("final_logit_softcapping", "attn_logit_softcapping"):
        hyper.real(softcapping, 0.0, 1e6, 0.0)
    if not hyper.truth("attention.causal", default=True) or hyper.whole("pooling_type", 0, 4, 0):
        raise hyper.wrong("attention.causal", "is false or the model pools: it makes no text")
    for key_of_others in (
        "attention.temperature_scale",
        "attention.temperature_length",
        "attention.key_length_swa",
        "attention.value_length_swa",
        "rope.dimension_count_swa",
        "rope.dimension_sections",
        "embedding_length_out",
        "adapters.count",
    ):
        if hyper.has(key_of_others):
            raise hyper.wrong(key_of_others, "is there, and no known model of this architecture has it")
    if rope % 2 or rope > key:
        raise hyper.wrong("rope.dimension_count", f"is {rope} for keys of {key}")
    if architecture in _ROPE_OF_WHOLE_HEADS and rope != key:
        raise hyper.wrong("rope.dimension_count", f"is {rope}, not the keys' {key}")
    if architecture != "deepseek2" and key != value:
        raise hyper.wrong("attention.value_length", f"is {value}, not the keys' {key}")
    if architecture in _HEADS_MAKE_EMBEDDING and heads * key != embedding:
        raise hyper.wrong("attention.head_count", f"times {key} is not the embedding's {embedding}")


def _latent(hyper: _Hyper, heads_kv: int, key: int, value: int, rope: int) -> bool:
    """DeepSeek's attention: with compressed keys, or in the older files with plain ones."""
    rank = hyper.whole("attention.kv_lora_rank", 1, MAX_WIDTH)
    hyper.whole("attention.q_lora_rank", 0, MAX_WIDTH, 0)
    key_mla = hyper.whole("attention.key_length_mla", 0, MAX_WIDTH, 0)
    value_mla = hyper.whole("attention.value_length_mla", 0, MAX_WIDTH, 0)
    if not key_mla and not value_mla:
        if key <= rope:
            raise hyper.wrong("attention.key_length", f"is {key}, no more than the rope's {rope}")
        return False
    if not key_mla or not value_mla or key_mla <= rope:
        raise hyper.wrong("attention.key_length_mla", f"is {key_mla}, with {value_mla} and a rope of {rope}")
    if heads_kv != 1 or key != rank + rope or value != rank:
        raise hyper.wrong("attention.kv_lora_rank", f"is {rank} with keys of {key} and {heads_kv} heads")
    return True


def _experts(hyper: _Hyper, architecture: str, layers: int) -> tuple[int, int, int]:
    dense = architecture not in {"llama", "deepseek2", "gpt-oss"}
    most = 0 if dense else MAX_EXPERTS
    least = 1 if architecture in {"deepseek2", "gpt-oss"} else 0
    experts = hyper.whole("expert_count", least, most, None if least else 0)
    used = hyper.same_for_all("expert_used_count", min(experts, 1), experts, layers, None if experts else 0)
    hyper.whole("leading_dense_block_count", 0, layers, 0)
    hyper.whole("expert_shared_count", 0, MAX_EXPERTS, 0)
    hyper.real("expert_weights_scale", -1e6, 1e6, 1.0)
    if hyper.whole("expert_gating_func", 0, max(_GATINGS), 0) not in _GATINGS:
        raise hyper.wrong("expert_gating_func", "is not known")
    groups = hyper.whole("expert_group_count", 0, max(0, experts - 1), 0)
    group_used = hyper.whole("expert_group_used_count", 0, MAX_EXPERTS, 0)
    if groups > 1 and (experts % groups or not 0 < group_used < groups):
        raise hyper.wrong("expert_group_count", f"is {groups} for {experts} experts, {group_used} used")
    needs_width = None if least else 0
    width = hyper.same_for_all("expert_feed_forward_length", least, MAX_WIDTH, layers, needs_width)
    return experts, used, width


def _window(hyper: _Hyper, architecture: str, layers: int) -> tuple[int, int]:
    """The sliding window, and how many layers see everything all the same."""
    default_pattern = _SWA_PATTERNS.get(architecture)
    if default_pattern is None:
        return 0, layers
    least = 1 if architecture == "gpt-oss" else 0
    window = hyper.whole("attention.sliding_window", least, MAX_CONTEXT_TOKENS, None if least else 0)
    if not window:
        return 0, layers
    pattern = hyper.array("attention.sliding_window_pattern")
    if pattern is None:
        every = hyper.whole("attention.sliding_window_pattern", 0, MAX_LAYERS, default_pattern)
        full = sum(every > 0 and layer % every == every - 1 for layer in range(layers))
    elif pattern.length > layers or pattern.kind not in _WHOLE | {Kind.BOOL}:
        raise hyper.wrong("attention.sliding_window_pattern", f"is no list for {layers} layers")
    else:
        full = layers - sum(1 for slides in pattern.numbers or () if slides)
    if full == layers:
        raise hyper.wrong("attention.sliding_window_pattern", "lets no layer slide, and there is a window")
    return window, full


def weights(tensors: tuple[TensorInfo, ...], name: str) -> None:
    """Small tensors are in the one format that native code adds and multiplies.

    Raises:
        ModelError: a norm or a bias is in a format for matrices.
    """
    for tensor in tensors:
        small = len(tensor.shape) == 1 or tensor.name.endswith((".bias", "_norm.weight"))
        if small and tensor.block.name != "F32":
            raise refused(name, f"has {tensor.name} as {tensor.block.name}, not F32", "gguf.tensor-type")


def vocabulary(structure: Structure, name: str) -> tuple[int, str, str]:
    """The number of tokens, the tokenizer and its pre-tokenizer; the lists agree and special ids are inside.

    Raises:
        ModelError: not so.
    """
    model = _word(structure, "tokenizer.ggml.model", name)
    pre = _word(structure, "tokenizer.ggml.pre", name) if "tokenizer.ggml.pre" in structure.keys else ""
    if model not in TOKENIZERS:
        raise refused(name, "has a tokenizer that is not known", "gguf.tokenizer")
    tokens = _list(structure, TOKENS, (Kind.STRING,), name)
    if tokens is None or not 0 < tokens.length <= MAX_VOCABULARY:
        raise refused(name, "has no vocabulary, or one of a size that cannot be", "gguf.tokenizer")
    _distinct(tokens.strings, model, name)
    scores = _list(structure, "tokenizer.ggml.scores", (Kind.FLOAT32, Kind.INT32), name)
    types = _list(structure, "tokenizer.ggml.token_type", (Kind.INT32,), name)
    merges = _list(structure, "tokenizer.ggml.merges", (Kind.STRING,), name)
    for what, found in (("scores", scores), ("types", types)):
        if found is not None and found.length != tokens.length:
            raise refused(name, f"has {found.length} {what} for {tokens.length} tokens", "gguf.tokenizer")
    if scores is not None and isinstance(scores.numbers, array) and not _finite(scores):
        raise refused(name, "has scores of tokens that are no numbers", "gguf.tokenizer")
    if model == "gpt2" and merges is None:
        raise refused(name, "has no merges for its vocabulary", "gguf.tokenizer")
    if model == "llama" and scores is None:
        raise refused(name, "has no scores for its vocabulary", "gguf.tokenizer")
    _special_tokens(structure, tokens.length, name)
    return tokens.length, model, pre


def _finite(scores: Array) -> bool:
    return scores.numbers is not None and all(map(math.isfinite, scores.numbers))


def _distinct(tokens: tuple[bytes, ...], model: str, name: str) -> None:
    """No token twice as native code sees them: to their first zero byte, and an empty one by its place."""
    together = b"\n".join(tokens)
    try:
        together.decode("utf-8")
    except UnicodeDecodeError:
        raise refused(name, "has tokens that are no text", "gguf.tokenizer") from None
    distinct = set(tokens)
    if b"" in distinct or b"\0" in together:
        distinct = {token.split(b"\0", 1)[0] or b"[EMPTY_%d]" % place for place, token in enumerate(tokens)}
    if len(distinct) != len(tokens):
        raise refused(name, "has a token twice", "gguf.tokenizer")
    if model == "llama" and not distinct.issuperset(_BYTES):
        raise refused(
            name, "has no token for each byte, so that not every text can be read", "gguf.tokenizer"
        )


def _special_tokens(structure: Structure, tokens: int, name: str) -> None:
    for special in _SPECIALS:
        key = f"tokenizer.ggml.{special}_token_id"
        found = structure.keys.get(key)
        if found is None:
            continue
        if found.kind is not Kind.UINT32 or not isinstance(found.value, int) or found.value >= tokens:
            raise refused(name, f"has {key} outside its vocabulary", "gguf.special-token")
    for special in ("bos", "eos", "sep"):
        key = f"tokenizer.ggml.add_{special}_token"
        found = structure.keys.get(key)
        if found is not None and found.kind is not Kind.BOOL:
            raise refused(name, f"has {key}, which is neither true nor false", "gguf.special-token")


def _word(structure: Structure, key: str, name: str) -> str:
    found = structure.keys.get(key)
    if found is None or found.kind is not Kind.STRING or not isinstance(found.value, bytes):
        raise refused(name, f"does not say its {key}", "gguf.tokenizer")
    if not found.value.isascii() or len(found.value) > 64 or b"\0" in found.value:
        raise refused(name, f"has a {key} that is no name", "gguf.tokenizer")
    return found.value.decode("ascii")


def _list(structure: Structure, key: str, kinds: tuple[Kind, ...], name: str) -> Array | None:
    found = structure.keys.get(key)
    if found is None:
        return None
    if not isinstance(found.value, Array) or found.value.kind not in kinds:
        raise refused(name, f"has {key} with elements of another type", "gguf.tokenizer")
    return found.value
