"""Changes one to three things in a tiny model: values that are nonsense, lists that disagree, tensors that lie."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable

from govdesk.inference.gguf_formats import BLOCKS
from tests import gguf_files
from tests.gguf_files import BOOL, F64, I32, U8, U64, File, Typed
from tests.tiny_models import KINDS, tiny_model

_WHOLE: list[object] = [0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 32, 33, 64, 65, 127, 128, 255, 1000, 4096]
_WHOLE += [65535, 2**20, 2**24, 2**31 - 1, 2**31, 2**32 - 1]
_OTHER: list[object] = [
    Typed(I32, 5),
    Typed(U64, 4),
    Typed(U8, 1),
    [4, 4],
    [2, 2],
    [1, 1],
    [4, 2],
    [0, 0],
    Typed(BOOL, [True, False]),
    Typed(BOOL, [True, True]),
    None,
]
_REAL: list[object] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    1e-30,
    1e30,
    float("inf"),
    float("nan"),
    1e-6,
    Typed(F64, 1.0),
    None,
]
_WHOLE_KEYS = """
attention.key_length attention.value_length rope.dimension_count attention.sliding_window
attention.sliding_window_pattern expert_count expert_used_count expert_group_count expert_group_used_count
expert_gating_func nextn_predict_layers leading_dense_block_count attention.kv_lora_rank attention.q_lora_rank
attention.key_length_mla attention.value_length_mla pooling_type rope.scaling.original_context_length
expert_shared_count vocab_size attention.head_count_kv attention.key_length_swa attention.value_length_swa
rope.dimension_count_swa attention.temperature_length embedding_length_out n_deepstack_layers num_loops
interleave_moe_layer_step full_attention_interval attention.shared_kv_layers moe_every_n_layers
hash_layer_count hyper_connection.count attention.indexer.top_k attention.output_group_count
""".split()
_REAL_KEYS = """
rope.scaling.factor rope.freq_base rope.scaling.attn_factor rope.scaling.yarn_log_multiplier attention.scale
final_logit_softcapping attn_logit_softcapping logit_scale residual_scale embedding_scale
attention.layer_norm_epsilon attention.max_alibi_bias attention.clamp_kqv expert_weights_scale rope.scale_linear
rope.freq_base_swa rope.scaling.yarn_ext_factor attention.temperature_scale rope.scaling.alpha
attention.value_scale attention.output_scale router_logit_softcapping
""".split()
_SPECIALS = ("bos", "eos", "eot", "padding", "unknown", "fim_pre")
_FLAGS = ("add_bos_token", "add_eos_token", "add_sep_token", "add_space_prefix", "remove_extra_whitespaces")
_PRE_TOKENIZERS = [
    "default",
    "llama-bpe",
    "gpt-4o",
    "deepseek-v3",
    "qwen2",
    "gemma4",
    "whitespace",
    "kimi-k2",
]
_PRE_TOKENIZERS += ["jina-v1-en", "tekken", "smollm", "chatglm-bpe", "viking", "bert-bge", "x", ""]
_TOKENS: list[str | bytes] = ["", "a\0b", b"\xff\xfe", "x" * 5000, "\n", " ", "<0x0A>", "▁" * 40]
_NAMES = """
x blk.9.attn_norm.weight output.bias blk.0.attn_q.bias rope_freqs.weight rope_factors_long.weight
blk.0.attn_qkv.weight cls.output.weight blk.0.attn_q.scale output.scale blk.1.ffn_gate_up_exps.weight
blk.0.exp_probs_b.bias blk.0.attn_q.input_scale
""".split()


def _a_value(file: File, random_: random.Random) -> File:
    keys = [key for key, value in file.keys.items() if not isinstance(value, list | str)]
    key = random_.choice(keys)
    match file.keys[key]:
        case bool():
            return file.with_keys({key: random_.choice([True, False, Typed(U8, 1), None])})
        case float():
            return file.with_keys({key: random_.choice(_REAL)})
    return file.with_keys({key: random_.choice(_WHOLE + _OTHER)})


def _a_key_of_others(file: File, random_: random.Random) -> File:
    architecture = file.keys["general.architecture"]
    if random_.random() < 0.3:
        return file.with_keys({f"{architecture}.{random_.choice(_REAL_KEYS)}": random_.choice(_REAL)})
    return file.with_keys({f"{architecture}.{random_.choice(_WHOLE_KEYS)}": random_.choice(_WHOLE + _OTHER)})


def _a_rope(file: File, random_: random.Random) -> File:
    scaling = random_.choice(["none", "yarn", "linear", "longrope", "x", ""])
    return file.with_keys({f"{file.keys['general.architecture']}.rope.scaling.type": scaling})


def _a_token(file: File, random_: random.Random) -> File:
    tokens = list(file.keys["tokenizer.ggml.tokens"])  # type: ignore[call-overload]
    tokens[random_.randrange(len(tokens))] = random_.choice([*_TOKENS, random_.choice(tokens)])
    return file.with_keys({"tokenizer.ggml.tokens": tokens})


def _a_type(file: File, random_: random.Random) -> File:
    types = list(file.keys["tokenizer.ggml.token_type"])  # type: ignore[call-overload]
    for _ in range(random_.choice([1, 50])):
        types[random_.randrange(len(types))] = random_.choice([-1, 0, 1, 2, 3, 4, 5, 6, 7, 99, 2**31 - 1])
    return file.with_keys({"tokenizer.ggml.token_type": types[: random_.choice([len(types), 1])]})


def _a_special(file: File, random_: random.Random) -> File:
    if random_.random() < 0.4:
        return file.with_keys({f"tokenizer.ggml.{random_.choice(_FLAGS)}": random_.choice([True, False])})
    key = f"tokenizer.ggml.{random_.choice(_SPECIALS)}_token_id"
    return file.with_keys({key: random_.choice([*_WHOLE, None])})


def _a_tokenizer(file: File, random_: random.Random) -> File:
    merges = file.keys.get("tokenizer.ggml.merges")
    if isinstance(merges, list) and random_.random() < 0.5:
        changed = [*merges[1:], random_.choice(["", " ", "a", "a  b", b"\xff", "a b c", "x" * 3000])]
        return file.with_keys({"tokenizer.ggml.merges": changed})
    return file.with_keys({"tokenizer.ggml.pre": random_.choice(_PRE_TOKENIZERS)})


def _a_tensor(file: File, random_: random.Random) -> File:
    tensor = random_.choice(file.tensors)
    kind = random_.choice([*BLOCKS, 24, 26, 28, 15, 4, 43])
    block = BLOCKS.get(kind)
    chance = random_.random()
    if chance < 0.5:
        return file.with_tensor(tensor.name, name=random_.choice([*_NAMES, tensor.name[:-1]]))
    if chance < 0.6 or block is None or tensor.shape[0] % block.elements:
        return file.with_tensor(tensor.name, shape=tuple(reversed(tensor.shape)))
    size = gguf_files.tensor_bytes(gguf_files.Tensor("", tensor.shape)) // 4 // block.elements * block.bytes
    data = random_.randbytes(size) if chance < 0.9 else bytes(size)
    return file.with_tensor(tensor.name, kind=kind, data=data)


_CHANGES: list[Callable[[File, random.Random], File]] = [_a_value] * 4 + [_a_key_of_others] * 3
_CHANGES += [_a_rope, _a_token, _a_type, _a_special, _a_tokenizer, _a_tensor, _a_tensor]


def mutated(random_: random.Random) -> bytes:
    """A tiny model that was changed: perhaps still good, perhaps not; the same for the same random numbers."""
    kind = random_.choice(KINDS)
    while True:
        file = tiny_model(kind, format_=random_.choice([0, 1, 8]))
        try:
            for _ in range(random_.choice([1, 1, 1, 2, 3])):
                file = random_.choice(_CHANGES)(file, random_)
            return gguf_files.encode(file)
        except (struct.error, TypeError, AssertionError, KeyError):
            continue  # a change that cannot follow the one before


def flipped(content: bytes, head_bytes: int, random_: random.Random) -> bytes:
    """One to three bits of the part before the weights are turned."""
    changed = bytearray(content)
    for _ in range(random_.randint(1, 3)):
        changed[random_.randrange(head_bytes)] ^= 1 << random_.randrange(8)
    return bytes(changed)
