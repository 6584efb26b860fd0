"""Bad GGUFs by name, and good ones that look odd; the names in capitals are llama.cpp's `tests/test-gguf.cpp`'s."""

from __future__ import annotations

import struct
from dataclasses import replace

from govdesk.inference import gguf
from govdesk.inference.gguf_reading import MAX_TENSORS
from tests import gguf_files
from tests.gguf_files import I8, I32, STRING, U32, U64, File, Raw, Tensor, Typed, encode, string
from tests.tiny_models import tiny_model

GOOD = tiny_model("llama-spm")


def with_last(**changes: object) -> File:
    """The good model with one more tensor that is wrong."""
    extra = replace(Tensor("my_tensor", (64,)), **changes)  # type: ignore[arg-type]
    return replace(GOOD, tensors=(*GOOD.tensors, extra))


def raw_key(key: bytes, value: bytes) -> bytes:
    """The good model with a key by hand, before the others."""
    whole = encode(replace(GOOD, key_count=len(GOOD.keys) + 1))
    return whole[:24] + key + value + whole[24:]


U32_1 = struct.pack("<II", U32, 1)
HUGE = struct.pack("<Q", 2**64 - 1)
ODD = replace(GOOD, tensors=(Tensor("odd", (3,)), *GOOD.tensors))

HANDCRAFTED = {
    "HEADER_BAD_MAGIC": (encode(replace(GOOD, magic=b"FUGG")), "gguf.magic"),
    "HEADER_BAD_VERSION_0": (encode(replace(GOOD, version=0)), "gguf.version"),
    "HEADER_BAD_VERSION_1": (encode(replace(GOOD, version=1)), "gguf.version"),
    "HEADER_BAD_VERSION_FUTURE": (encode(replace(GOOD, version=4)), "gguf.version"),
    "HEADER_BAD_N_TENSORS": (encode(replace(GOOD, tensor_count=-1)), "gguf.counts"),
    "HEADER_BAD_N_KV": (encode(replace(GOOD, key_count=-1)), "gguf.counts"),
    "HEADER_EMPTY": (encode(File({})), "gguf.counts"),  # the library reads it; it is no model
    "KV_BAD_KEY_SIZE": (raw_key(HUGE + b"my_key_0", U32_1), "gguf.string"),
    "KV_EMPTY_KEY": (raw_key(string(""), U32_1), "gguf.key"),
    "KV_BAD_TYPE": (raw_key(string("my_key_0"), struct.pack("<II", 13, 1)), "gguf.value-type"),
    "KV_BAD_VALUE_SIZE": (raw_key(string("k"), struct.pack("<I", STRING) + HUGE), "gguf.string"),
    "KV_DUPLICATE_KEY": (encode(replace(GOOD, more_keys=[("general.name", "again")])), "gguf.key-twice"),
    "KV_BAD_ALIGN": (encode(GOOD.with_keys({"general.alignment": 13})), "gguf.alignment"),
    "KV_WRONG_TYPE_ALIGN": (encode(GOOD.with_keys({"general.alignment": Typed(I32, 32)})), "gguf.alignment"),
    "TENSORS_BAD_NAME_SIZE": (encode(with_last(name="x" * 64)), "gguf.string"),
    "TENSORS_BAD_N_DIMS": (encode(with_last(shape=(64, 1, 1, 1, 1))), "gguf.tensor-shape"),
    "TENSORS_BAD_SHAPE": (encode(with_last(shape=(-1,), data=b"")), "gguf.tensor-shape"),
    "TENSORS_ZERO_DIM": (encode(with_last(shape=(64, 0))), "gguf.tensor-shape"),
    "TENSORS_NE_TOO_BIG": (encode(with_last(shape=(2**33, 2**33), data=b"")), "gguf.tensor-shape"),
    "TENSORS_NBYTES_TOO_BIG": (encode(with_last(shape=(2**31, 2**31), data=b"")), "gguf.cut"),
    "TENSORS_NBYTES_PAD_WRAP": (encode(with_last(shape=(4, 2**30 - 1, 2**30 + 1), data=b"")), "gguf.cut"),
    "TENSORS_BAD_TYPE": (encode(with_last(kind=43)), "gguf.tensor-type"),
    "TENSORS_BAD_OFFSET": (encode(with_last(offset=2**64 - 1)), "gguf.tensor-offset"),
    "TENSORS_DUPLICATE_NAME": (encode(with_last(name="output.weight")), "gguf.tensor-twice"),
    "TENSORS_BAD_ALIGN": (encode(GOOD.with_keys({"general.alignment": 1})), "gguf.alignment"),
    "TENSORS_INCONSISTENT_ALIGN": (encode(replace(ODD, alignment=16)), "gguf.tensor-offset"),
    "DATA_NOT_ENOUGH_DATA": (encode(GOOD)[:-1], "gguf.cut"),
    "DATA_BAD_ALIGN": (encode(GOOD.with_keys({"general.alignment": 0})), "gguf.alignment"),
    "DATA_INCONSISTENT_ALIGN": (encode(ODD.with_keys({"general.alignment": 64})), "gguf.tensor-offset"),
    "DATA_MEM_SIZE_OVERFLOW": (encode(with_last(shape=(2**63 - 64,), data=b"")), "gguf.tensor-shape"),
}
GOOD_CASES = {
    "KV_SUCCESS": GOOD.with_keys(
        {f"my_key_{kind}": Typed(kind, 1) for kind in (0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12)}
        | {f"my_key_of_{kind}": Typed(kind, [1, 1]) for kind in (0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12)}
        | {"my_text": "x", "my_texts": ["a", "", "b"], "my_empty": Typed(I8, [])}
    ),
    "TENSORS_SUCCESS": with_last(),
    "TENSORS_CUSTOM_ALIGN": replace(GOOD.with_keys({"general.alignment": 64}), alignment=64),
    "DATA_SUCCESS": GOOD,
    "DATA_CUSTOM_ALIGN": replace(GOOD.with_keys({"general.alignment": 4096}), alignment=4096),
    "VERSION_2": replace(GOOD, version=2),
    "A_TAIL": replace(GOOD, tail=b"behind"),
}


def _array(kind: int, length: int, rest: bytes = b"") -> bytes:
    return struct.pack("<IIQ", gguf_files.ARRAY, kind, length) + rest


MORE = {
    "a key with a zero byte": (raw_key(string("a\0b"), U32_1), "gguf.key"),
    "a key that is not ASCII": (raw_key(string("schlüssel"), U32_1), "gguf.key"),
    "a key of 257 bytes": (raw_key(string("k" * 257), U32_1), "gguf.string"),
    "an array of arrays": (raw_key(string("k"), _array(gguf_files.ARRAY, 1)), "gguf.array"),
    "an array of an unknown type": (raw_key(string("k"), _array(13, 1)), "gguf.value-type"),
    "an array larger than the file": (raw_key(string("k"), _array(U64, 2**20)), "gguf.cut"),
    "an array of 2**64-1 numbers": (raw_key(string("k"), _array(U64, 2**64 - 1)), "gguf.array"),
    "an array of 2**61 numbers": (raw_key(string("k"), _array(U64, 2**61)), "gguf.array"),
    "an array of texts larger than the file": (raw_key(string("k"), _array(STRING, 2**20)), "gguf.cut"),
    "a text in an array that is too long": (raw_key(string("k"), _array(STRING, 1, HUGE)), "gguf.string"),
    "the other byte order": (encode(GOOD)[:4] + bytes.fromhex("00000003") + encode(GOOD)[8:], "gguf.version"),
    "too many tensors": (encode(replace(GOOD, tensor_count=MAX_TENSORS + 1)), "gguf.counts"),
    "no tensors": (encode(replace(GOOD, tensors=())), "gguf.counts"),
    "tensors that overlap": (encode(GOOD.with_tensor("output.weight", offset=0)), "gguf.tensor-offset"),
    "a tensor without a name": (encode(with_last(name="")), "gguf.tensor-name"),
    "a tensor's name with a zero byte": (encode(with_last(name="a\0b")), "gguf.tensor-name"),
    "rows that are no whole blocks": (encode(with_last(shape=(33,), kind=8, data=b"")), "gguf.tensor-shape"),
    "weights that are whole numbers": (encode(with_last(kind=26)), "gguf.tensor-type"),
    "a norm that is Q8_0": (
        encode(GOOD.with_tensor("output_norm.weight", kind=8, data=bytes(68))),
        "gguf.tensor-type",
    ),
    "no table of tokens": (
        encode(GOOD.with_tensor("token_embd.weight", name="other.weight")),
        "gguf.tensor-shape",
    ),
    "a template with a zero byte": (
        encode(GOOD.with_keys({"tokenizer.chat_template": "a\0b"})),
        "gguf.template",
    ),
    "a template that is no text": (
        encode(GOOD.with_keys({"tokenizer.chat_template": b"\xff"})),
        "gguf.template",
    ),
    "a template without end": (
        encode(GOOD.with_keys({"tokenizer.chat_template": "x" * (gguf.MAX_TEMPLATE_BYTES + 1)})),
        "gguf.template",
    ),
    "a value cut in two": (raw_key(string("k"), Raw(struct.pack("<I", U64)).bytes)[:40], "gguf.cut"),
}
