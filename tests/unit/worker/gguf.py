"""Reads one text value out of a GGUF file's header: enough to see a model's chat template without the library."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import BinaryIO

_FIXED = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_TEXT, _ARRAY = 8, 9


def text_value(path: Path, key: str) -> str:
    with path.open("rb") as file:
        _, _, _, keys = struct.unpack("<4sIQQ", file.read(24))
        for _ in range(keys):
            name = _text(file)
            (kind,) = struct.unpack("<I", file.read(4))
            if name == key:
                assert kind == _TEXT
                return _text(file)
            _skip(file, kind)
    raise AssertionError(f"no {key}")


def _text(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    return file.read(length).decode("utf-8")


def _skip(file: BinaryIO, kind: int) -> None:
    if kind == _TEXT:
        _text(file)
    elif kind == _ARRAY:
        inner, count = struct.unpack("<IQ", file.read(12))
        if inner in _FIXED:
            file.seek(_FIXED[inner] * count, 1)
        else:
            for _ in range(count):
                _skip(file, inner)
    else:
        file.seek(_FIXED[kind], 1)
