"""The barest loop over the library, with threads and waiting as one likes, in a process that waits for its turn.

    python -m tests.bench.loop MODEL THREADS BATCH_THREADS CONTEXT MICRO_BATCH

Each line it is given is JSON: `{"depth": 0, "read": 64, "decode": 128}`. It brings the context to that
depth, reads and decodes (greedily) so many tokens, and answers with a line: seconds for each.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping

from govdesk import config

MODEL = config.MODELS / "smollm2-135m-instruct.gguf"
CHUNK_TOKENS = 512


class Loop:
    """Such a process. `environment` is all of its environment but for the path to the checkout."""

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        threads: int,
        batch_threads: int = 0,
        context: int = 2048,
        micro_batch: int = CHUNK_TOKENS,
    ) -> None:
        numbers = (threads, batch_threads or threads, context, micro_batch)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.loop", str(MODEL), *map(str, numbers)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**environment, "PYTHONPATH": str(config.CHECKOUT)},
            cwd=config.CHECKOUT,
        )

    def run(self, *, depth: int = 0, read: int = 64, decode: int = 128) -> tuple[float, float]:
        """Tokens per second: read, decoded."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"depth": depth, "read": read, "decode": decode}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"The loop ended with {self._process.wait()}; see its words above.")
        read_seconds, decode_seconds = json.loads(line)
        return read / read_seconds, decode / decode_seconds

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def main(model: str, threads: int, batch_threads: int, context: int, micro_batch: int) -> None:
    from llama_cpp import llama_cpp as lib

    silent = lib.llama_log_callback(lambda _level, _text, _data: None)
    lib.llama_log_set(silent, None)
    lib.llama_backend_init()
    parameters = lib.llama_model_default_params()
    parameters.n_gpu_layers = 0
    parameters.load_mode = lib.LLAMA_LOAD_MODE_NONE  # as the worker does where there is room
    loaded = lib.llama_model_load_from_file(model.encode(), parameters)
    settings = lib.llama_context_default_params()
    settings.n_ctx, settings.n_batch, settings.n_ubatch = context, max(CHUNK_TOKENS, micro_batch), micro_batch
    settings.n_threads, settings.n_threads_batch = threads, batch_threads
    settings.no_perf = True
    state = lib.llama_init_from_model(loaded, settings)
    size = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(loaded))
    sampler = lib.llama_sampler_init_greedy()
    one = (lib.llama_token * 1)()
    batch = lib.llama_batch_get_one(one, 1)

    def read(count: int, start: int) -> None:
        for at in range(0, count, CHUNK_TOKENS):
            chunk = [
                100 + 7919 * (start + at + step) % (size - 200)
                for step in range(min(CHUNK_TOKENS, count - at))
            ]
            array = (lib.llama_token * len(chunk))(*chunk)
            if lib.llama_decode(state, lib.llama_batch_get_one(array, len(chunk))) != 0:
                raise SystemExit("The library refused to read.")

    held = 0
    while line := sys.stdin.readline():
        order = json.loads(line)
        memory = lib.llama_get_memory(state)
        if held <= order["depth"]:
            lib.llama_memory_seq_rm(memory, 0, held, -1)
        else:
            lib.llama_memory_clear(memory, False)
            held = 0
        read(order["depth"] - held, held)
        held = order["depth"]
        started = time.perf_counter()
        read(order["read"], held)
        between = time.perf_counter()
        for _ in range(order["decode"]):
            one[0] = lib.llama_sampler_sample(sampler, state, -1)
            if lib.llama_decode(state, batch) != 0:
                raise SystemExit("The library refused to decode.")
        print(json.dumps([between - started, time.perf_counter() - between]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:6]))
