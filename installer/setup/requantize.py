"""A GGUF of Q4_1 tensors becomes one of Q8_0 tensors: the same bytes on every machine.

Run by the set-up with the environment's Python: `python -I requantize.py SOURCE TARGET`. Every number is made
by one IEEE operation at a time (a product is rounded before it is added), so no processor, compiler or fused
instruction changes the result. The rules are ggml's reference: a block of 32 has the scale amax/127 as a
half-precision number, and values rounded half away from zero. Tensors of other types are taken as they are.

The source's hash is checked before, the result's after; what is read here is still bounded.
"""

from __future__ import annotations

import os
import struct
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

VERSION = 1
"""Part of the manifest: another version may make other bytes."""
BLOCK = 32
"""Values that share a scale, in both formats."""
F32, Q4_1, Q8_0 = 0, 3, 8
"""ggml's numbers of the tensor types that are known here."""
_BLOCK_BYTES = {F32: 4 * BLOCK, Q4_1: 20, Q8_0: 34}
_FILE_TYPE_Q8_0 = 7
_FILE_TYPE_KEY = b"general.file_type"
_ALIGNMENT_KEY = b"general.alignment"
_U32, _TEXT, _ARRAY = 4, 8, 9
_SCALAR_BYTES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_MAX_HEAD_BYTES = 64 * 1024 * 1024
_MAX_COUNT = 1 << 20
_MAX_TENSOR_BYTES = 1 << 30

_Q4_1 = np.dtype([("scale", "<f2"), ("least", "<f2"), ("nibbles", "u1", (BLOCK // 2,))])
_Q8_0 = np.dtype([("scale", "<f2"), ("values", "i1", (BLOCK,))])


class NotUsableError(Exception):
    """The file is not one that this converter knows."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """Where a tensor's bytes are, from the start of the data."""

    name: bytes
    dimensions: tuple[int, ...]
    type: int
    offset: int

    @property
    def elements(self) -> int:
        """How many numbers it has."""
        count = 1
        for size in self.dimensions:
            count *= size
        return count

    @property
    def size_bytes(self) -> int:
        """Its size in the file."""
        return _bytes_of(self.type, self.elements)


def dequantize(raw: bytes) -> NDArray[np.float32]:
    """Q4_1 blocks as numbers, a row a block: scale × nibble, rounded, plus the least value, rounded."""
    blocks = np.frombuffer(raw, _Q4_1)
    nibbles = np.concatenate((blocks["nibbles"] & 0x0F, blocks["nibbles"] >> 4), axis=1).astype(np.float32)
    products = nibbles * blocks["scale"].astype(np.float32)[:, None]
    return products + blocks["least"].astype(np.float32)[:, None]


def quantize(values: NDArray[np.float32]) -> bytes:
    """Numbers, a row a block, as Q8_0 blocks."""
    scale = np.abs(values).max(axis=1) / np.float32(127)
    with np.errstate(divide="ignore"):
        inverse = np.where(scale != 0, np.float32(1) / scale, np.float32(0))
    scaled = values * inverse[:, None]
    whole = np.trunc(scaled)
    away = np.abs(scaled - whole) >= np.float32(0.5)  # exact: the two are close to each other
    whole += np.where(away, np.sign(scaled), np.float32(0))
    blocks = np.empty(len(values), _Q8_0)
    blocks["scale"] = scale  # rounded half to even, as ggml does
    blocks["values"] = whole
    return blocks.tobytes()


def convert(source: Path, target: Path) -> None:
    """Write `target`; one tensor at a time is held in memory.

    Raises:
        NotUsableError: the source is cut, or has something that is not known here.
    """
    with source.open("rb") as file, target.open("wb") as out:
        head = _Head(file)
        data = head.end + -head.end % head.alignment
        out.write(head.rewritten())
        for number, tensor in enumerate(head.tensors, 1):
            out.write(b"\0" * (-out.tell() % head.alignment))
            file.seek(data + tensor.offset)
            raw = file.read(tensor.size_bytes)
            if len(raw) != tensor.size_bytes:
                raise NotUsableError("a tensor is cut")
            out.write(quantize(dequantize(raw)) if tensor.type == Q4_1 else raw)
            print(f"[{number}/{len(head.tensors)}]", flush=True)
        out.write(b"\0" * (-out.tell() % head.alignment))
        out.flush()
        os.fsync(out.fileno())


class _Head:
    """What stands before the data: the keys, byte for byte, and the tensors' descriptions."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.alignment = BLOCK
        magic, version, tensors, keys = struct.unpack("<4sIQQ", self._take(24))
        if magic != b"GGUF" or version != 3 or not 0 < tensors <= _MAX_COUNT or not 0 < keys <= _MAX_COUNT:
            raise NotUsableError("not a GGUF of version 3")
        self._start = struct.pack("<4sIQQ", magic, version, tensors, keys)
        self._keys = b"".join(self._key() for _ in range(keys))
        self.tensors = tuple(self._tensor() for _ in range(tensors))
        self.end = file.tell()

    def rewritten(self) -> bytes:
        """The head of the result: the keys with the other file type, each tensor at its new place."""
        described, offset = [], 0
        for tensor in self.tensors:
            kind = Q8_0 if tensor.type == Q4_1 else tensor.type
            described.append(
                struct.pack("<Q", len(tensor.name))
                + tensor.name
                + struct.pack(f"<I{len(tensor.dimensions)}Q", len(tensor.dimensions), *tensor.dimensions)
                + struct.pack("<IQ", kind, offset)
            )
            offset += _bytes_of(kind, tensor.elements)
            offset += -offset % self.alignment
        return self._start + self._keys + b"".join(described)

    def _key(self) -> bytes:
        name = self._text()
        kind = self._take(4)
        value = self._value(struct.unpack("<I", kind)[0])
        if name[8:] == _FILE_TYPE_KEY:
            value = struct.pack("<I", _FILE_TYPE_Q8_0)
        if name[8:] == _ALIGNMENT_KEY:
            self.alignment = struct.unpack("<I", value)[0]
            if not 8 <= self.alignment <= 4096:
                raise NotUsableError("an alignment that makes no sense")
        return name + kind + value

    def _value(self, kind: int) -> bytes:
        if kind == _TEXT:
            return self._text()
        if kind == _ARRAY:
            described = self._take(12)
            element, count = struct.unpack("<IQ", described)
            if element == _TEXT and count <= _MAX_COUNT:
                return described + b"".join(self._text() for _ in range(count))
            return described + self._take(_scalar_bytes(element) * count)
        return self._take(_scalar_bytes(kind))

    def _tensor(self) -> Tensor:
        name = self._text()[8:]
        (count,) = struct.unpack("<I", self._take(4))
        if not 0 < count <= 4:
            raise NotUsableError("a tensor with too many dimensions")
        dimensions = struct.unpack(f"<{count}Q", self._take(8 * count))
        kind, offset = struct.unpack("<IQ", self._take(12))
        tensor = Tensor(name, dimensions, kind, offset)
        if not 0 < tensor.size_bytes <= _MAX_TENSOR_BYTES:
            raise NotUsableError("a tensor of a size that makes no sense")
        return tensor

    def _text(self) -> bytes:
        size = self._take(8)
        return size + self._take(struct.unpack("<Q", size)[0])

    def _take(self, size: int) -> bytes:
        if size > _MAX_HEAD_BYTES - self._file.tell():
            raise NotUsableError("a head that is too large")
        taken = self._file.read(size)
        if len(taken) != size:
            raise NotUsableError("it is cut")
        return taken


def _scalar_bytes(kind: int) -> int:
    if kind not in _SCALAR_BYTES:
        raise NotUsableError(f"a value of type {kind}")
    return _SCALAR_BYTES[kind]


def _bytes_of(kind: int, elements: int) -> int:
    if kind not in _BLOCK_BYTES:
        raise NotUsableError(f"a tensor of type {kind}")
    if kind == F32:
        return 4 * elements
    if elements % BLOCK:
        raise NotUsableError("a tensor that does not consist of whole blocks")
    return elements // BLOCK * _BLOCK_BYTES[kind]


if __name__ == "__main__":
    try:
        convert(Path(sys.argv[1]), Path(sys.argv[2]))
    except NotUsableError as error:
        sys.exit(f"requantize: the file cannot be used: {error}")
