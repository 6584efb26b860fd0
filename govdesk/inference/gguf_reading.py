"""The structure of a GGUF file, read with bounds: nothing in it makes this take much memory or time.

A file is hostile until shown otherwise, and native code believes lengths and offsets. Here each one is held
against the bytes that are really there before anything is made of it. What the values mean is judged by
`gguf_rules`; this module says only what the file says.
"""

from __future__ import annotations

import os
import re
import struct
from array import array
from dataclasses import dataclass
from enum import IntEnum

from govdesk.errors import ModelError
from govdesk.inference.gguf_formats import BLOCKS, Block

MAX_KEYS = 4096
MAX_TENSORS = 65_536
MAX_KEY_BYTES = 256
MAX_TENSOR_NAME_BYTES = 63
MAX_STRING_BYTES = 1024 * 1024
"""A chat template is a few kilobytes, a licence text some tens."""
MAX_ELEMENT_BYTES = 64 * 1024
"""One string of an array: a token, a merge."""
MAX_ELEMENTS = 2**21
MAX_METADATA_BYTES = 64 * 1024 * 1024
"""A vocabulary of 262,000 tokens takes 6 MB."""
MAX_DIMENSIONS = 4
MAX_ELEMENTS_OF_TENSOR = 2**62
VERSIONS = (2, 3)
MIN_ALIGNMENT, DEFAULT_ALIGNMENT, MAX_ALIGNMENT = 32, 32, 65_536
"""Less than 32 would put weights where native code may not read them from."""
_WINDOW_BYTES = 1024 * 1024
_KEY = re.compile(rb"[!-~]+")
_HEADER = struct.Struct("<4sIQQ")


class Kind(IntEnum):
    """The types of values."""

    UINT8 = 0
    INT8 = 1
    UINT16 = 2
    INT16 = 3
    UINT32 = 4
    INT32 = 5
    FLOAT32 = 6
    BOOL = 7
    STRING = 8
    ARRAY = 9
    UINT64 = 10
    INT64 = 11
    FLOAT64 = 12


_SCALARS = {
    Kind.UINT8: struct.Struct("<B"),
    Kind.INT8: struct.Struct("<b"),
    Kind.UINT16: struct.Struct("<H"),
    Kind.INT16: struct.Struct("<h"),
    Kind.UINT32: struct.Struct("<I"),
    Kind.INT32: struct.Struct("<i"),
    Kind.FLOAT32: struct.Struct("<f"),
    Kind.BOOL: struct.Struct("<B"),
    Kind.UINT64: struct.Struct("<Q"),
    Kind.INT64: struct.Struct("<q"),
    Kind.FLOAT64: struct.Struct("<d"),
}
_CODES = {Kind.INT32: "i", Kind.UINT32: "I", Kind.FLOAT32: "f", Kind.BOOL: "B"}
"""Arrays whose elements are looked at; the others are only measured."""


@dataclass(frozen=True, slots=True)
class Array:
    """An array: its length, the strings where they were asked for, and numbers of 32 bits or truths."""

    kind: Kind
    length: int
    strings: tuple[bytes, ...] = ()
    numbers: array[int] | array[float] | None = None


@dataclass(frozen=True, slots=True)
class Value:
    """One key's value with its type."""

    kind: Kind
    value: int | float | bool | bytes | Array


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where a tensor's data is and what it is. `offset` counts from the file's first data byte."""

    name: str
    shape: tuple[int, ...]
    block: Block
    offset: int

    @property
    def elements(self) -> int:
        """How many weights."""
        product = 1
        for size in self.shape:
            product *= size
        return product

    @property
    def bytes(self) -> int:
        """What its data takes."""
        return self.elements // self.block.elements * self.block.bytes


@dataclass(frozen=True, slots=True)
class Structure:
    """What a file says of itself; every length and offset in it is inside the file."""

    version: int
    keys: dict[str, Value]
    tensors: tuple[TensorInfo, ...]
    data_start: int
    file_bytes: int
    trailing_bytes: int
    """Bytes after the last tensor's data, padding included: nothing reads them."""


def refused(name: str, why: str, code: str) -> ModelError:
    """The error for a file that native code must not see."""
    return ModelError(
        f"The model file {name} {why}.",
        code=code,
        kept="It was not loaded. Your conversations are unchanged.",
        todo="Fetch it again from where it came, or ask your administrator for the model package.",
    )


class _Reader:
    """Reads forward through a file's beginning, in windows; refuses to read past its end."""

    def __init__(self, descriptor: int, name: str) -> None:
        self._descriptor = descriptor
        self.name = name
        self.size = os.fstat(descriptor).st_size
        self._window = b""
        self._start = 0  # of the window, in the file
        self._at = 0  # in the window

    @property
    def position(self) -> int:
        return self._start + self._at

    def refused(self, why: str, code: str) -> ModelError:
        return refused(self.name, why, code)

    def room(self, size: int) -> None:
        """Refuse when so many bytes are not left."""
        if size > self.size - self.position:
            raise self.refused(
                f"is cut short: {size} bytes should follow at byte {self.position} of {self.size}", "gguf.cut"
            )
        if self.position + size > MAX_METADATA_BYTES:
            raise self.refused(
                f"describes itself in more than {MAX_METADATA_BYTES // 2**20} MiB", "gguf.too-much"
            )

    def take(self, size: int) -> bytes:
        self.room(size)
        if self._at + size > len(self._window):
            self._refill(size)
        self._at += size
        return self._window[self._at - size : self._at]

    def _refill(self, size: int) -> None:
        self._start, self._at = self.position, 0
        wanted = max(size, _WINDOW_BYTES)
        window = bytearray()
        while wanted > len(window):
            part = os.pread(self._descriptor, wanted - len(window), self._start + len(window))
            if not part:
                break
            window += part
        self._window = bytes(window)
        if len(self._window) < size:
            raise self.refused("became shorter while it was read", "gguf.cut")

    def number(self, kind: Kind) -> int:
        return int.from_bytes(self.take(_SCALARS[kind].size), "little")

    def string(self, most: int, what: str) -> bytes:
        length = self.number(Kind.UINT64)
        if length > most:
            raise self.refused(f"has {what} of {length} bytes; {most} are the most", "gguf.string")
        return self.take(length)

    def strings(self, count: int, what: str, *, keep: bool) -> tuple[bytes, ...]:
        """The next strings, or none when they are only to be walked over. Tight: there may be a million."""
        kept: list[bytes] = []
        length_at = _SCALARS[Kind.UINT64].unpack_from
        left = count
        while left:
            window, at = self._window, self._at
            last = len(window) - 8
            while left and at <= last:
                (length,) = length_at(window, at)
                end = at + 8 + length
                if end > len(window) or length > MAX_ELEMENT_BYTES:
                    break
                if keep:
                    kept.append(window[at + 8 : end])
                at = end
                left -= 1
            self._at = at
            if left:  # at the window's edge, or too long
                element = self.string(MAX_ELEMENT_BYTES, what)
                left -= 1
                if keep:
                    kept.append(element)
        self.room(0)
        return tuple(kept)


def read(descriptor: int, name: str, keep_strings: frozenset[str] = frozenset()) -> Structure:
    """What the file on a descriptor says of itself.

    Args:
        descriptor: open for reading; its position does not matter and is not changed.
        name: the file's name, for people.
        keep_strings: the arrays of strings that are wanted; of others only the length is kept.

    Raises:
        ModelError: it is no GGUF, or not one whose lengths and offsets hold.
    """
    reader = _Reader(descriptor, name)
    version, tensor_count, key_count = _header(reader)
    keys: dict[str, Value] = {}
    for _ in range(key_count):
        key = _key(reader)
        if key in keys:
            raise reader.refused(f"has the key {key} twice", "gguf.key-twice")
        keys[key] = _value(reader, key, keep=key in keep_strings)
    alignment = _alignment(reader, keys)
    tensors = _tensors(reader, tensor_count, alignment)
    data_start = _padded(reader.position, alignment) if tensors else reader.position
    last = data_start + tensors[-1].offset + tensors[-1].bytes if tensors else data_start
    if last > reader.size:
        raise reader.refused(
            f"is cut short: its weights end at byte {last}, and it has {reader.size}", "gguf.cut"
        )
    return Structure(version, keys, tensors, data_start, reader.size, reader.size - last)


def _header(reader: _Reader) -> tuple[int, int, int]:
    if reader.size < _HEADER.size:
        raise reader.refused("is not a GGUF file", "gguf.magic")
    magic, version, tensors, keys = _HEADER.unpack(reader.take(_HEADER.size))
    if magic != b"GGUF":
        raise reader.refused("is not a GGUF file", "gguf.magic")
    if version not in VERSIONS:
        raise reader.refused(f"has GGUF version {version}; versions 2 and 3 are known", "gguf.version")
    if tensors > MAX_TENSORS or not 0 < keys <= MAX_KEYS:
        raise reader.refused(f"counts {tensors} tensors and {keys} keys, which makes no sense", "gguf.counts")
    return version, tensors, keys


def _key(reader: _Reader) -> str:
    key = reader.string(MAX_KEY_BYTES, "a key")
    if not _KEY.fullmatch(key):
        raise reader.refused("has a key that is empty or not plain letters", "gguf.key")
    return key.decode("ascii")


def _kind(reader: _Reader, key: str) -> Kind:
    number = reader.number(Kind.UINT32)
    try:
        return Kind(number)
    except ValueError:
        raise reader.refused(f"has the key {key} with the unknown type {number}", "gguf.value-type") from None


def _value(reader: _Reader, key: str, *, keep: bool) -> Value:
    kind = _kind(reader, key)
    if kind is Kind.ARRAY:
        return Value(kind, _array(reader, key, keep=keep))
    if kind is Kind.STRING:
        return Value(kind, reader.string(MAX_STRING_BYTES, f"a text ({key})"))
    number = _SCALARS[kind].unpack(reader.take(_SCALARS[kind].size))[0]
    return Value(kind, bool(number) if kind is Kind.BOOL else number)


def _array(reader: _Reader, key: str, *, keep: bool) -> Array:
    kind = _kind(reader, key)
    length = reader.number(Kind.UINT64)
    if kind is Kind.ARRAY:
        raise reader.refused(f"has an array of arrays ({key})", "gguf.array")
    if length > MAX_ELEMENTS:
        raise reader.refused(
            f"has an array of {length} elements ({key}); {MAX_ELEMENTS} are the most", "gguf.array"
        )
    if kind is Kind.STRING:
        reader.room(length * 8)
        return Array(kind, length, reader.strings(length, f"an element of {key}", keep=keep))
    content = reader.take(length * _SCALARS[kind].size)
    if kind not in _CODES:
        return Array(kind, length)
    numbers: array[int] | array[float] = array(_CODES[kind])
    numbers.frombytes(content)
    return Array(kind, length, numbers=numbers)


def _alignment(reader: _Reader, keys: dict[str, Value]) -> int:
    found = keys.get("general.alignment")
    if found is None:
        return DEFAULT_ALIGNMENT
    if found.kind is not Kind.UINT32 or not isinstance(found.value, int):
        raise reader.refused("has an alignment that is no 32-bit number", "gguf.alignment")
    alignment = found.value
    if not MIN_ALIGNMENT <= alignment <= MAX_ALIGNMENT or alignment & (alignment - 1):
        raise reader.refused(
            f"has the alignment {alignment}; powers of two from {MIN_ALIGNMENT} to {MAX_ALIGNMENT} are known",
            "gguf.alignment",
        )
    return alignment


def _tensors(reader: _Reader, count: int, alignment: int) -> tuple[TensorInfo, ...]:
    tensors: list[TensorInfo] = []
    names: set[str] = set()
    expected = 0
    for _ in range(count):
        tensor = _tensor(reader)
        if tensor.name in names:
            raise reader.refused(f"has the tensor {tensor.name} twice", "gguf.tensor-twice")
        if tensor.offset != expected:
            raise reader.refused(
                f"puts the tensor {tensor.name} at {tensor.offset}, and {expected} is where it has to be",
                "gguf.tensor-offset",
            )
        names.add(tensor.name)
        tensors.append(tensor)
        expected = _padded(tensor.offset + tensor.bytes, alignment)
    return tuple(tensors)


def _tensor(reader: _Reader) -> TensorInfo:
    untrusted_name = reader.string(MAX_TENSOR_NAME_BYTES, "a tensor's name")
    if not _KEY.fullmatch(untrusted_name):
        raise reader.refused("has a tensor whose name is empty or not plain letters", "gguf.tensor-name")
    name = untrusted_name.decode("ascii")
    dimensions = reader.number(Kind.UINT32)
    if not 0 < dimensions <= MAX_DIMENSIONS:
        raise reader.refused(f"has the tensor {name} with {dimensions} dimensions", "gguf.tensor-shape")
    shape = struct.unpack(f"<{dimensions}Q", reader.take(8 * dimensions))
    product = 1
    for size in shape:
        product *= size
        if not 0 < product <= MAX_ELEMENTS_OF_TENSOR:
            raise reader.refused(
                f"has the tensor {name} with a shape that cannot be: {' × '.join(map(str, shape))}",
                "gguf.tensor-shape",
            )
    number = reader.number(Kind.UINT32)
    block = BLOCKS.get(number)
    if block is None:
        raise reader.refused(
            f"has the tensor {name} in the format number {number}, which is no format for weights",
            "gguf.tensor-type",
        )
    if shape[0] % block.elements:
        raise reader.refused(
            f"has the tensor {name} with rows of {shape[0]}, which {block.name} cannot hold",
            "gguf.tensor-shape",
        )
    return TensorInfo(name, shape, block, reader.number(Kind.UINT64))


def _padded(size: int, alignment: int) -> int:
    return -(-size // alignment) * alignment
