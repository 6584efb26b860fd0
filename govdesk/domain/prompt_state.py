"""What the worker has read of a conversation, as a thing that can be put away and taken out again."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PromptState:
    """The state of a conversation's prompt, in a memfd that nobody can make larger or smaller.

    `descriptor` is its owner's to close. What is in it is the worker's: opaque here, sealed on disk.
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
