"""No workstation meets an illegal instruction: a model answers on emulated processors of other makes and years."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from govdesk.worker import backends

_QEMU = shutil.which("qemu-x86_64")
_ILLEGAL_INSTRUCTION = -4

pytestmark = [
    pytest.mark.skipif(_QEMU is None, reason="qemu-x86_64 is not here (Debian: apt-get install qemu-user)"),
    pytest.mark.skipif(
        not (backends.FOLDER / "libggml-cpu-x64.so").exists(),
        reason="the processor's variants are not here: `make backends` makes them",
    ),
]

_ANSWER = """
import os, sys
from govdesk.domain.frames import ChatMessage, Generate, LoadModel
from govdesk.worker import backends
from govdesk.worker.engine import Engine
print(backends.load_cpu(), flush=True)
engine = Engine((os.open(sys.argv[1], os.O_RDONLY),), LoadModel(context_tokens=64, threads=1))
order = Generate(turn="t", messages=(ChatMessage(role="user", text="Hi"),), max_tokens=2, temperature=0.0,
                 top_p=1.0, top_k=1, repeat_penalty=1.0, seed=1)
*_, last = engine.answer(order, lambda: False)
print(last.answer_tokens)
"""


def _emulated(processor: str, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    assert _QEMU is not None
    return subprocess.run(
        [_QEMU, "-cpu", processor, sys.executable, "-I", "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
    )


@pytest.mark.parametrize(("processor", "variant"), [("Nehalem", "sse42"), ("SandyBridge", "sandybridge")])
def test_an_older_processor_answers_with_its_own_variant(
    model_file: Path, processor: str, variant: str
) -> None:
    """The emulator shows the real machine's list of features: the library's own look is the second guard."""
    done = _emulated(processor, _ANSWER, str(model_file))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [variant, "2"]


def test_the_emulator_would_have_shown_it() -> None:
    """A variant for newer processors, forced onto an old one, dies of what the others are spared."""
    code = f"""
import ctypes
library = ctypes.CDLL({os.fspath(backends.FOLDER / "libggml-cpu-haswell.so")!r})
library.ggml_cpu_init()
library.ggml_cpu_fp32_to_fp16((ctypes.c_float * 64)(), (ctypes.c_uint16 * 64)(), ctypes.c_int64(64))
"""
    assert _emulated("Haswell", code).returncode == 0
    assert _emulated("Nehalem", code).returncode == _ILLEGAL_INSTRUCTION
