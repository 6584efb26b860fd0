"""What the context holds of which conversation, token by token: what was read once is not read again.

A context has a few sequences in one memory. Each holds the tokens of one conversation, or nothing. For a
new prompt the longest common prefix over all of them wins: in the conversation's own sequence the rest is
cut off, from another's the prefix is shared (no copy: the cells belong to both). When the cells run out, the
sequence that was used longest ago goes first.

The list of tokens is never more than what the memory really holds: after anything that failed or was
stopped, the library is asked. A memory that cannot be cut (recurrent models, windows that slid on) is
only ever continued where it ends; else the prompt is read whole.

The library computes few tokens with other kernels than many, and rounds otherwise there: a logit moves by
up to 0.9 with the embedded model, which may turn a near tie. Where an answer has to repeat itself
(temperature 0), only tokens that were computed among many are used again, and at least as many are read
anew: then the prompt is computed as if it were read whole.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence as Tokens
from dataclasses import dataclass, field

from llama_cpp import llama_cpp as lib

MANY_TOKENS = 64
"""From so many tokens at once on the library computes them as in any larger batch (GGML_FA_TILE_Q)."""
OK = 0
NO_ROOM = 1
"""llama_decode's answer when there are too few free cells; nothing was changed."""
_TO_THE_END = -1
_STRETCH = 1024


@dataclass(slots=True)
class Sequence:
    """One sequence of the context. `number` is the library's name for it."""

    number: int
    conversation: str = ""
    tokens: list[int] = field(default_factory=list)
    among_many: int = 0
    """So many of the first tokens were computed at least `MANY_TOKENS` at once."""
    used: int = 0
    """When it was used last, as a count of uses."""


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
        self._number = (lib.llama_seq_id * 1)()
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
        self._number[0] = sequence.number
        self._native.n_tokens = count
        return self._native


class Sequences:
    """The sequences of one context, and which conversation each holds.

    Args:
        context: the library's context, made with `kv_unified`.
        model: its model.
        count: how many sequences the context was made with.
        context_tokens: how many cells its memory has.
        batch_tokens: most tokens of one native decode.
    """

    def __init__(
        self,
        context: lib.llama_context_p,
        model: lib.llama_model_p,
        count: int,
        context_tokens: int,
        batch_tokens: int,
    ) -> None:
        self._context = context
        self._memory = lib.llama_get_memory(context)
        self._all = [Sequence(number) for number in range(count)]
        self._context_tokens = context_tokens
        self._uses = 0
        self._cuttable = not (lib.llama_model_is_recurrent(model) or lib.llama_model_is_hybrid(model))
        self._batch = Batch(batch_tokens)
        self.one = Batch(1)
        """For the decode loop: the batch of one token."""

    def can_cut(self, sequence: Sequence) -> bool:
        """True where tokens can be taken away from a sequence's end."""
        return self._cuttable and self._first(sequence) == 0

    def of(self, conversation: str) -> Sequence | None:
        """The sequence that holds something of a conversation."""
        found = (one for one in self._all if one.conversation == conversation and one.tokens)
        return next(found, None) if conversation else None

    @property
    def unused(self) -> Sequence | None:
        """A sequence to try things in, while the memory holds nothing that could be used again."""
        return None if any(one.tokens for one in self._all) else self._all[0]

    def begin(self, conversation: str, prompt: Tokens[int], *, exact: bool = False) -> Sequence:
        """The sequence to read a prompt in; it holds the longest prefix that was read before.

        At least the last token of the prompt is left to be read: its logits choose the first token.

        Args:
            conversation: whose prompt it is; empty: nobody's.
            prompt: all of its tokens, at least one.
            exact: the prompt is to be computed as if it were read whole.
        """
        most = list(prompt[: max(0, len(prompt) - (MANY_TOKENS if exact else 1))])
        prefix, source = 0, None
        for one in self._all:
            common = _common(one.tokens, most)
            common = min(common, one.among_many) if exact else common
            if common > prefix or (common == prefix > 0 and one.conversation == conversation):
                prefix, source = common, one
        if source is not None and source.conversation == conversation:
            target = source
        else:
            target = self.of(conversation) or self._oldest()
        if source is None or not self._take(source, target, prefix):
            self.clear(target)
        target.conversation = conversation
        self._touch(target)
        return target

    def read(self, sequence: Sequence, tokens: Tokens[int], *, logits: bool) -> int:
        """Compute tokens at the end of a sequence, at most a batch; the library's answer.

        Afterwards the sequence holds what the memory holds, whatever the answer was.
        """
        start = len(sequence.tokens)
        result = self.decode(sequence, tokens, self._batch.fill(sequence, tokens, wanted=int(logits)))
        if result == OK and len(tokens) >= MANY_TOKENS and sequence.among_many == start:
            sequence.among_many = start + len(tokens)
        return result

    def decode(self, sequence: Sequence, tokens: Tokens[int], batch: lib.llama_batch) -> int:
        """The same for a batch that was filled already; older sequences make room when there is none."""
        result = lib.llama_decode(self._context, batch)
        while result == NO_ROOM and self._evict(sequence):
            result = lib.llama_decode(self._context, batch)
        sequence.tokens.extend(tokens)
        if result != OK:
            self.settle(sequence)
        return int(result)

    def cut(self, sequence: Sequence, length: int) -> bool:
        """Keep the first `length` tokens; False when that cannot be, and then it holds nothing."""
        held = len(sequence.tokens)
        if length < held:
            whole = self._cuttable and self._first(sequence) == 0
            if not whole or not lib.llama_memory_seq_rm(self._memory, sequence.number, length, _TO_THE_END):
                self.clear(sequence)
                return length == 0
            self._shorten(sequence, length)
        if self._end(sequence) != len(sequence.tokens):
            self.clear(sequence)
        return len(sequence.tokens) == length

    def settle(self, sequence: Sequence) -> None:
        """After a decode that failed or was stopped: hold for read what the memory really has, no more.

        A memory that cannot be cut may have been changed half: nothing of it is used.
        """
        end = self._end(sequence)
        if not self._cuttable or self._first(sequence) > 0 or end > len(sequence.tokens):
            self.clear(sequence)
        else:
            self._shorten(sequence, end)

    def clear(self, sequence: Sequence) -> None:
        """Empty a sequence; that never fails."""
        lib.llama_memory_seq_rm(self._memory, sequence.number, -1, -1)
        self._shorten(sequence, 0)
        sequence.conversation = ""
        sequence.used = 0

    def forget(self, conversation: str) -> None:
        """Drop what was read of a conversation."""
        if (sequence := self.of(conversation)) is not None:
            self.clear(sequence)

    def empty_for(self, conversation: str, tokens: int) -> Sequence:
        """An empty sequence for a conversation, with room for so many tokens in the memory."""
        target = self.of(conversation) or self._oldest()
        self.clear(target)
        while sum(len(one.tokens) for one in self._all) + tokens > self._context_tokens:
            if not self._evict(target):
                break
        return target

    def restored(self, sequence: Sequence, conversation: str, tokens: Tokens[int], among_many: int) -> bool:
        """A state was put in by the library: hold it for read when it ends where its tokens say."""
        if self._end(sequence) != len(tokens):
            self.clear(sequence)
            return False
        sequence.tokens, sequence.among_many = list(tokens), among_many
        sequence.conversation = conversation
        self._touch(sequence)
        return True

    def _take(self, source: Sequence, target: Sequence, prefix: int) -> bool:
        """Let the target hold the first `prefix` tokens of the source; False when that cannot be."""
        if source is target:
            return self.cut(target, prefix)
        if prefix < len(source.tokens) and not (self._cuttable and self._first(source) == 0):
            return False
        tokens, among_many = source.tokens[:prefix], min(source.among_many, prefix)
        self.clear(target)
        lib.llama_memory_seq_cp(self._memory, source.number, target.number, 0, prefix)
        target.tokens, target.among_many = tokens, among_many
        return self._end(target) == prefix

    def _oldest(self) -> Sequence:
        """The sequence that was used longest ago, an empty one first."""
        return min(self._all, key=lambda one: one.used)

    def _evict(self, keep: Sequence) -> bool:
        """Empty the sequence that was used longest ago; False when there is none but the one to keep."""
        others = [one for one in self._all if one is not keep and one.tokens]
        if not others:
            return False
        self.clear(min(others, key=lambda one: one.used))
        return True

    @staticmethod
    def _shorten(sequence: Sequence, length: int) -> None:
        del sequence.tokens[length:]
        sequence.among_many = min(sequence.among_many, length)

    def _touch(self, sequence: Sequence) -> None:
        self._uses += 1
        sequence.used = self._uses

    def _end(self, sequence: Sequence) -> int:
        return int(lib.llama_memory_seq_pos_max(self._memory, sequence.number)) + 1

    def _first(self, sequence: Sequence) -> int:
        return int(lib.llama_memory_seq_pos_min(self._memory, sequence.number))


def stretch(start: int, end: int, most: int) -> int:
    """How many tokens to read next of those from `start` to `end`: no few are left for the last."""
    left = end - start
    if left <= most or left - most >= MANY_TOKENS:
        return min(left, most)
    return max(1, left - MANY_TOKENS)


def _common(held: list[int], prompt: list[int]) -> int:
    """How many tokens both begin with; whole stretches are compared at once."""
    shorter = min(len(held), len(prompt))
    for start in range(0, shorter, _STRETCH):
        if held[start : start + _STRETCH] == prompt[start : start + _STRETCH]:
            continue
        for at in range(start, min(start + _STRETCH, shorter)):
            if held[at] != prompt[at]:
                return at
    return shorter
