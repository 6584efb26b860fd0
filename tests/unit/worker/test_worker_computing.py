"""What the library computes with is heard from the library itself, and is what is in force."""

from __future__ import annotations

from pathlib import Path

import pytest

from govdesk.worker import backends
from govdesk.worker.computing import Heard, processor_features

_LOADED = """
import os, sys
from llama_cpp import llama_cpp as lib
from govdesk.domain.frames import LoadModel
from govdesk.worker import engine
if sys.argv[3] != "auto":
    lib.LLAMA_FLASH_ATTN_TYPE_AUTO = int(sys.argv[3])
order = LoadModel(context_tokens=64, threads=1, kv=sys.argv[2])
loaded = engine.Engine((os.open(sys.argv[1], os.O_RDONLY),), order).loaded()
print(loaded.processor, loaded.flash_attention, *loaded.features)
"""


@pytest.mark.parametrize(
    ("kv", "asked", "in_force"), [("f16", "auto", "on"), ("q8_0", "auto", "on"), ("f16", "0", "off")]
)
def test_flash_attention_is_told_as_it_is_in_force(
    isolated, model_file: Path, kv: str, asked: str, in_force: str
) -> None:
    """The last case asks the library for none: what is told follows it, not what we would like."""
    done = isolated(_LOADED, str(model_file), kv, asked)
    assert done.returncode == 0, done.stderr
    variant, flash, *features = done.stdout.split()
    assert flash == in_force
    assert variant == "native" or variant in backends.VARIANTS
    here = {name.upper() for name in backends.features(Path("/proc/cpuinfo").read_text())}
    told = {name for name in features if name in {"AVX", "AVX2", "F16C", "FMA", "BMI2", "AVX_VNNI"}}
    assert told <= here
    if "AVX2" in here and variant in {"native", "haswell", "zen4"}:
        assert "AVX2" in told
    assert not done.stderr, "and otherwise the library is silent"


def test_only_the_processors_own_features_count() -> None:
    told = "CUDA : ARCHS = 860 | USE_GRAPHS = 1 | CPU : SSE3 = 1 | AVX = 0 | FMA = 1 | REPACK = 1 | "
    assert processor_features(told) == ("SSE3", "FMA", "REPACK")
    assert processor_features(told + "Vulkan : X = 1 | ") == ("SSE3", "FMA", "REPACK")
    assert processor_features("") == ()


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["llama_context: flash_attn            = auto"], "auto"),
        (["llama_context: flash_attn            = auto", "operator(): Flash Attention enabled"], "on"),
        (["x: flash_attn = auto", "y: Flash Attention not supported, set to disabled"], "off"),
        (["llama_context: flash_attn            = enabled"], "on"),
        (["llama_context: flash_attn            = disabled"], "off"),
        ([], "auto"),
    ],
)
def test_what_the_library_says_is_understood(lines: list[str], told: str) -> None:
    heard = Heard()
    for line in lines:
        heard.hear(line)
    assert heard.flash_attention == told
