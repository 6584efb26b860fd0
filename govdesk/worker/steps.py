"""From one token of an answer to the logits of the next: one by one, or several at once where text repeats.

Computing a few tokens at once costs less than one after the other. Where a drafter proposes how the answer
goes on (`govdesk.worker.drafters`), that is computed along, and the sampler chooses at each place as it
would have: what differs is thrown away, and the answer is the same, token for token.

To the last bit that holds where the library gives the same logits for a token alone and among others. With
several threads it does not: for one token it cuts attention into as many parts as there are threads, for
several tokens it does not cut, and the sums round otherwise. So where an answer is to come out the same
again (temperature 0, or a seed that somebody gave), drafts are used only while one thread decodes: on one
processor, or where others keep the rest busy. And it is tried: a token is computed both ways, and only where
the logits were the same every time, for so many tokens at once, drafts are used. An answer that is drawn
anew each time may round as another number of threads does, and there drafts are used with any number.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable

from llama_cpp import llama_cpp as lib

from govdesk.worker.aside import Sequence
from govdesk.worker.drafters import LEAST, Drafter
from govdesk.worker.sequences import OK, Batch, Sequences

DRAFTED = (16, 8, LEAST)
"""So many tokens at once. With more (64) the library computes attention in another way again."""
TRIALS = 3
"""So often the logits must have been the same, alone and among others."""


class Steps:
    """One token after the other.

    Args:
        sequences: the context's.
        sequence: holds the prompt, read.
    """

    def __init__(self, sequences: Sequences, sequence: Sequence) -> None:
        self._sequence = sequence
        self._compute, self._fill = sequences.decode, sequences.one.fill
        self.index = -1
        """Where the logits are that choose the next token."""

    def go_on(self, token: int) -> int:
        """The answer goes on with this token; the library's answer."""
        tokens = (token,)
        return self._compute(self._sequence, tokens, self._fill(self._sequence, tokens, wanted=1))

    def end(self) -> None:
        """No more tokens: the sequence holds what was chosen and computed, and nothing else."""


class Trials:
    """For which numbers of tokens at once the library computes each as it does alone: once per model."""

    def __init__(self) -> None:
        self._same: dict[int, int] = {}

    def passed(self, drafted: int) -> bool:
        """Drafts of so many tokens may be used."""
        return self._same.get(drafted, 0) >= TRIALS

    def failed(self, drafted: int) -> bool:
        """They may not."""
        return self._same.get(drafted, 0) < 0

    def add(self, drafted: int, *, same: bool) -> None:
        """One trial's outcome; one that differs is enough."""
        self._same[drafted] = self._same.get(drafted, 0) + 1 if same and not self.failed(drafted) else -1


class DraftedSteps(Steps):
    """Several tokens at once where somebody proposes them.

    Args:
        context: the library's.
        sequences: its sequences.
        sequence: holds the prompt, read.
        vocabulary_tokens: how many logits there are for a token.
        context_tokens: what fits.
        trials: what is known of this model.
        threads: with how many it is decoded now.
        drafters: the first that proposes something is taken.
        exact: the answer is to be the same as without drafts, to the last token.
        clock: seconds.
    """

    def __init__(
        self,
        context: lib.llama_context_p,
        sequences: Sequences,
        sequence: Sequence,
        vocabulary_tokens: int,
        context_tokens: int,
        trials: Trials,
        threads: Callable[[], int],
        drafters: tuple[Drafter, ...],
        clock: Callable[[], float] = time.perf_counter,
        *,
        exact: bool = True,
    ) -> None:
        super().__init__(sequences, sequence)
        self._context = context
        self._sequences = sequences
        self._logits_bytes = vocabulary_tokens * ctypes.sizeof(ctypes.c_float)
        self._context_tokens = context_tokens
        self._trials = trials
        self._threads = threads
        self._exact = exact
        self._clock = clock
        self._batch = Batch(1 + max(DRAFTED))
        self._drafters = drafters
        self._drafter = drafters[0]
        self._held = len(sequence.tokens)
        """So many tokens of the sequence are the text; drafts that nobody chose yet come after them."""
        self._left: list[int] = []
        self._hits = 0
        self._alone_seconds = 0.0
        self._batch_seconds = 0.0
        """What the last draft cost, its making included."""
        self._draft_seconds = 0.0

    def go_on(self, token: int) -> int:
        """As `Steps.go_on`; nothing is computed for a token that was drafted."""
        for drafter in self._drafters:
            drafter.add(token)
        if self._left:
            if token == self._left[0]:
                del self._left[0]
                self._hits += 1
                self._held += 1
                self.index += 1
                return OK
            self._drop()
        if self._batch_seconds:
            self._judge()
        draft = self._draft()
        if not draft:
            return self._alone(token)
        if not self._exact or self._trials.passed(len(draft)):
            return self._together(token, draft)
        return self._try(token, draft)

    def end(self) -> None:
        """Drafts that nobody chose are thrown away."""
        self._drop()

    def _alone(self, token: int) -> int:
        started = self._clock()
        result = super().go_on(token)
        seconds = self._clock() - started
        self._alone_seconds = min(self._alone_seconds or seconds, seconds)
        self._held = len(self._sequence.tokens)
        self.index = -1
        return result

    def _together(self, token: int, draft: list[int]) -> int:
        started = self._clock()
        tokens = [token, *draft]
        result = self._compute(
            self._sequence, tokens, self._batch.fill(self._sequence, tokens, wanted=len(tokens))
        )
        if result != OK:
            self._held = len(self._sequence.tokens)
            return result
        self._batch_seconds = self._draft_seconds + self._clock() - started
        self._held += 1
        self._left, self._hits, self.index = draft, 0, 0
        return OK

    def _try(self, token: int, draft: list[int]) -> int:
        """Both ways; alone once more where they differ."""
        result = self._alone(token)
        if result != OK:
            return result
        alone = self._logits(-1)
        if not self._sequences.cut(self._sequence, self._held - 1):
            return _LOST
        self._held -= 1
        result = self._together(token, draft)
        if result != OK:
            return result
        self._batch_seconds = 0.0  # a trial is no measure of what drafts cost
        same = self._logits(0) == alone
        self._trials.add(len(draft), same=same)
        if same:
            return OK
        self._left = []
        if not self._sequences.cut(self._sequence, self._held - 1):
            return _LOST
        self._held -= 1
        return self._alone(token)

    def _draft(self) -> list[int]:
        most = self._context_tokens - self._held - 1
        if most < LEAST or (self._exact and self._threads() != 1):
            return []
        for drafter in self._drafters:
            started = self._clock()
            draft = drafter.draft(min(most, max(DRAFTED)))
            for size in DRAFTED:
                if size <= len(draft) and not (self._exact and self._trials.failed(size)):
                    self._drafter, self._draft_seconds = drafter, self._clock() - started
                    return draft[:size]
        return []

    def _judge(self) -> None:
        """Tokens won against time spent."""
        cost = self._batch_seconds / self._alone_seconds if self._alone_seconds else 1.0
        self._batch_seconds = 0.0
        self._drafter.judge(1 + self._hits - cost, self._hits)

    def _drop(self) -> None:
        self._left = []
        if len(self._sequence.tokens) > self._held:
            self._sequences.cut(self._sequence, self._held)

    def _logits(self, index: int) -> bytes:
        return ctypes.string_at(lib.llama_get_logits_ith(self._context, index), self._logits_bytes)


_LOST = -1
"""The library would not cut its memory; nothing can be computed on what it holds."""
