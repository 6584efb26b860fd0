"""Tiny models with random weights, one of each architecture: real enough that llama.cpp loads and runs them.

    tiny_bytes("qwen3")                              bytes of a GGUF
    tiny_model("llama-bpe", template="{{ … }}")      with a chat template of your own
    tiny_model("gemma3", format_=TYPE_Q8_0, seed=7)    other weights, other format
    tiny_parts("llama-spm", 3)                       the same model split into three files

They say nonsense, the same nonsense for the same seed.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from tests import gguf_files
from tests.gguf_files import TYPE_F16, File, Tensor, random_tensor

EMBEDDING, HEADS, HEADS_KV, HEAD, FEED_FORWARD, LAYERS = 64, 4, 2, 16, 96, 2
CONTEXT_TOKENS = 2048
EXPERTS, EXPERTS_USED, EXPERT_FEED_FORWARD = 4, 2, 32
KV_RANK, QUERY_RANK, ROPE, MLA_HEAD = 32, 32, 8, 16
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _BYTE = 1, 2, 3, 4, 6

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

Keys = dict[str, object]
Shapes = dict[str, tuple[int, ...]]

_CHATML = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")
_LLAMA_3 = (
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|python_tag|>",
)
_MISTRAL = ("[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[THINK]", "[/THINK]")
_GEMMA = ("<start_of_turn>", "<end_of_turn>", "<start_of_image>")
_PHI = ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|endoftext|>")
_HARMONY = (
    "<|startoftext|>",
    "<|endoftext|>",
    "<|return|>",
    "<|constrain|>",
    "<|channel|>",
    "<|start|>",
    "<|end|>",
    "<|message|>",
    "<|call|>",
)
_DEEPSEEK = (
    "<｜begin▁of▁sentence｜>",
    "<｜end▁of▁sentence｜>",
    "<｜User｜>",
    "<｜Assistant｜>",
)
_THINK = ("<think>", "</think>")
_WORDS = ("the", "and", "of", "to", "in", "is", "user", "system", "assistant", "analysis", "final", "think")


def _byte_characters() -> list[str]:
    """One printable character for each byte, as byte-level BPE writes them."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def _bpe(
    pre: str, specials: tuple[str, ...], bos: str, eos: str, *, add_bos: bool = False
) -> tuple[Keys, int]:
    tokens, merges = _byte_characters(), []
    for word in _WORDS:
        made = word[0]
        for letter in word[1:]:
            if made + letter not in tokens:
                tokens.append(made + letter)
                merges.append(f"{made} {letter}")
            made += letter
    kinds = [_NORMAL] * len(tokens) + [
        _USER_DEFINED if special in _THINK else _CONTROL for special in specials
    ]
    tokens += specials
    keys: Keys = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": merges,
        "tokenizer.ggml.bos_token_id": tokens.index(bos),
        "tokenizer.ggml.eos_token_id": tokens.index(eos),
        "tokenizer.ggml.add_bos_token": add_bos,
    }
    return keys, len(tokens)


def _spm(specials: tuple[str, ...], first: tuple[str, ...], *, eos: str = "</s>") -> tuple[Keys, int]:
    """`first`: the three or four tokens that a SentencePiece vocabulary begins with."""
    bos = "<s>" if "<s>" in first else "<bos>"
    tokens = [*first, *(f"<0x{byte:02X}>" for byte in range(256)), *specials]
    kinds = [_UNKNOWN if token == "<unk>" else _CONTROL for token in first]
    kinds += [_BYTE] * 256 + [_USER_DEFINED if special in _THINK else _CONTROL for special in specials]
    scores = [0.0] * len(tokens)
    letters = [chr(code) for code in range(33, 127)]
    for rank, piece in enumerate(["▁", *(f"▁{word}" for word in _WORDS), *letters, *_WORDS]):
        tokens.append(piece)
        kinds.append(_NORMAL)
        scores.append(-float(rank))
    keys: Keys = {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": scores,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.bos_token_id": tokens.index(bos),
        "tokenizer.ggml.eos_token_id": tokens.index(eos),
        "tokenizer.ggml.unknown_token_id": tokens.index("<unk>"),
        "tokenizer.ggml.add_bos_token": True,
    }
    return keys, len(tokens)


def _attention(*, bias: bool = False, norms: bool = False) -> Shapes:
    shapes: Shapes = {
        "attn_norm.weight": (EMBEDDING,),
        "attn_q.weight": (EMBEDDING, HEADS * HEAD),
        "attn_k.weight": (EMBEDDING, HEADS_KV * HEAD),
        "attn_v.weight": (EMBEDDING, HEADS_KV * HEAD),
        "attn_output.weight": (HEADS * HEAD, EMBEDDING),
    }
    if bias:
        shapes["attn_q.bias"] = (HEADS * HEAD,)
        shapes["attn_k.bias"] = shapes["attn_v.bias"] = (HEADS_KV * HEAD,)
    if norms:
        shapes["attn_q_norm.weight"] = shapes["attn_k_norm.weight"] = (HEAD,)
    return shapes


_DENSE: Shapes = {
    "ffn_norm.weight": (EMBEDDING,),
    "ffn_gate.weight": (EMBEDDING, FEED_FORWARD),
    "ffn_up.weight": (EMBEDDING, FEED_FORWARD),
    "ffn_down.weight": (FEED_FORWARD, EMBEDDING),
}
_EXPERTS: Shapes = {
    "ffn_gate_inp.weight": (EMBEDDING, EXPERTS),
    "ffn_gate_exps.weight": (EMBEDDING, EXPERT_FEED_FORWARD, EXPERTS),
    "ffn_up_exps.weight": (EMBEDDING, EXPERT_FEED_FORWARD, EXPERTS),
    "ffn_down_exps.weight": (EXPERT_FEED_FORWARD, EMBEDDING, EXPERTS),
}


def _base(architecture: str) -> Keys:
    return {
        "general.architecture": architecture,
        "general.name": f"Tiny {architecture}",
        f"{architecture}.context_length": CONTEXT_TOKENS,
        f"{architecture}.embedding_length": EMBEDDING,
        f"{architecture}.block_count": LAYERS,
        f"{architecture}.feed_forward_length": FEED_FORWARD,
        f"{architecture}.attention.head_count": HEADS,
        f"{architecture}.attention.head_count_kv": HEADS_KV,
        f"{architecture}.attention.layer_norm_rms_epsilon": 1e-5,
        f"{architecture}.rope.freq_base": 10000.0,
    }


def _llama(vocabulary: tuple[Keys, int]) -> tuple[Keys, int, list[Shapes]]:
    keys, size = vocabulary
    hyper = {**_base("llama"), "llama.rope.dimension_count": HEAD, "llama.vocab_size": size}
    return {**hyper, **keys}, size, [{**_attention(), **_DENSE}] * LAYERS


def _qwen2() -> tuple[Keys, int, list[Shapes]]:
    keys, size = _bpe("qwen2", _CHATML, "<|endoftext|>", "<|im_end|>")
    return {**_base("qwen2"), **keys}, size, [{**_attention(bias=True), **_DENSE}] * LAYERS


def _qwen3() -> tuple[Keys, int, list[Shapes]]:
    keys, size = _bpe("qwen2", (*_CHATML, *_THINK), "<|endoftext|>", "<|im_end|>")
    hyper = {**_base("qwen3"), "qwen3.attention.key_length": HEAD, "qwen3.attention.value_length": HEAD}
    return {**hyper, **keys}, size, [{**_attention(norms=True), **_DENSE}] * LAYERS


def _gemma3() -> tuple[Keys, int, list[Shapes]]:
    keys, size = _spm(_GEMMA, ("<pad>", "<eos>", "<bos>", "<unk>"), eos="<eos>")
    hyper = {
        **_base("gemma3"),
        "gemma3.attention.key_length": HEAD,
        "gemma3.attention.value_length": HEAD,
        "gemma3.attention.sliding_window": 64,
        "gemma3.attention.sliding_window_pattern": 2,
    }
    layer = {
        **_attention(norms=True),
        **_DENSE,
        "post_attention_norm.weight": (EMBEDDING,),
        "post_ffw_norm.weight": (EMBEDDING,),
    }
    return {**hyper, **keys}, size, [layer] * LAYERS


def _phi3(vocabulary: tuple[Keys, int], name: str) -> tuple[Keys, int, list[Shapes]]:
    """`name`: the library looks for "phi3" in it, and then for that family's own tokens."""
    keys, size = vocabulary
    hyper = {**_base("phi3"), "general.name": name, "phi3.rope.dimension_count": HEAD}
    layer = {
        "attn_norm.weight": (EMBEDDING,),
        "attn_qkv.weight": (EMBEDDING, (HEADS + 2 * HEADS_KV) * HEAD),
        "attn_output.weight": (HEADS * HEAD, EMBEDDING),
        "ffn_norm.weight": (EMBEDDING,),
        "ffn_up.weight": (EMBEDDING, 2 * FEED_FORWARD),
        "ffn_down.weight": (FEED_FORWARD, EMBEDDING),
    }
    return {**hyper, **keys}, size, [layer] * LAYERS


def _deepseek2() -> tuple[Keys, int, list[Shapes]]:
    bos, eos = _DEEPSEEK[:2]
    keys, size = _bpe("deepseek-v3", (*_DEEPSEEK, *_THINK), bos, eos, add_bos=True)
    hyper = {
        **_base("deepseek2"),
        "deepseek2.vocab_size": size,
        "deepseek2.attention.head_count_kv": 1,
        "deepseek2.leading_dense_block_count": 1,
        "deepseek2.attention.q_lora_rank": QUERY_RANK,
        "deepseek2.attention.kv_lora_rank": KV_RANK,
        "deepseek2.attention.key_length": KV_RANK + ROPE,
        "deepseek2.attention.value_length": KV_RANK,
        "deepseek2.attention.key_length_mla": MLA_HEAD,
        "deepseek2.attention.value_length_mla": MLA_HEAD,
        "deepseek2.rope.dimension_count": ROPE,
        "deepseek2.expert_count": EXPERTS,
        "deepseek2.expert_used_count": EXPERTS_USED,
        "deepseek2.expert_shared_count": 1,
        "deepseek2.expert_feed_forward_length": EXPERT_FEED_FORWARD,
        "deepseek2.expert_weights_scale": 1.0,
    }
    attention: Shapes = {
        "attn_norm.weight": (EMBEDDING,),
        "attn_q_a.weight": (EMBEDDING, QUERY_RANK),
        "attn_q_a_norm.weight": (QUERY_RANK,),
        "attn_q_b.weight": (QUERY_RANK, HEADS * MLA_HEAD),
        "attn_kv_a_mqa.weight": (EMBEDDING, KV_RANK + ROPE),
        "attn_kv_a_norm.weight": (KV_RANK,),
        "attn_k_b.weight": (MLA_HEAD - ROPE, KV_RANK, HEADS),
        "attn_v_b.weight": (KV_RANK, MLA_HEAD, HEADS),
        "attn_output.weight": (HEADS * MLA_HEAD, EMBEDDING),
    }
    shared: Shapes = {
        "ffn_norm.weight": (EMBEDDING,),
        "ffn_gate_shexp.weight": (EMBEDDING, EXPERT_FEED_FORWARD),
        "ffn_up_shexp.weight": (EMBEDDING, EXPERT_FEED_FORWARD),
        "ffn_down_shexp.weight": (EXPERT_FEED_FORWARD, EMBEDDING),
    }
    return {**hyper, **keys}, size, [{**attention, **_DENSE}, {**attention, **shared, **_EXPERTS}]


def _gpt_oss() -> tuple[Keys, int, list[Shapes]]:
    keys, size = _bpe("gpt-4o", _HARMONY, "<|startoftext|>", "<|return|>")
    hyper = {
        **_base("gpt-oss"),
        "gpt-oss.attention.key_length": HEAD,
        "gpt-oss.attention.value_length": HEAD,
        "gpt-oss.attention.sliding_window": 64,
        "gpt-oss.expert_count": EXPERTS,
        "gpt-oss.expert_used_count": EXPERTS_USED,
        "gpt-oss.expert_feed_forward_length": EXPERT_FEED_FORWARD,
    }
    layer = {
        **_attention(bias=True),
        **_EXPERTS,
        "post_attention_norm.weight": (EMBEDDING,),
        "attn_output.bias": (EMBEDDING,),
        "attn_sinks.weight": (HEADS,),
        "ffn_gate_inp.bias": (EXPERTS,),
        "ffn_gate_exps.bias": (EXPERT_FEED_FORWARD, EXPERTS),
        "ffn_up_exps.bias": (EXPERT_FEED_FORWARD, EXPERTS),
        "ffn_down_exps.bias": (EMBEDDING, EXPERTS),
    }
    return {**hyper, **keys}, size, [layer] * LAYERS


_SPM_FIRST = ("<unk>", "<s>", "</s>")
_MAKERS: dict[str, Callable[[], tuple[Keys, int, list[Shapes]]]] = {
    "llama-spm": lambda: _llama(_spm(_CHATML, _SPM_FIRST)),
    "llama-bpe": lambda: _llama(_bpe("llama-bpe", _LLAMA_3, "<|begin_of_text|>", "<|eot_id|>", add_bos=True)),
    "mistral": lambda: _llama(_spm(_MISTRAL, _SPM_FIRST)),
    "qwen2": _qwen2,
    "qwen3": _qwen3,
    "gemma3": _gemma3,
    "phi3": lambda: _phi3(_spm(_PHI, _SPM_FIRST, eos="<|endoftext|>"), "Tiny phi3"),
    "phi4": lambda: _phi3(_bpe("dbrx", (*_CHATML, "<|im_sep|>"), "<|endoftext|>", "<|im_end|>"), "Tiny phi4"),
    "deepseek2": _deepseek2,
    "gpt-oss": _gpt_oss,
}
KINDS = tuple(_MAKERS)
"""Every tiny model there is."""


def tiny_model(kind: str, *, template: str | None = TEMPLATE, seed: int = 1, format_: int = TYPE_F16) -> File:
    """A model that loads.

    Args:
        kind: one of `KINDS`.
        template: its chat template; None: it has none.
        seed: of the weights.
        format_: TYPE_F32, TYPE_F16 or TYPE_Q8_0 for the matrices; the rest is F32.
    """
    keys, size, layers = _MAKERS[kind]()
    if template is not None:
        keys["tokenizer.chat_template"] = template
    shapes: Shapes = {"token_embd.weight": (EMBEDDING, size), "output_norm.weight": (EMBEDDING,)}
    shapes["output.weight"] = (EMBEDDING, size)
    for number, layer in enumerate(layers):
        shapes |= {f"blk.{number}.{name}": shape for name, shape in layer.items()}
    random_ = random.Random(seed)
    tensors = [_weights(name, shape, format_, random_) for name, shape in shapes.items()]
    return File(keys, tuple(tensors))


def _weights(name: str, shape: tuple[int, ...], format_: int, random_: random.Random) -> Tensor:
    plain = len(shape) == 1 or name.endswith(".bias") or "_inp." in name
    return random_tensor(name, shape, gguf_files.TYPE_F32 if plain else format_, random_)


def tiny_bytes(kind: str, *, template: str | None = TEMPLATE, seed: int = 1) -> bytes:
    """The same as the bytes of a file."""
    return gguf_files.encode(tiny_model(kind, template=template, seed=seed))


def tiny_parts(kind: str, parts: int) -> list[bytes]:
    """The same split into several files, in order."""
    return [gguf_files.encode(part) for part in gguf_files.split(tiny_model(kind), parts)]
