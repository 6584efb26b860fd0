"""Each format of the embedded weights: how fast it is read and written, and what it costs in quality.

Made of the set-up's Q4_1 source by llama.cpp's own quantizer, in a temporary folder; Q8_0 is measured as the
file that GovDesk loads. Each format in a process of its own, in turn. Perplexity is over a text that ships:
resources/docs/*.md in sorted order, windows of 512 tokens, of each the second half.

    python -m tests.bench.quality MODEL THREADS      one format, asked line by line: `read`, `write`, `perplexity`
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from govdesk import config
from govdesk.inference import threads
from govdesk.process import environment
from tests.bench.figures import Figures

NAME = "smollm2-135m-instruct"
FORMATS = {"Q4_0": 2, "Q5_0": 8, "Q4_K_M": 15, "IQ4_NL": 25, "F16": 1}
"""llama.cpp's numbers of the file types."""
WINDOW_TOKENS, WINDOWS = 512, 12
READ_TOKENS, WRITE_TOKENS = 512, 64
CONTEXT_TOKENS = 2048


def text() -> str:
    """What is read: our own documents, so that anybody can repeat it."""
    return "".join(path.read_text() for path in sorted((config.RESOURCES / "docs").glob("*.md")))


class _Loop:
    """One model in this process."""

    def __init__(self, model: str, count: int) -> None:
        from llama_cpp import llama_cpp as lib

        self.lib: Any = lib
        self._silent = lib.llama_log_callback(lambda _level, _text, _data: None)
        lib.llama_log_set(self._silent, None)
        lib.llama_backend_init()
        parameters = lib.llama_model_default_params()
        parameters.n_gpu_layers = 0
        self._model = lib.llama_model_load_from_file(model.encode(), parameters)
        settings = lib.llama_context_default_params()
        settings.n_ctx, settings.n_batch, settings.n_ubatch = CONTEXT_TOKENS, WINDOW_TOKENS, WINDOW_TOKENS
        settings.n_threads = settings.n_threads_batch = count
        settings.no_perf = True
        self._state = lib.llama_init_from_model(self._model, settings)
        vocabulary = lib.llama_model_get_vocab(self._model)
        self._words = lib.llama_vocab_n_tokens(vocabulary)
        raw = text().encode()
        found = (lib.llama_token * (len(raw) + 8))()
        made = lib.llama_tokenize(vocabulary, raw, len(raw), found, len(found), False, False)
        self.tokens = list(found[:made])

    def read(self) -> float:
        """Tokens per second."""
        self._clear()
        chunk = (self.lib.llama_token * READ_TOKENS)(*self.tokens[:READ_TOKENS])
        started = time.perf_counter()
        assert self.lib.llama_decode(self._state, self.lib.llama_batch_get_one(chunk, READ_TOKENS)) == 0
        return READ_TOKENS / (time.perf_counter() - started)

    def write(self) -> float:
        """Tokens per second, greedily, behind what was read."""
        self.read()
        sampler = self.lib.llama_sampler_init_greedy()
        one = (self.lib.llama_token * 1)()
        batch = self.lib.llama_batch_get_one(one, 1)
        started = time.perf_counter()
        for _ in range(WRITE_TOKENS):
            one[0] = self.lib.llama_sampler_sample(sampler, self._state, -1)
            assert self.lib.llama_decode(self._state, batch) == 0
        seconds = time.perf_counter() - started
        self.lib.llama_sampler_free(sampler)
        return WRITE_TOKENS / seconds

    def perplexity(self) -> float:
        """Of the second half of each window, given the first."""
        import numpy as np

        windows = min(WINDOWS, len(self.tokens) // WINDOW_TOKENS)
        lost, scored = 0.0, 0
        for number in range(windows):
            window = self.tokens[number * WINDOW_TOKENS : (number + 1) * WINDOW_TOKENS]
            self._clear()
            batch = self.lib.llama_batch_init(WINDOW_TOKENS, 0, 1)
            batch.n_tokens = WINDOW_TOKENS
            for at, token in enumerate(window):
                batch.token[at], batch.pos[at], batch.logits[at] = token, at, 1
                batch.n_seq_id[at], batch.seq_id[at][0] = 1, 0
            assert self.lib.llama_decode(self._state, batch) == 0
            raw = self.lib.llama_get_logits(self._state)
            rows = np.ctypeslib.as_array(raw, shape=(WINDOW_TOKENS, self._words)).astype(np.float64)
            rows = rows[WINDOW_TOKENS // 2 : -1]
            highest = rows.max(axis=1, keepdims=True)
            total = np.log(np.exp(rows - highest).sum(axis=1)) + highest[:, 0]
            wanted = np.array(window[WINDOW_TOKENS // 2 + 1 :])
            lost += float((total - rows[np.arange(len(rows)), wanted]).sum())
            scored += len(rows)
            self.lib.llama_batch_free(batch)
        return math.exp(lost / scored)

    def _clear(self) -> None:
        self.lib.llama_memory_clear(self.lib.llama_get_memory(self._state), False)


class _Contender:
    """A format in a process of its own, with the worker's environment."""

    def __init__(self, model: Path) -> None:
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.bench.quality",
                str(model),
                str(threads.suitable()),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**environment.for_worker(os.environ), "PYTHONPATH": str(config.CHECKOUT)},
            cwd=config.CHECKOUT,
        )

    def ask(self, what: str) -> float:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"A format's process ended with {self._process.wait()}; see its words above.")
        return float(json.loads(line))

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def source() -> Path:
    """The file that the set-up made the embedded model of."""
    from installer.setup.models import recipe
    from installer.setup.native import cache_folder

    wanted = recipe((config.MODELS / f"{NAME}.toml").read_text())
    path = cache_folder(os.environ) / "models" / f"{wanted.source.sha256}.gguf"
    if not path.exists():
        raise SystemExit(f"{path} is missing: `make setup` obtains it when models/{NAME}.gguf is not there.")
    return path


def measure(figures: Figures, rounds: int) -> None:
    """Every format in turn; prints the table that performance.md quotes."""
    with tempfile.TemporaryDirectory() as folder:
        files = {"Q4_1": source(), "Q8_0": config.MODELS / f"{NAME}.gguf"}
        for name, number in FORMATS.items():
            files[name] = Path(folder) / f"{name}.gguf"
            _quantize(files["Q4_1"], files[name], number)
        contenders = {name: _Contender(path) for name, path in files.items()}
        try:
            speeds: dict[str, dict[str, list[float]]] = {
                name: {"read": [], "write": []} for name in contenders
            }
            names = list(contenders)
            for turn in range(rounds):
                for name in names[turn % len(names) :] + names[: turn % len(names)]:
                    for what, values in speeds[name].items():
                        values.append(contenders[name].ask(what))
            print(f"{'format':8} {'MB':>5} {'read/s':>8} {'write/s':>8} {'perplexity':>11} {'of Q4_1':>8}")
            base = contenders["Q4_1"].ask("perplexity")
            for name, contender in contenders.items():
                lost = base if name == "Q4_1" else contender.ask("perplexity")
                for what, values in speeds[name].items():
                    figures.spread(f"quality.{name}.{what}", values, "tokens/s")
                figures.add(f"quality.{name}.perplexity", lost, "")
                read, write = (statistics.median(values) for values in speeds[name].values())
                size = files[name].stat().st_size / 1e6
                print(
                    f"{name:8} {size:5.0f} {read:8.0f} {write:8.1f} {lost:11.3f} {lost / base - 1:+8.2%}",
                    flush=True,
                )
        finally:
            for contender in contenders.values():
                contender.close()


def _quantize(original: Path, target: Path, number: int) -> None:
    """In a process of its own: what the library says while it works is not ours."""
    code = (
        "import ctypes, sys\n"
        "from llama_cpp import llama_cpp as lib\n"
        "silent = lib.llama_log_callback(lambda level, text, data: None)\n"
        "lib.llama_log_set(silent, None)\n"
        "how = lib.llama_model_quantize_default_params()\n"
        "how.ftype, how.allow_requantize = int(sys.argv[3]), True\n"
        "sys.exit(lib.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), ctypes.byref(how)))\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, original, target, str(number)], check=True, stdout=subprocess.DEVNULL
    )


def main() -> None:
    """One contender."""
    loop = _Loop(sys.argv[1], int(sys.argv[2]))
    asked = {"read": loop.read, "write": loop.write, "perplexity": loop.perplexity}
    for line in sys.stdin:
        print(json.dumps(asked[line.strip()]()), flush=True)


if __name__ == "__main__":
    main()
