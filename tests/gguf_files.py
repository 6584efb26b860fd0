"""Writes GGUF files byte by byte: good ones, and bad ones that no converter would make.

A file is keys and tensors; `encode` lays them out as the format says, and each part can be given by hand
(`Raw`), so that a test can break exactly one thing.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

ALIGNMENT = 32

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
_FORMATS = {
    U8: "B",
    I8: "b",
    U16: "H",
    I16: "h",
    U32: "I",
    I32: "i",
    F32: "f",
    BOOL: "?",
    U64: "Q",
    I64: "q",
    F64: "d",
}

# ggml's numbers, with the elements and the bytes of one block
TYPE_F32, TYPE_F16, TYPE_Q8_0 = 0, 1, 8
_BLOCKS = {TYPE_F32: (1, 4), TYPE_F16: (1, 2), TYPE_Q8_0: (32, 34)}


@dataclass(frozen=True)
class Typed:
    """A value of exactly this type; `kind` of the elements when `value` is a list."""

    kind: int
    value: object


@dataclass(frozen=True)
class Raw:
    """A value as bytes, its type included: what no writer would write."""

    bytes: bytes


@dataclass(frozen=True)
class Tensor:
    """One tensor; `data` None: as many zero bytes as its shape takes. `offset` None: after the one before."""

    name: str
    shape: tuple[int, ...]
    kind: int = TYPE_F32
    data: bytes | None = None
    offset: int | None = None


@dataclass(frozen=True)
class File:
    """What a GGUF says of itself, and its tensors."""

    keys: Mapping[str, object]
    tensors: Sequence[Tensor] = ()
    version: int = 3
    magic: bytes = b"GGUF"
    tensor_count: int | None = None
    key_count: int | None = None
    alignment: int = ALIGNMENT
    """What the data is laid out by; what the file says of it is the key `general.alignment`."""
    more_keys: Sequence[tuple[str, object]] = field(default=())
    """Keys after the others, for one that is there twice."""
    tail: bytes = b""

    def with_keys(self, changes: Mapping[str, object]) -> File:
        """The same with these keys changed or added; a value of None takes the key away."""
        keys = {**self.keys, **changes}
        return replace(self, keys={key: value for key, value in keys.items() if value is not None})

    def with_tensor(self, old: str, **changes: object) -> File:
        """The same with one tensor changed."""
        assert any(tensor.name == old for tensor in self.tensors), old
        changed = [replace(t, **changes) if t.name == old else t for t in self.tensors]  # type: ignore[arg-type]
        return replace(self, tensors=tuple(changed))


def string(text: str | bytes) -> bytes:
    """A length and the bytes."""
    encoded = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(encoded)) + encoded


def _scalar(kind: int, value: object) -> bytes:
    if kind == STRING:
        return string(value)  # type: ignore[arg-type]
    return struct.pack("<" + _FORMATS[kind], value)


def _kind(value: object) -> int:
    match value:
        case bool():
            return BOOL
        case int():
            return U32
        case float():
            return F32
        case str() | bytes():
            return STRING
    raise TypeError(value)


def encode_value(value: object) -> bytes:
    """The type and the value: whole numbers as uint32, but as int32 in an array."""
    match value:
        case Raw(bytes=raw):
            return raw
        case Typed(kind=kind, value=list(elements)):
            return _array(kind, elements)
        case Typed(kind=kind, value=single):
            return struct.pack("<I", kind) + _scalar(kind, single)
        case list(elements):
            kind = _kind(elements[0])
            return _array(I32 if kind == U32 else kind, elements)
    return struct.pack("<I", _kind(value)) + _scalar(_kind(value), value)


def _array(kind: int, elements: list[object]) -> bytes:
    head = struct.pack("<IIQ", ARRAY, kind, len(elements))
    if kind == STRING:
        return head + b"".join(map(string, elements))  # type: ignore[arg-type]
    return head + struct.pack(f"<{len(elements)}{_FORMATS[kind]}", *elements)


def tensor_bytes(tensor: Tensor) -> int:
    """What its data takes."""
    elements = 1
    for size in tensor.shape:
        elements *= size
    block, block_bytes = _BLOCKS.get(tensor.kind, (1, 4))
    return elements // block * block_bytes


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment


def head(file: File) -> bytes:
    """Everything before the tensors' data, unpadded."""
    keys = [*file.keys.items(), *file.more_keys]
    tensors = len(file.tensors) if file.tensor_count is None else file.tensor_count
    count = len(keys) if file.key_count is None else file.key_count
    parts = [file.magic, struct.pack("<I", file.version), struct.pack("<QQ", tensors % 2**64, count % 2**64)]
    parts += [string(key) + encode_value(value) for key, value in keys]
    offset = 0
    for tensor in file.tensors:
        parts.append(string(tensor.name))
        parts.append(struct.pack("<I", len(tensor.shape)))
        parts += [struct.pack("<Q", size % 2**64) for size in tensor.shape]
        parts.append(struct.pack("<I", tensor.kind))
        parts.append(struct.pack("<Q", offset if tensor.offset is None else tensor.offset))
        if tensor.data is not None or tensor.offset is None:
            offset = _padded(offset + _stored(tensor), file.alignment)
    return b"".join(parts)


def _stored(tensor: Tensor) -> int:
    return tensor_bytes(tensor) if tensor.data is None else len(tensor.data)


def encode(file: File) -> bytes:
    """The whole file."""
    start = head(file)
    parts = [start]
    if file.tensors:
        parts.append(bytes(_padded(len(start), file.alignment) - len(start)))
    for tensor in file.tensors:
        data = bytes(tensor_bytes(tensor)) if tensor.data is None else tensor.data
        parts.append(data + bytes(_padded(len(data), file.alignment) - len(data)))
    return b"".join(parts) + file.tail


def random_tensor(
    name: str, shape: tuple[int, ...], kind: int, random_: random.Random, scale: float = 0.2
) -> Tensor:
    """Weights between -scale and scale, repeatable; what does not divide into blocks is F32 instead."""
    if shape[0] % _BLOCKS[kind][0]:
        kind = TYPE_F32
    elements = tensor_bytes(Tensor(name, shape, TYPE_F32)) // 4
    if kind == TYPE_Q8_0:
        block = struct.pack("<e", scale / 127)
        data = b"".join(block + random_.randbytes(32) for _ in range(elements // 32))
    else:
        values = (scale * (2 * random_.random() - 1) for _ in range(elements))
        data = struct.pack(f"<{elements}{'f' if kind == TYPE_F32 else 'e'}", *values)
    return Tensor(name, shape, kind, data)


def split(file: File, parts: int) -> list[File]:
    """The same model in several files, as llama.cpp names them: the first one has all keys."""
    size = -(-len(file.tensors) // parts)
    files = []
    for number in range(parts):
        mine = file.tensors[number * size : (number + 1) * size]
        place = {
            "split.no": Typed(U16, number),
            "split.count": Typed(U16, parts),
            "split.tensors.count": Typed(I32, len(file.tensors)),
        }
        keys = {**file.keys, **place} if number == 0 else place
        files.append(replace(file, keys=keys, tensors=tuple(mine)))
    return files
