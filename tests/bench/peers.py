"""The loops GovDesk is measured against, each in a process of its own that waits for its turn.

`bare`: the same library, settings, prompt tokens and sampler in the shortest loop there is: the limit.
`bare-own`: the same with weights in its own memory, as the worker has them where there is room.
`high-level`: llama-cpp-python's own chat streaming: what a Python application would use.
`xllamacpp`, `gpt4all`: packages that a user would take instead, as they come (`make peers`).

Each says `ready`, then takes lines. `decode N`: answer with at most N tokens; out comes a line: tokens, seconds
from the first to the last of them, and the text. `read N SALT`: read a prompt of about N tokens that begins
with SALT, so that nobody has read it before; out comes a line: seconds to the first token of the answer.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

PROMPT = "Write a long and detailed story about a harbour town and its people."
SEED = 1
BATCH_TOKENS = 512
PENALTY_LAST_TOKENS = 64
REPEAT_PENALTY = 1.1
_SENTENCE = "The harbour town lay quiet, and its people went about their work as they had always done. "
_SENTENCE_TOKENS = 18
_KEY = b"tokenizer.ggml.pre" + (8).to_bytes(4, "little") + (6).to_bytes(8, "little")

Pieces = Callable[[str, int], Iterator[str]]
"""Streams the answer to a prompt, of at most so many tokens."""


def long_prompt(tokens: int, salt: str) -> str:
    """About so many tokens that begin with what nobody has read before."""
    return f"{salt}. {_SENTENCE * (tokens // _SENTENCE_TOKENS)}What is this about?"


def bare(model: str, threads: int, context: int, *, own: bool = False) -> None:
    """The limit: nothing per token but decode, sample, end of generation, the token's bytes."""
    from llama_cpp import llama_cpp as lib

    from govdesk.worker.template import ChatTemplate

    silent = lib.llama_log_callback(lambda _level, _text, _data: None)
    lib.llama_log_set(silent, None)
    lib.llama_backend_init()
    parameters = lib.llama_model_default_params()
    parameters.n_gpu_layers = 0
    if own:
        parameters.load_mode = lib.LLAMA_LOAD_MODE_NONE
    loaded = lib.llama_model_load_from_file(model.encode(), parameters)
    settings = lib.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_ubatch = context, BATCH_TOKENS, BATCH_TOKENS
    settings.n_threads = settings.n_threads_batch = threads
    settings.no_perf = True
    state = lib.llama_init_from_model(loaded, settings)
    vocabulary = lib.llama_model_get_vocab(loaded)
    source = lib.llama_model_chat_template(loaded, None).decode()
    template = ChatTemplate(source, "<|im_start|>", "<|im_end|>")
    one = (lib.llama_token * 1)()
    batch = lib.llama_batch_get_one(one, 1)
    piece = (lib.ctypes.c_char * 512)()

    def tokenized(prompt: str) -> list[int]:
        tokens: list[int] = []
        for part in template.render((("user", prompt),)):
            text = part.text.encode()
            found = (lib.llama_token * (len(text) + 8))()
            count = lib.llama_tokenize(vocabulary, text, len(text), found, len(found), False, part.special)
            tokens += found[:count]
        return tokens

    def read(tokens: list[int]) -> object:
        lib.llama_memory_clear(lib.llama_get_memory(state), False)
        for start in range(0, len(tokens), BATCH_TOKENS):
            chunk = tokens[start : start + BATCH_TOKENS]
            array = (lib.llama_token * len(chunk))(*chunk)
            lib.llama_decode(state, lib.llama_batch_get_one(array, len(chunk)))
        sampler = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        penalties = lib.llama_sampler_init_penalties(
            lib.llama_vocab_n_tokens(vocabulary), PENALTY_LAST_TOKENS, REPEAT_PENALTY, 0.0, 0.0
        )
        lib.llama_sampler_chain_add(sampler, penalties)
        lib.llama_sampler_chain_add(sampler, lib.llama_sampler_init_greedy())
        for token in tokens[-PENALTY_LAST_TOKENS:]:
            lib.llama_sampler_accept(sampler, token)
        return sampler

    prompt = tokenized(PROMPT)
    print("ready", flush=True)
    for line in sys.stdin:
        order, wanted, *salt = line.split()
        if order == "read":
            tokens = tokenized(long_prompt(int(wanted), salt[0]))
            started = time.perf_counter()
            sampler = read(tokens)
            lib.llama_sampler_sample(sampler, state, -1)
            lib.llama_sampler_free(sampler)
            print(json.dumps([len(tokens), time.perf_counter() - started, ""]), flush=True)
            continue
        sampler = read(prompt)
        answer = bytearray()
        made, started, ended = 0, 0.0, 0.0
        while made < int(wanted):
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

    def pieces(prompt: str, tokens: int) -> Iterator[str]:
        llama.reset()
        for part in llama.create_chat_completion(
            [{"role": "user", "content": prompt}],
            max_tokens=tokens,
            temperature=0.0,
            repeat_penalty=REPEAT_PENALTY,
            stream=True,
        ):
            text = part["choices"][0]["delta"].get("content")
            if text is not None:
                yield text

    _serve(pieces)


def xllamacpp(model: str, threads: int, context: int) -> None:
    """Its server object's streaming chat, in the same process: its shortest documented way."""
    import xllamacpp as package

    parameters = package.CommonParams()
    parameters.model.path = model
    parameters.n_ctx, parameters.n_parallel, parameters.verbosity = context, 1, -1
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    server = package.Server(parameters)

    def answer(prompt: str, tokens: int, seen: Callable[[str], None]) -> None:
        def came(untrusted: object) -> None:
            found = json.loads(untrusted) if isinstance(untrusted, bytes | str) else untrusted
            for part in found if isinstance(found, list) else [found]:
                for choice in part.get("choices", []):
                    if text := (choice.get("delta") or {}).get("content"):
                        seen(text)

        order = {
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": tokens,
            "temperature": 0.0,
            "repeat_penalty": REPEAT_PENALTY,
            "stream": True,
            "cache_prompt": False,
        }
        server.handle_chat_completions(order, came)

    _serve_calls(answer)


def gpt4all(model: str, threads: int, context: int) -> None:
    """Its streaming generator, with the prompt that the model's template makes.

    Its llama.cpp does not know the name of SmolLM2's way to split words, `smollm`. It knows the same way
    under the name `refact`, so a copy of the file says so: same weights, same speed.
    """
    import gpt4all as package

    with tempfile.TemporaryDirectory() as folder:
        content = bytearray(Path(model).read_bytes())
        at = content.find(_KEY + b"smollm")
        if at >= 0:
            content[at + len(_KEY) : at + len(_KEY) + 6] = b"refact"
        (Path(folder) / "model.gguf").write_bytes(content)
        del content
        loaded = package.GPT4All(
            "model.gguf",
            model_path=folder,
            allow_download=False,
            n_threads=threads,
            device="cpu",
            n_ctx=context,
        )

    def pieces(prompt: str, tokens: int) -> Iterator[str]:
        chat = f"<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
        yield from loaded.generate(
            chat,
            max_tokens=tokens,
            temp=0,
            repeat_penalty=REPEAT_PENALTY,
            n_batch=BATCH_TOKENS,
            streaming=True,
        )

    _serve(pieces)


def _serve(pieces: Pieces) -> None:
    def answer(prompt: str, tokens: int, seen: Callable[[str], None]) -> None:
        for text in pieces(prompt, tokens):
            seen(text)

    _serve_calls(answer)


def _serve_calls(answer: Callable[[str, int, Callable[[str], None]], None]) -> None:
    """Takes the lines for a peer that hands out its answer piece by piece."""
    print("ready", flush=True)
    for line in sys.stdin:
        order, wanted, *salt = line.split()
        texts: list[str] = []
        times: list[float] = []

        def seen(text: str, texts: list[str] = texts, times: list[float] = times) -> None:
            times.append(time.perf_counter())
            texts.append(text)

        started = time.perf_counter()
        if order == "read":
            answer(long_prompt(int(wanted), salt[0]), 1, seen)
            print(json.dumps([0, times[0] - started, ""]), flush=True)
        else:
            answer(PROMPT, int(wanted), seen)
            print(json.dumps([len(times), times[-1] - times[0], "".join(texts)]), flush=True)


if __name__ == "__main__":
    loops = {
        "bare": bare,
        "bare-own": partial(bare, own=True),
        "high-level": high_level,
        "xllamacpp": xllamacpp,
        "gpt4all": gpt4all,
    }
    loops[sys.argv[1]](sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
