"""Which formats are called fast is what the library does: it is asked, and it is seen repacking."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from govdesk.inference.formats import Cpu, Speed, block_format, fast_formats, speed, this_cpu
from govdesk.inference.gguf_formats import BLOCKS
from tests.conftest import CHECKOUT

PLAIN = Cpu("x86_64", frozenset({"sse4_2"}))
AVX = Cpu("x86_64", frozenset({"avx"}))
AVX2 = Cpu("x86_64", frozenset({"avx", "avx2", "f16c"}))
AVX512 = Cpu("x86_64", frozenset({"avx", "avx2", "f16c", "avx512f"}))
ARM = Cpu("aarch64", frozenset({"asimd", "asimddp"}))
OLD_ARM = Cpu("aarch64", frozenset({"asimd"}))


@pytest.mark.parametrize(
    ("cpu", "fast"),
    [
        (PLAIN, set()),
        (AVX, {"F32", "Q8_0", "Q4_0", "Q5_0", "IQ4_NL"}),
        (AVX2, {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q5_0", "IQ4_NL", "Q4_K", "MXFP4"}),
        (AVX512, {"F32", "F16", "BF16", "Q8_0", "Q4_0", "Q5_0", "IQ4_NL", "Q4_K", "MXFP4", "Q2_K"}),
        (ARM, {"F32", "F16", "Q8_0", "Q4_0", "IQ4_NL", "Q4_K", "Q5_K", "Q6_K", "MXFP4"}),
        (OLD_ARM, {"F32", "F16"}),
        (Cpu("riscv64", frozenset({"avx2"})), set()),
    ],
)
def test_what_is_fast_depends_on_the_processor(cpu: Cpu, fast: set[str]) -> None:
    assert set(fast_formats(cpu)) == fast
    for block in BLOCKS.values():
        assert (speed(block.name, cpu).rank == 0) == (block.name in fast)


def test_a_mix_is_judged_by_the_format_it_mostly_is() -> None:
    assert block_format("Q4_K_M") == "Q4_K"
    assert block_format("Q3_K_XL") == "Q3_K"
    assert block_format("IQ2_XS") == "IQ2_XS"
    for mix, mostly in (("IQ3_M", "IQ3_S"), ("IQ3_XS", "IQ3_S"), ("IQ2_M", "IQ2_S")):
        assert block_format(mix) == mostly
        assert speed(mix, AVX2) is Speed.PLAIN, "known, and no more"
    assert speed("MXFP4_MOE", AVX2) is Speed.REPACKED
    assert speed("Q4_K_M", AVX2) is Speed.REPACKED
    assert speed("Q5_K_S", AVX2) is Speed.PLAIN
    assert speed("Q4_1", AVX512) is Speed.PLAIN
    assert speed("Q9_Z", AVX512) is Speed.UNKNOWN


def test_on_cores_of_two_kinds_only_what_all_have_counts(tmp_path: Path) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("flags\t\t: fpu avx avx2 avx512f\nflags\t\t: fpu avx avx2\n")
    assert this_cpu(file, "x86_64") == Cpu("x86_64", frozenset({"fpu", "avx", "avx2"}))


def test_an_unreadable_processor_has_nothing(tmp_path: Path) -> None:
    assert this_cpu(tmp_path / "none", "x86_64").features == frozenset()
    (tmp_path / "odd").write_bytes(b"\xff\xfe\0")
    assert this_cpu(tmp_path / "odd", "x86_64").features == frozenset()


ASK = """
import ctypes, sys
from pathlib import Path
from llama_cpp import llama_cpp as lib
from govdesk.worker import backends
said = []
hear = lib.llama_log_callback(lambda level, text, data: said.append(text.decode("utf-8", "replace")))
lib.llama_log_set(hear, None)
backends.load_cpu()
lib.llama_backend_init()
print(lib.llama_print_system_info().decode())
source = sys.argv[1].encode()
for name, number in (("Q4_0", 2), ("Q4_1", 3), ("Q5_0", 8), ("Q8_0", 7), ("IQ4_NL", 25), ("F16", 1)):
    target = f"{sys.argv[2]}/{name}.gguf".encode()
    how = lib.llama_model_quantize_default_params()
    how.ftype, how.allow_requantize, how.pure = number, True, True
    assert lib.llama_model_quantize(source, target, ctypes.byref(how)) == 0
    said.clear()
    model = lib.llama_model_load_from_file(target, lib.llama_model_default_params())
    assert model
    print(name, int("CPU_REPACK model buffer size" in "".join(said)))
"""


def test_the_library_has_these_features_and_repacks_these_formats(tmp_path: Path) -> None:
    """Made for this processor, the library says what it uses; a model of each format is loaded to see."""
    from tests.tiny_models import tiny_bytes

    (tmp_path / "tiny.gguf").write_bytes(tiny_bytes("llama-bpe"))
    done = subprocess.run(
        [sys.executable, "-c", ASK, tmp_path / "tiny.gguf", tmp_path],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=True,
    )
    info, *lines = done.stdout.splitlines()
    cpu = this_cpu()
    for ours, theirs in (("avx", "AVX"), ("avx2", "AVX2"), ("avx512f", "AVX512"), ("f16c", "F16C")):
        assert (ours in cpu.features) == (f" {theirs} = 1" in info), ours
    assert len(lines) == 6
    for line in lines:
        name, repacked = line.split()
        assert (speed(name, cpu) is Speed.REPACKED) == bool(int(repacked)), name
