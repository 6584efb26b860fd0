"""What was read of which conversation, token by token: what was read once is not read again.

The context computes over one sequence: the tokens of one conversation, or nothing. Others are set aside
(`govdesk.worker.aside`). For a new prompt the longest common prefix over all of them wins: what the context
holds is cut there, or what was set aside is brought back first.

The list of tokens is never more than what the memory really holds: after anything that failed or was
stopped, the library is asked. A memory that cannot be cut (recurrent models, windows that slid on) is
only ever continued where it ends; else the prompt is read whole.

The library computes few tokens with other kernels than many, and rounds otherwise there: a logit moves by
up to 0.9 with the embedded model, which may turn a near tie. Where an answer has to repeat itself
(temperature 0), only tokens that were computed among many are used again, and at least as many are read
anew: then the prompt is computed as if it were read whole.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from collections.abc import Sequence as Tokens

from llama_cpp import llama_cpp as lib

from govdesk.worker.aside import Aside, Kept, Sequence, as_bytes

MANY_TOKENS = 64
"""From so many tokens at once on the library computes them as in any larger batch (GGML_FA_TILE_Q)."""
OK = 0
_NUMBER = 0
"""The library's name for the one sequence."""
_TO_THE_END = -1
_STRETCH = 1024


class Batch:
    """Tokens for one native decode, in memory of ours that is filled again and again.

    Args:
        size: most tokens.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._token = (lib.llama_token * size)()
        self._position = (lib.llama_pos * size)()
        self._counts = (ctypes.c_int32 * size)(*([1] * size))
        self._number = (lib.llama_seq_id * 1)(_NUMBER)
        pointer = ctypes.POINTER(lib.llama_seq_id)
        self._numbers = (pointer * size)(*([ctypes.cast(self._number, pointer)] * size))
        self._wanted = (ctypes.c_int8 * size)()
        self._native = lib.llama_batch(
            n_tokens=0,
            token=self._token,
            embd=None,
            pos=self._position,
            n_seq_id=self._counts,
            seq_id=self._numbers,
            logits=self._wanted,
        )

    def fill(self, sequence: Sequence, tokens: Tokens[int], *, wanted: int) -> lib.llama_batch:
        """The batch that puts tokens at the end of a sequence; logits for the last `wanted` of them."""
        count, start = len(tokens), len(sequence.tokens)
        self._token[:count] = tokens
        self._position[:count] = range(start, start + count)
        for at in range(count):
            self._wanted[at] = at >= count - wanted
        self._native.n_tokens = count
        return self._native


class Sequences:
    """The sequence of one context, and those that are set aside.

    Args:
        context: the library's context, made for one sequence.
        model: its model.
        aside_bytes: most memory for what is set aside.
        batch_tokens: most tokens of one native decode.
    """

    def __init__(
        self, context: lib.llama_context_p, model: lib.llama_model_p, aside_bytes: int, batch_tokens: int
    ) -> None:
        self._context = context
        self._memory = lib.llama_get_memory(context)
        self._now = Sequence()
        self._aside = Aside(context, _NUMBER, aside_bytes)
        self._cuttable = not (lib.llama_model_is_recurrent(model) or lib.llama_model_is_hybrid(model))
        self._batch = Batch(batch_tokens)
        self.one = Batch(1)
        """For the decode loop: the batch of one token."""

    def can_cut(self, sequence: Sequence) -> bool:
        """True where tokens can be taken away from the sequence's end."""
        return self._cuttable and self._first() == 0

    def of(self, conversation: str) -> Sequence | None:
        """What was read of a conversation."""
        if not conversation:
            return None
        if self._now.conversation == conversation and self._now.tokens:
            return self._now
        return self._aside.of(conversation)

    def state_bytes(self, held: Sequence) -> int:
        """The size of the library's state of it."""
        if isinstance(held, Kept):
            return len(held.state)
        return int(lib.llama_state_seq_get_size(self._context, _NUMBER))

    def told_bytes(self, held: Sequence) -> int:
        """The size of the library's state of what stood in a prompt; 0: it cannot be had alone."""
        if held.told == len(held.tokens):
            return self.state_bytes(held)
        if not held.told or (held is self._now and not self.can_cut(held)):
            return 0
        return held.told_bytes

    @contextlib.contextmanager
    def told_alone(self, conversation: str) -> Iterator[Sequence | None]:
        """What stood in a conversation's last prompt, and nothing that the model made after it.

        What the model made is cut off, and brought back afterwards where there is memory to set it aside.
        None where it cannot be had: a memory that cannot be cut, or no room.
        """
        held = self.of(conversation)
        if held is None or held.told == len(held.tokens):
            yield held
            return
        if not self.told_bytes(held):
            yield None
            return
        kept = held if isinstance(held, Kept) else None
        before = self._set_aside(kept)
        if kept is not None:
            if self._now.tokens and before is None:
                yield None
                return
            self._bring(kept)
        try:
            yield self._now if self.cut(self._now, held.told) else None
        finally:
            if before is not None:
                self._bring(before)
                self._aside.drop(before)
            elif kept is not None:
                self.clear()

    def write_state(self, held: Sequence, address: int, size: int) -> bool:
        """Copy the library's state of it, of exactly this size, to an address."""
        if isinstance(held, Kept):
            if len(held.state) == size:
                ctypes.memmove(address, held.address, size)
            return len(held.state) == size
        return int(lib.llama_state_seq_get_data(self._context, as_bytes(address), size, _NUMBER)) == size

    def read_state(
        self, conversation: str, tokens: Tokens[int], among_many: int, address: int, size: int
    ) -> bool:
        """Hold what a state from elsewhere says was read, where the library takes all of it."""
        self._leave(conversation)
        self.clear()
        taken = int(lib.llama_state_seq_set_data(self._context, as_bytes(address), size, _NUMBER))
        return taken == size and self._hold(Sequence(conversation, list(tokens), among_many, len(tokens)))

    @contextlib.contextmanager
    def emptied(self) -> Iterator[Sequence | None]:
        """The sequence, empty, to try things in; what it held is brought back. None: no memory for that."""
        before = self._set_aside() if self._now.tokens else None
        if self._now.tokens and before is None:
            yield None
            return
        self.clear()
        try:
            yield self._now
        finally:
            self.clear()
            if before is not None:
                self._bring(before)
                self._aside.drop(before)

    def begin(self, conversation: str, prompt: Tokens[int], *, exact: bool = False) -> Sequence:
        """The sequence to read a prompt in; it holds the longest prefix that was read before.

        At least the last token of the prompt is left to be read: its logits choose the first token.

        Args:
            conversation: whose prompt it is; empty: nobody's.
            prompt: all of its tokens, at least one.
            exact: the prompt is to be computed as if it were read whole.
        """
        most = list(prompt[: max(0, len(prompt) - (MANY_TOKENS if exact else 1))])
        prefix = 0
        source: Sequence = self._now
        held: tuple[Sequence, ...] = (self._now, *self._aside.all)
        for one in held:
            shared = common(one.tokens, most)
            shared = min(shared, one.among_many) if exact else shared
            if shared > prefix or (shared == prefix > 0 and one.conversation == conversation):
                prefix, source = shared, one
        if self._now.tokens != list(prompt[: len(self._now.tokens)]):  # else nothing of it is lost
            self._leave(conversation, needed=source if isinstance(source, Kept) else None)
        if isinstance(source, Kept):
            self._bring(source)
        self.cut(self._now, prefix)
        if (own := self._aside.of(conversation)) is not None:
            self._aside.drop(own)  # what the context holds goes on from here
        self._now.conversation, self._now.told = conversation, len(self._now.tokens)
        return self._now

    def read(self, sequence: Sequence, tokens: Tokens[int], *, logits: bool) -> int:
        """Compute tokens at the end of a sequence, at most a batch; the library's answer.

        Afterwards the sequence holds what the memory holds, whatever the answer was.
        """
        start = len(sequence.tokens)
        result = self.decode(sequence, tokens, self._batch.fill(sequence, tokens, wanted=int(logits)))
        if result == OK and len(tokens) >= MANY_TOKENS and sequence.among_many == start:
            sequence.among_many = start + len(tokens)
        return result

    def was_told(self, sequence: Sequence, *, whole: bool) -> None:
        """All that the sequence holds stood in a prompt; `whole`: that was its end, the model goes on."""
        sequence.told = len(sequence.tokens)
        if whole:
            sequence.told_bytes = self.state_bytes(sequence) if self.can_cut(sequence) else 0

    def decode(self, sequence: Sequence, tokens: Tokens[int], batch: lib.llama_batch) -> int:
        """The same for a batch that was filled already."""
        result = lib.llama_decode(self._context, batch)
        sequence.tokens.extend(tokens)
        if result != OK:
            self._settle()
        return int(result)

    def wait(self) -> None:
        """Until what a device computes is computed; the processor has done so when a decode returns."""
        lib.llama_synchronize(self._context)

    def cut(self, sequence: Sequence, length: int) -> bool:
        """Keep the first `length` tokens; False when that cannot be, and then it holds nothing."""
        if length < len(sequence.tokens):
            if not self.can_cut(sequence) or not lib.llama_memory_seq_rm(
                self._memory, _NUMBER, length, _TO_THE_END
            ):
                self.clear()
                return length == 0
            self._shorten(length)
        if self._end() != len(sequence.tokens):
            self.clear()
        return len(sequence.tokens) == length

    def clear(self) -> None:
        """Empty the sequence; that never fails."""
        lib.llama_memory_seq_rm(self._memory, _NUMBER, -1, -1)
        self._shorten(0)
        self._now.conversation = ""

    def forget(self, conversation: str) -> None:
        """Drop what was read of a conversation."""
        if conversation and self._now.conversation == conversation:
            self.clear()
        if (kept := self._aside.of(conversation)) is not None:
            self._aside.drop(kept)

    def _settle(self) -> None:
        """After a decode that failed or was stopped: hold for read what the memory really has, no more.

        A memory that cannot be cut may have been changed half: nothing of it is used.
        """
        end = self._end()
        if not self._cuttable or self._first() > 0 or end > len(self._now.tokens):
            self.clear()
        else:
            self._shorten(end)

    def _leave(self, conversation: str, needed: Kept | None = None) -> None:
        """Another conversation begins: what the context holds of the one before is set aside."""
        if self._now.conversation not in {"", conversation}:
            self._set_aside(needed)

    def _set_aside(self, needed: Kept | None = None) -> Kept | None:
        """Keep a copy of what the context holds; `needed` is not dropped for it."""
        now = self._now
        if not now.tokens:
            return None
        kept = self._aside.keep(now, needed)
        if kept is not None and not self.can_cut(now):
            kept.told_bytes = 0
        return kept

    def _bring(self, kept: Kept) -> None:
        """Put what was set aside into the context; what that holds is lost."""
        self.clear()
        size = len(kept.state)
        taken = int(lib.llama_state_seq_set_data(self._context, as_bytes(kept.address), size, _NUMBER))
        if taken != size or not self._hold(kept):
            self.clear()

    def _hold(self, held: Sequence) -> bool:
        """A state was put in by the library: hold it for read when it ends where its tokens say."""
        if self._end() != len(held.tokens):
            self.clear()
            return False
        now = self._now
        now.conversation, now.tokens[:] = held.conversation, held.tokens
        now.among_many, now.told, now.told_bytes = held.among_many, held.told, held.told_bytes
        return True

    def _shorten(self, length: int) -> None:
        now = self._now
        del now.tokens[length:]
        now.among_many, now.told = min(now.among_many, length), min(now.told, length)

    def _end(self) -> int:
        return int(lib.llama_memory_seq_pos_max(self._memory, _NUMBER)) + 1

    def _first(self) -> int:
        return int(lib.llama_memory_seq_pos_min(self._memory, _NUMBER))


def stretch(start: int, end: int, most: int, limit: int) -> int:
    """How many tokens to read next of those from `start` to `end`: no few now, and no few left for the last.

    Args:
        start: where to read on.
        end: of the prompt.
        most: so many are wanted at once; a few more where less than twice `MANY_TOKENS` are left.
        limit: never more than these.
    """
    left = end - start
    if left <= most or left - most >= MANY_TOKENS:
        return min(left, most)
    if left < 2 * MANY_TOKENS and left <= limit:
        return left
    return max(1, left - MANY_TOKENS)


def common(held: Tokens[int], prompt: Tokens[int]) -> int:
    """How many tokens both begin with; whole stretches are compared at once."""
    shorter = min(len(held), len(prompt))
    for start in range(0, shorter, _STRETCH):
        if list(held[start : start + _STRETCH]) == prompt[start : start + _STRETCH]:
            continue
        for at in range(start, min(start + _STRETCH, shorter)):
            if held[at] != prompt[at]:
                return at
    return shorter
