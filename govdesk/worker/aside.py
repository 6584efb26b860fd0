"""Conversations that the context has no place for now, set aside in the worker's own memory.

The context computes over one conversation at a time: tokens of others beside it would have to be passed over
for each token of an answer. What was read of the others is kept here as the library's state of a sequence,
copied out and in again at the speed of memory; the one that was left longest ago goes first when there is no
room. Nothing here leaves the process.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
from dataclasses import dataclass, field

from llama_cpp import llama_cpp as lib


@dataclass(slots=True, eq=False)
class Sequence:
    """What was read of one conversation, token by token."""

    conversation: str = ""
    tokens: list[int] = field(default_factory=list)
    among_many: int = 0
    """So many of the first tokens were computed at least `MANY_TOKENS` at once."""
    told: int = 0
    """So many of the first tokens stood in a prompt. What follows was made by the model; nobody judged it."""
    told_bytes: int = 0
    """The size of the library's state of those alone, where something follows; 0: not to be had alone."""


@dataclass(slots=True, eq=False, kw_only=True)
class Kept(Sequence):
    """A sequence that was set aside, with the library's state of it."""

    state: mmap.mmap

    @property
    def address(self) -> int:
        """Where the state's bytes are, for native code; until it is dropped."""
        return ctypes.addressof(ctypes.c_char.from_buffer(self.state))


class Aside:
    """States of a context's sequence, within so many bytes.

    Args:
        context: the library's context.
        number: the library's name for the sequence.
        most_bytes: of all states together; 0: none is kept.
    """

    def __init__(self, context: lib.llama_context_p, number: int, most_bytes: int) -> None:
        self._context = context
        self._number = number
        self._most_bytes = most_bytes
        self.all: list[Kept] = []
        """The one that was left longest ago first."""

    def of(self, conversation: str) -> Kept | None:
        """What is kept of a conversation."""
        return next((kept for kept in self.all if kept.conversation == conversation), None)

    def keep(self, now: Sequence, needed: Kept | None = None) -> Kept | None:
        """Copy the sequence's state out of the context; None when there is no room, or the library would not.

        Args:
            now: what the context holds; copied.
            needed: is not dropped to make room.
        """
        size = int(lib.llama_state_seq_get_size(self._context, self._number))
        spared = len(needed.state) if needed is not None else 0
        if not 0 < size <= self._most_bytes - spared:
            return None
        while sum(len(kept.state) for kept in self.all) + size > self._most_bytes:
            self.drop(next(kept for kept in self.all if kept is not needed))
        try:
            state = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except (OSError, MemoryError):
            return None
        with contextlib.suppress(OSError):  # a kernel without large pages
            state.madvise(mmap.MADV_HUGEPAGE)
        kept = Kept(now.conversation, list(now.tokens), now.among_many, now.told, now.told_bytes, state=state)
        written = int(lib.llama_state_seq_get_data(self._context, as_bytes(kept.address), size, self._number))
        if written != size:
            state.close()
            return None
        self.all.append(kept)
        return kept

    def drop(self, kept: Kept) -> None:
        """Give its memory back."""
        self.all.remove(kept)
        kept.state.close()


def as_bytes(address: int) -> object:
    """An address as the library's functions for states take it."""
    return ctypes.cast(address, ctypes.POINTER(ctypes.c_uint8))
