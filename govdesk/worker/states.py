"""What was read of a conversation, as bytes: written into and taken from a memfd of the trusted side, mapped.

The bytes are a small header of ours (format, numbers of tokens, the tokens), and then the library's state of
one sequence. Nothing in them is believed when they come back: format, lengths, each token and the library's
own result are checked, and a state that is odd in anything is refused whole.

They hold what stood in a prompt, and nothing that the model made after it: what may be shown and kept of an
answer is judged on the other side, and comes back in the next prompt.

The worker never holds a key: bytes leave and enter by descriptor, and what seals them is the other side.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import mmap
import os
from collections.abc import Iterator

from govdesk.domain.frames import StateRestored, StateSize, StateWritten
from govdesk.domain.prompt_state import HEADER, MAGIC, TOKEN_BYTES, VERSION, head_bytes
from govdesk.worker.aside import Sequence
from govdesk.worker.sequences import Sequences

_FAILED = ctypes.c_void_p(-1).value
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long,
)  # fmt: skip
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


class States:
    """The states of a context's sequences, by conversation.

    Args:
        sequences: the context's.
        vocabulary_tokens: the model's; no token of a state is beyond.
        context_tokens: what fits.
    """

    def __init__(self, sequences: Sequences, vocabulary_tokens: int, context_tokens: int) -> None:
        self._sequences = sequences
        self._vocabulary_tokens = vocabulary_tokens
        self._context_tokens = context_tokens

    def size(self, conversation: str) -> StateSize:
        """How much was read of a conversation's prompt, and the size of its state; 0: not to be had."""
        held = self._sequences.of(conversation)
        state = self._sequences.told_bytes(held) if held is not None else 0
        if held is None or not state:
            return StateSize(conversation=conversation, tokens=0, state_bytes=0)
        total = head_bytes(held.told) + state
        return StateSize(conversation=conversation, tokens=held.told, state_bytes=total)

    def write(self, conversation: str, descriptor: int) -> StateWritten:
        """Write what was read of a conversation's prompt into a memfd of exactly its size; else nothing."""
        written = 0
        with self._sequences.told_alone(conversation) as held, contextlib.suppress(OSError):
            if held is not None:
                written = self._write(held, descriptor)
        return StateWritten(conversation=conversation, state_bytes=written)

    def restore(self, conversation: str, descriptor: int) -> StateRestored:
        """Take what was read of a conversation from a memfd; what was held of it before is dropped."""
        self._sequences.forget(conversation)
        tokens = 0
        if conversation:
            with contextlib.suppress(OSError):
                tokens = self._restore(conversation, descriptor)
        return StateRestored(conversation=conversation, tokens=tokens)

    def forget(self, conversation: str) -> None:
        """Drop what was read of a conversation."""
        self._sequences.forget(conversation)

    def _write(self, held: Sequence, descriptor: int) -> int:
        head = head_bytes(len(held.tokens))
        total = head + self._sequences.state_bytes(held)
        if os.fstat(descriptor).st_size != total:
            return 0
        with _mapped(descriptor, total, writable=True) as address:
            ctypes.memmove(address, _head(held), head)
            written = self._sequences.write_state(held, address + head, total - head)
        return total if written else 0

    def _restore(self, conversation: str, descriptor: int) -> int:
        total = os.fstat(descriptor).st_size
        if total <= HEADER.size:
            return 0
        with _mapped(descriptor, total, writable=False) as address:
            magic, version, count, among_many = HEADER.unpack(ctypes.string_at(address, HEADER.size))
            head = head_bytes(count)
            if (magic, version) != (MAGIC, VERSION) or not 0 < count < self._context_tokens:
                return 0
            if head >= total or among_many > count:
                return 0
            tokens = array.array("i", ctypes.string_at(address + HEADER.size, count * TOKEN_BYTES)).tolist()
            if not all(0 <= token < self._vocabulary_tokens for token in tokens):
                return 0
            taken = self._sequences.read_state(conversation, tokens, among_many, address + head, total - head)
        if not taken:
            self._sequences.clear()
            return 0
        return int(count)


def _head(held: Sequence) -> bytes:
    tokens = held.tokens
    return HEADER.pack(MAGIC, VERSION, len(tokens), held.among_many) + array.array("i", tokens).tobytes()


@contextlib.contextmanager
def _mapped(descriptor: int, length: int, *, writable: bool) -> Iterator[int]:
    """The memfd's bytes at an address, for as long as the block lasts; no copy of them is made.

    For reading the mapping is private: kernels before 6.7 do not share a memfd that is sealed against
    writing. For writing it is shared, so it counts as no private memory of ours.
    """
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    kind = mmap.MAP_SHARED if writable else mmap.MAP_PRIVATE
    address = _libc.mmap(None, length, protection, kind, descriptor, 0)
    if address is None or address == _FAILED:
        raise OSError(ctypes.get_errno(), "mmap")
    try:
        yield address
    finally:
        _libc.munmap(address, length)
