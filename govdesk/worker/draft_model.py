"""A small model with the same tokens, which proposes how a large one's answer goes on.

It is loaded beside the large one and holds the same text in a context of its own. It catches up with a long
text in parts, one for each token of the answer, and proposes nothing until then: no token waits long for it.
"""

from __future__ import annotations

from llama_cpp import llama_cpp as lib

from govdesk.domain.frames import LoadModel
from govdesk.worker.sequences import OK, common

CATCH_UP_TOKENS = 128
"""Read at a time while it catches up."""
_MOST_MORE_TOKENS = 128
"""Vocabularies of one family differ by so many unused tokens at most."""
_NUMBER = 0


class DraftModelError(Exception):
    """It cannot be used; `code` crosses to the trusted side."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class DraftModel:
    """A loaded small model.

    Args:
        model: the library's.
        order: as the large one was loaded.
        vocabulary: the large model's, the library's handle.

    Raises:
        DraftModelError: `draft.vocabulary`: its tokens are others; `draft.no-context`.
    """

    def __init__(self, model: lib.llama_model_p, order: LoadModel, vocabulary: object) -> None:
        self._vocabulary = lib.llama_model_get_vocab(model)
        if not _same_tokens(self._vocabulary, vocabulary):
            raise DraftModelError("draft.vocabulary")
        self._most_token = int(lib.llama_vocab_n_tokens(vocabulary))
        settings = lib.llama_context_default_params()
        settings.n_ctx = self._context_tokens = min(
            order.context_tokens, int(lib.llama_model_n_ctx_train(model))
        )
        settings.n_batch = settings.n_ubatch = CATCH_UP_TOKENS
        settings.n_seq_max = 1
        settings.n_threads, settings.n_threads_batch = order.threads, order.batch_threads or order.threads
        settings.no_perf = True
        self._context = lib.llama_init_from_model(model, settings)
        if not self._context:
            raise DraftModelError("draft.no-context")
        self._memory = lib.llama_get_memory(self._context)
        self._greedy = lib.llama_sampler_init_greedy()
        self._tokens = (lib.llama_token * CATCH_UP_TOKENS)()
        self._held: list[int] = []
        self._agreed = 0
        """So many of what is held are the text's."""

    def set_threads(self, decode_with: int, read_with: int) -> None:
        """Compute with so many threads from now on."""
        lib.llama_set_n_threads(self._context, decode_with, read_with)

    def begin(self, text: list[int]) -> None:
        """Another text; what of it is held is used again."""
        self._agreed = common(self._held, text)

    def propose(self, text: list[int], most: int) -> list[int]:
        """How the text may go on, up to `most` tokens; nothing while it catches up, or when it fails.

        Args:
            text: that of `begin`, and what came since.
            most: tokens.
        """
        if len(text) + most >= self._context_tokens:
            return []
        while (
            self._agreed < min(len(self._held), len(text)) and self._held[self._agreed] == text[self._agreed]
        ):
            self._agreed += 1
        self._agreed = min(self._agreed, len(text) - 1)  # the last is computed anew: its logits choose
        if not self._cut(self._agreed):
            return []
        missing = text[self._agreed : self._agreed + CATCH_UP_TOKENS]
        if not self._read(missing):
            return []
        self._agreed = len(self._held)
        if self._agreed < len(text):
            return []
        proposed: list[int] = []
        while len(proposed) < most:
            token = int(lib.llama_sampler_sample(self._greedy, self._context, -1))
            if not 0 <= token < self._most_token or lib.llama_vocab_is_eog(self._vocabulary, token):
                break
            proposed.append(token)
            if len(proposed) < most and not self._read([token]):
                break
        return proposed

    def _read(self, tokens: list[int]) -> bool:
        self._tokens[: len(tokens)] = tokens
        if lib.llama_decode(self._context, lib.llama_batch_get_one(self._tokens, len(tokens))) != OK:
            self._cut(0)
            return False
        self._held += tokens
        return True

    def _cut(self, length: int) -> bool:
        """Hold only the first tokens; False when the library would not, and then it holds nothing."""
        if length >= len(self._held):
            return True
        if not lib.llama_memory_seq_rm(self._memory, _NUMBER, length, -1):
            lib.llama_memory_clear(self._memory, False)
            self._held, self._agreed = [], 0
            return False
        del self._held[length:]
        self._agreed = min(self._agreed, length)
        return True


def _same_tokens(small: object, large: object) -> bool:
    """Whether every token that both have is the same text."""
    counts = [int(lib.llama_vocab_n_tokens(one)) for one in (small, large)]
    if abs(counts[0] - counts[1]) > _MOST_MORE_TOKENS:
        return False
    if any(of(small) != of(large) for of in (lib.llama_vocab_type, lib.llama_vocab_bos, lib.llama_vocab_eos)):
        return False
    text = lib.llama_vocab_get_text
    return all(text(small, token) == text(large, token) for token in range(min(counts)))
