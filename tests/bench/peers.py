"""The loops GovDesk is measured against, each in a process of its own that waits for its turn.

`bare`: the same library, settings, prompt tokens and sampler in the shortest loop there is: the limit.
`high-level`: llama-cpp-python's own chat streaming: what a Python application would use.

Each takes a line (`N`, the most tokens) and answers with a line: tokens, seconds from the first to the
last of them, and the text.
"""

from __future__ import annotations

import json
import sys
import time

PROMPT = "Write a long and detailed story about a harbour town and its people."
SEED = 1
BATCH_TOKENS = 512
PENALTY_LAST_TOKENS = 64
REPEAT_PENALTY = 1.1


def bare(model: str, threads: int, context: int) -> None:
    """The limit: nothing per token but decode, sample, end of generation, the token's bytes."""
    from llama_cpp import llama_cpp as lib

    from govdesk.worker.template import ChatTemplate

    silent = lib.llama_log_callback(lambda _level, _text, _data: None)
    lib.llama_log_set(silent, None)
    lib.llama_backend_init()
    parameters = lib.llama_model_default_params()
    parameters.n_gpu_layers = 0
    loaded = lib.llama_model_load_from_file(model.encode(), parameters)
    settings = lib.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_ubatch = context, BATCH_TOKENS, BATCH_TOKENS
    settings.n_threads = settings.n_threads_batch = threads
    settings.no_perf = True
    state = lib.llama_init_from_model(loaded, settings)
    vocabulary = lib.llama_model_get_vocab(loaded)
    source = lib.llama_model_chat_template(loaded, None).decode()
    tokens: list[int] = []
    for part in ChatTemplate(source, "<|im_start|>", "<|im_end|>").render((("user", PROMPT),)):
        text = part.text.encode()
        found = (lib.llama_token * (len(text) + 8))()
        count = lib.llama_tokenize(vocabulary, text, len(text), found, len(found), False, part.special)
        tokens += found[:count]
    prompt = (lib.llama_token * len(tokens))(*tokens)
    one = (lib.llama_token * 1)()
    batch = lib.llama_batch_get_one(one, 1)
    piece = (lib.ctypes.c_char * 512)()
    while line := sys.stdin.readline():
        wanted = int(line)
        lib.llama_memory_clear(lib.llama_get_memory(state), False)
        sampler = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        penalties = lib.llama_sampler_init_penalties(
            lib.llama_vocab_n_tokens(vocabulary), PENALTY_LAST_TOKENS, REPEAT_PENALTY, 0.0, 0.0
        )
        lib.llama_sampler_chain_add(sampler, penalties)
        lib.llama_sampler_chain_add(sampler, lib.llama_sampler_init_greedy())
        for token in tokens[-PENALTY_LAST_TOKENS:]:
            lib.llama_sampler_accept(sampler, token)
        lib.llama_decode(state, lib.llama_batch_get_one(prompt, len(tokens)))
        answer = bytearray()
        made, started, ended = 0, 0.0, 0.0
        while made < wanted:
            token = lib.llama_sampler_sample(sampler, state, -1)
            ended = time.perf_counter()
            started = started or ended
            if lib.llama_vocab_is_eog(vocabulary, token):
                break
            made += 1
            answer += piece[: lib.llama_token_to_piece(vocabulary, token, piece, len(piece), 0, False)]
            one[0] = token
            lib.llama_decode(state, batch)
        lib.llama_sampler_free(sampler)
        print(json.dumps([made, ended - started, answer.decode("utf-8", "replace")]), flush=True)


def high_level(model: str, threads: int, context: int) -> None:
    """What a Python application would write."""
    from llama_cpp import Llama

    llama = Llama(model, n_ctx=context, n_threads=threads, n_threads_batch=threads, verbose=False, seed=SEED)
    messages = [{"role": "user", "content": PROMPT}]
    while line := sys.stdin.readline():
        llama.reset()
        made, started, ended = 0, 0.0, 0.0
        answer = []
        for part in llama.create_chat_completion(
            messages, max_tokens=int(line), temperature=0.0, repeat_penalty=REPEAT_PENALTY, stream=True
        ):
            text = part["choices"][0]["delta"].get("content")
            if text is not None:
                ended = time.perf_counter()
                started = started or ended
                made += 1
                answer.append(text)
        print(json.dumps([made, ended - started, "".join(answer)]), flush=True)


if __name__ == "__main__":
    {"bare": bare, "high-level": high_level}[sys.argv[1]](sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
