"""Models in other formats, made by the library's own quantizer in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import CHECKOUT

FILE_TYPES = {"Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "Q5_0": 8, "Q4_K": 14, "Q5_K": 16, "Q6_K": 18, "IQ4_NL": 25}
"""The library's numbers for files that are all of one format."""
_MAKE = """
import ctypes, sys
from llama_cpp import llama_cpp as lib
from govdesk.worker import backends
backends.load_cpu()
lib.llama_backend_init()
silent = lib.llama_log_callback(lambda *_: None)
lib.llama_log_set(silent, None)
how = lib.llama_model_quantize_default_params()
how.ftype, how.allow_requantize, how.pure = int(sys.argv[3]), True, True
sys.exit(lib.llama_model_quantize(sys.argv[1].encode(), sys.argv[2].encode(), ctypes.byref(how)) != 0)
"""


def quantized(source: Path, folder: Path, name: str) -> Path:
    """The same model in another format, in a folder."""
    target = folder / f"{source.stem}.{name}.gguf"
    subprocess.run(
        [sys.executable, "-c", _MAKE, source, target, str(FILE_TYPES[name])],
        cwd=CHECKOUT,
        capture_output=True,
        check=True,
    )
    return target
