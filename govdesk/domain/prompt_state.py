"""What the worker has read of a conversation, as a thing that can be put away and taken out again."""

from __future__ import annotations

import struct
from dataclasses import dataclass

HEADER = struct.Struct("<8sIII")
"""What a state begins with: `MAGIC`, `VERSION`, how many tokens were read, how many of them among many.

The tokens follow, `TOKEN_BYTES` each, and then what is the library's.
"""
MAGIC = b"GDSTATE\0"
VERSION = 1
TOKEN_BYTES = 4


def head_bytes(tokens: int) -> int:
    """What comes before the library's part of a state of so many tokens."""
    return HEADER.size + tokens * TOKEN_BYTES


@dataclass(frozen=True, slots=True)
class PromptState:
    """The state of a conversation's prompt, in a memfd that nobody can make larger or smaller.

    `descriptor` is its owner's to close. What is in it behind the header is the worker's: opaque here, sealed
    on disk.
    """

    descriptor: int
    tokens: int
    state_bytes: int


@dataclass(frozen=True, slots=True)
class KeptState:
    """What is known of a state on disk. `binding` is what it may be used with."""

    binding: bytes
    tokens: int
    state_bytes: int
