"""The loops GovDesk is measured against, each in a process of its own that waits for its turn.

`bare`: the same library, settings and sampler in the shortest loop there is: the limit.
`high-level`: llama-cpp-python's own chat streaming: what a Python application would use.
"""

from __future__ import annotations

import json
import sys
import time

PROMPT = "Write a long and detailed story about a harbour town and its people."
SEED = 1


def bare(model: str, threads: int, context: int) -> None:
    """One line in (`N`), one line out (tokens, seconds)."""
    from llama_cpp import llama_cpp as lib

    silent = lib.llama_log_callback(lambda _level, _text, _data: None)
    lib.llama_log_set(silent, None)
    lib.llama_backend_init()
    parameters = lib.llama_model_default_params()
    parameters.n_gpu_layers = 0
    loaded = lib.llama_model_load_from_file(model.encode(), parameters)
    settings = lib.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_ubatch = context, 512, 512
    settings.n_threads = settings.n_threads_batch = threads
    settings.no_perf = True
    state = lib.llama_init_from_model(loaded, settings)
    vocabulary = lib.llama_model_get_vocab(loaded)
    text = f"<|im_start|>user\n{PROMPT}<|im_end|>\n<|im_start|>assistant\n".encode()
    prompt = (lib.llama_token * 256)()
    count = lib.llama_tokenize(vocabulary, text, len(text), prompt, 256, False, True)
    one = (lib.llama_token * 1)()
    batch = lib.llama_batch_get_one(one, 1)
    while line := sys.stdin.readline():
        wanted = int(line)
        lib.llama_memory_clear(lib.llama_get_memory(state), False)
        sampler = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        penalties = lib.llama_sampler_init_penalties(lib.llama_vocab_n_tokens(vocabulary), 64, 1.1, 0.0, 0.0)
        lib.llama_sampler_chain_add(sampler, penalties)
        lib.llama_sampler_chain_add(sampler, lib.llama_sampler_init_greedy())
        lib.llama_decode(state, lib.llama_batch_get_one(prompt, count))
        tokens = 0
        started = time.perf_counter()
        while tokens < wanted:
            token = lib.llama_sampler_sample(sampler, state, -1)
            tokens += 1
            if lib.llama_vocab_is_eog(vocabulary, token):
                break
            one[0] = token
            lib.llama_decode(state, batch)
        seconds = time.perf_counter() - started
        lib.llama_sampler_free(sampler)
        print(json.dumps([tokens, seconds]), flush=True)


def high_level(model: str, threads: int, context: int) -> None:
    """One line in (`N`), one line out (tokens, seconds)."""
    from llama_cpp import Llama

    llama = Llama(model, n_ctx=context, n_threads=threads, n_threads_batch=threads, verbose=False, seed=SEED)
    messages = [{"role": "user", "content": PROMPT}]
    while line := sys.stdin.readline():
        llama.reset()
        tokens, started = 0, 0.0
        for part in llama.create_chat_completion(
            messages, max_tokens=int(line), temperature=0.0, repeat_penalty=1.1, stream=True
        ):
            if "content" in part["choices"][0]["delta"]:
                started = started or time.perf_counter()
                tokens += 1
        print(json.dumps([tokens, time.perf_counter() - started]), flush=True)


if __name__ == "__main__":
    {"bare": bare, "high-level": high_level}[sys.argv[1]](sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
