"""How the next token is chosen: the library's samplers, all native; a grammar keeps the answer in its shape.

The library ends the process when a grammar has no way on or is given a token that it forbids. So a token is
tried against the grammar before the grammar is told of it, and `STUCK` is the answer when nothing is left.
"""

from __future__ import annotations

import ctypes
import math
import time
from typing import Any

from llama_cpp import llama_cpp as lib

from govdesk.domain import gbnf
from govdesk.domain.frames import Generate
from govdesk.errors import UsageError
from govdesk.worker.tokens import Vocabulary

PENALTY_LAST_TOKENS = 64
STUCK = -1
"""No token: the grammar forbids all of them."""
TOO_SLOW = -2
"""No token: one step of the grammar took too long, and the next would take longer."""
STEP_SECONDS = 2.0
"""Most processor time for one step of a grammar: a usual one takes some ten milliseconds."""


class GrammarRefusedError(Exception):
    """The grammar cannot be used."""


class Sampler:
    """Chooses by temperature and penalties alone.

    Args:
        order: the numbers.
        vocabulary: the model's.
    """

    def __init__(self, order: Generate, vocabulary: Vocabulary) -> None:
        self._chain = _chain(order, vocabulary.size)
        self._sample = lib.llama_sampler_sample

    def know(self, tokens: tuple[int, ...]) -> None:
        """Take the prompt's tokens into account: penalties look at the last ones."""
        for token in tokens[-PENALTY_LAST_TOKENS:]:
            lib.llama_sampler_accept(self._chain, token)

    def choose(self, context: lib.llama_context_p, index: int) -> int:
        """The next token after the batch's token `index` (-1: its last), remembered as chosen."""
        return int(self._sample(self._chain, context, index))

    def free(self) -> None:
        """Give the native memory back."""
        lib.llama_sampler_free(self._chain)


class GrammarSampler(Sampler):
    """Chooses as `Sampler` does, among what a grammar allows.

    First freely: most tokens of a model that was told the shape are allowed, and trying one token costs
    microseconds. Only when that one is forbidden all of the vocabulary is tried, and chosen from again.

    Raises:
        GrammarRefusedError: the grammar cannot be used.
    """

    def __init__(self, order: Generate, vocabulary: Vocabulary) -> None:
        try:
            gbnf.check(order.grammar)
        except UsageError as error:
            raise GrammarRefusedError from error
        self._grammar = lib.llama_sampler_init_grammar(
            vocabulary.handle, order.grammar.encode("utf-8"), gbnf.ROOT.encode("ascii")
        )
        if not self._grammar:
            raise GrammarRefusedError
        super().__init__(order, vocabulary)
        self._greedy = lib.llama_sampler_init_greedy()
        self._within = False
        self._stuck = False
        # the library fills the candidates from the logits; this sampler then has them
        self._interface = lib.llama_sampler_i(apply=lib.llama_sampler_i_apply(self._apply))
        self._all = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        lib.llama_sampler_chain_add(self._all, lib.llama_sampler_init(ctypes.byref(self._interface), None))
        self._one = (lib.llama_token_data * 1)()
        self._tried = lib.llama_token_data_array(data=self._one, size=1, selected=-1, sorted=False)

    def choose(self, context: lib.llama_context_p, index: int) -> int:
        """As `Sampler.choose`; `STUCK` when the grammar forbids every token, `TOO_SLOW` in time."""
        started = time.thread_time()
        self._within = self._stuck = False
        token = int(self._sample(self._all, context, index))
        if not self._allows(token):
            self._within = True
            token = int(self._sample(self._all, context, index))
            if self._stuck:
                return STUCK
        lib.llama_sampler_accept(self._grammar, token)
        lib.llama_sampler_accept(self._chain, token)
        return token if time.thread_time() - started < STEP_SECONDS else TOO_SLOW

    def free(self) -> None:
        """Give the native memory back."""
        for native in (self._all, self._grammar, self._greedy):
            lib.llama_sampler_free(native)
        super().free()

    def _allows(self, token: int) -> bool:
        self._one[0] = lib.llama_token_data(id=token, logit=0.0, p=0.0)
        lib.llama_sampler_apply(self._grammar, ctypes.byref(self._tried))
        return bool(self._one[0].logit > -math.inf)

    def _apply(self, _sampler: object, candidates: Any) -> None:  # noqa: ANN401  a native pointer
        if self._within:
            lib.llama_sampler_apply(self._grammar, candidates)
            lib.llama_sampler_apply(self._greedy, candidates)
            best = candidates.contents
            if not best.data[best.selected].logit > -math.inf:
                self._stuck = True
                return
        lib.llama_sampler_apply(self._chain, candidates)


def sampler(order: Generate, vocabulary: Vocabulary) -> Sampler:
    """What chooses an answer's tokens; the caller frees it.

    Raises:
        GrammarRefusedError: its grammar cannot be used.
    """
    return GrammarSampler(order, vocabulary) if order.grammar else Sampler(order, vocabulary)


def _chain(order: Generate, vocabulary_tokens: int) -> lib.llama_sampler_p:
    """The sampler chain; temperature 0 is greedy. Few candidates first: penalties search.

    A greedy choice needs no more than one candidate that has no penalty, and a penalty only takes away:
    the best that many remain. That is 0.04 ms a token for 49,000 candidates, and 0.15 ms without.
    """
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    greedy = order.temperature <= 0.0
    if not greedy:
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_k(order.top_k))
    elif order.repeat_penalty > 1.0:
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_k(PENALTY_LAST_TOKENS + 1))
    if order.repeat_penalty != 1.0:
        penalties = lib.llama_sampler_init_penalties(
            vocabulary_tokens, PENALTY_LAST_TOKENS, order.repeat_penalty, 0.0, 0.0
        )
        lib.llama_sampler_chain_add(chain, penalties)
    if greedy:
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_greedy())
        return chain
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_p(order.top_p, 1))
    if order.min_p > 0.0:
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_min_p(order.min_p, 1))
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_temp(order.temperature))
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_dist(order.seed))
    return chain
