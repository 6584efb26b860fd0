"""How the next token is chosen: the library's sampler chain, all native."""

from __future__ import annotations

from llama_cpp import llama_cpp as lib

from govdesk.domain.frames import Generate

PENALTY_LAST_TOKENS = 64


def sampler(order: Generate, vocabulary_tokens: int) -> lib.llama_sampler_p:
    """The sampler chain of an answer; temperature 0 is greedy. Few candidates first: penalties search.

    The caller frees it.
    """
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    greedy = order.temperature <= 0.0
    if not greedy:
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_k(order.top_k))
    if order.repeat_penalty != 1.0:
        penalties = lib.llama_sampler_init_penalties(
            vocabulary_tokens, PENALTY_LAST_TOKENS, order.repeat_penalty, 0.0, 0.0
        )
        lib.llama_sampler_chain_add(chain, penalties)
    if greedy:
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_greedy())
        return chain
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_p(order.top_p, 1))
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_temp(order.temperature))
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_dist(order.seed))
    return chain
