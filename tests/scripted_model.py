"""A model that says what a test wrote for it: a real GGUF, run by the real library, that recites a script.

    scripted_bytes(["<think>", "Hmm, ", "two.", "</think>", "It is ", "2."])
    scripted_bytes(["He", b"\\xe2\\x82", "llo"])                       broken UTF-8
    scripted_bytes([...], specials=HARMONY, eos="<|return|>")         harmony's channels
    scripted_bytes(["again ", "and "], loops=True)                    never ends

A step is a special token's name, or a text or bytes that become a token of their own. The same special token may
come several times, with a text between; texts are all different, and none is a single letter that a prompt ends in.
After the last step the model ends.

How: each token has a dimension of its own, and the output matrix maps it to its successor; what is not in the
script is followed by the first step. Queries and keys are zero, so attention is the mean of all that was read:
a special token that comes again learns from it that a certain text was there before, and so what comes next.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from tests import gguf_files, tiny_models
from tests.gguf_files import File, Tensor

HARMONY = tiny_models._HARMONY
THINK = (*tiny_models._CHATML, *tiny_models._THINK)
TEMPLATE = tiny_models.TEMPLATE
CONTEXT_TOKENS = 4096
_HEAD = 32
_SURE, _HINT = 200.0, 4.0
Step = str | bytes


def scripted_bytes(
    script: Sequence[Step],
    *,
    template: str | None = TEMPLATE,
    specials: tuple[str, ...] = THINK,
    bos: str = "<|endoftext|>",
    eos: str = "<|im_end|>",
    loops: bool = False,
) -> bytes:
    """The model as the bytes of a GGUF.

    Args:
        script: what it says.
        template: its chat template; None: it has none.
        specials: its special tokens; `<think>` and `</think>` are of the kind that shows in texts.
        bos: one of them.
        eos: one of them.
        loops: after the last step comes the first one again, for ever.
    """
    keys, known = tiny_models._bpe("qwen2", specials, bos, eos)
    tokens, kinds = list(keys["tokenizer.ggml.tokens"]), list(keys["tokenizer.ggml.token_type"])
    letters = tiny_models._byte_characters()
    steps: list[int] = []
    for step in script:
        name = step if step in specials else "".join(letters[byte] for byte in _bytes(step))
        if name not in tokens:
            tokens.append(str(name))
            kinds.append(tiny_models._NORMAL)
        steps.append(tokens.index(name))
    last = steps[0] if loops else tokens.index(eos)
    keys |= {
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        **({} if template is None else {"tokenizer.chat_template": template}),
    }
    hints = _hints(steps, known)
    seen = {(token, len(tokens) + at): 1.0 for at, token in enumerate(hints)}
    width = -(-(len(tokens) + len(hints)) // _HEAD) * _HEAD
    heads = width // _HEAD
    base = tiny_models._base("llama") | {
        "general.name": "Scripted",
        "llama.context_length": CONTEXT_TOKENS,
        "llama.embedding_length": width,
        "llama.block_count": 1,
        "llama.feed_forward_length": _HEAD,
        "llama.attention.head_count": heads,
        "llama.attention.head_count_kv": heads,
        "llama.rope.dimension_count": _HEAD,
        "llama.vocab_size": len(tokens),
    }
    tensors = [
        _matrix("token_embd.weight", width, len(tokens), {(at, at): 1.0 for at in range(len(tokens))}),
        _matrix("output.weight", width, len(tokens), _successors(steps, last, len(tokens), hints)),
        _ones("output_norm.weight", width),
        _ones("blk.0.attn_norm.weight", width),
        _ones("blk.0.ffn_norm.weight", width),
        _matrix("blk.0.attn_v.weight", width, width, seen),
        _matrix("blk.0.attn_output.weight", width, width, {(at, at): 1.0 for _, at in seen}),
        *(_matrix(f"blk.0.attn_{name}.weight", width, width, {}) for name in "qk"),
        *(_matrix(f"blk.0.ffn_{name}.weight", width, _HEAD, {}) for name in ("gate", "up")),
        _matrix("blk.0.ffn_down.weight", _HEAD, width, {}),
    ]
    return gguf_files.encode(File({**base, **keys}, tuple(tensors)))


def _hints(steps: list[int], known: int) -> dict[int, int]:
    """Texts that tell a special token's coming again from the time before: text → how many times it came.

    A prompt has none of them: tokens from `known` on are made for the script, and no merge leads to them.
    """
    hints: dict[int, int] = {}
    for at, token in enumerate(steps):
        if again := steps[:at].count(token):
            before = at - 1 - steps[:at][::-1].index(token)
            hint = next((step for step in steps[before:at] if step >= known and steps.count(step) == 1), None)
            assert hint is not None, "a special token comes again without a text between"
            assert hints.setdefault(hint, again) == again
    return hints


def _successors(
    steps: list[int], last: int, size: int, hints: dict[int, int]
) -> dict[tuple[int, int], float]:
    """The output matrix: (dimension, token that follows) → how much."""
    matrix = {(token, steps[0]): _SURE for token in range(size) if token not in steps}
    for at, (token, after) in enumerate(zip(steps, [*steps[1:], last], strict=True)):
        matrix[token, after] = _SURE
        if again := steps[:at].count(token):
            for dimension, times in enumerate(hints.values(), start=size):
                if times == again:
                    matrix[dimension, after] = _HINT**again
    return matrix


def _bytes(step: Step) -> bytes:
    return step.encode() if isinstance(step, str) else step


def _matrix(name: str, columns: int, rows: int, values: dict[tuple[int, int], float]) -> Tensor:
    data = bytearray(4 * columns * rows)
    for (column, row), value in values.items():
        struct.pack_into("<f", data, 4 * (row * columns + column), value)
    return Tensor(name, (columns, rows), data=bytes(data))


def _ones(name: str, size: int) -> Tensor:
    return Tensor(name, (size,), data=struct.pack("<f", 1.0) * size)
