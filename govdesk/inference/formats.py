"""Which formats of weights this processor reads fast: what llama.cpp repacks or has tiled kernels for.

The tables follow ggml's repack and llamafile sources of the pinned release: a repacked format is rearranged
when it is loaded, so that one instruction works on eight rows; a tiled one is multiplied in blocks that
stay in the registers. Everything else goes through a product of two rows at a time, which is slower to read.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from govdesk.inference.gguf_formats import BLOCKS

_MAX_CPUINFO_BYTES = 4 * 1024 * 1024
_FLAGS = re.compile(r"^(?:flags|Features)\s*:(.*)$", re.MULTILINE)
_X86 = frozenset({"x86_64", "AMD64"})
_ARM = frozenset({"aarch64", "arm64"})
_SIZE = re.compile(r"(Q\d_K)_(?:XS|S|M|L|XL)")
"""`Q4_K_M` and its like are mixes that are mostly of the format before the size."""
_MIXES = {"IQ3_M": "IQ3_S", "IQ3_XS": "IQ3_S", "IQ2_M": "IQ2_S", "MXFP4_MOE": "MXFP4"}
"""Mixes of llama.cpp whose name is no format's, and what most of their weights are in."""

_Needs = tuple[tuple[str, ...], ...]
"""Features that suffice together, each alternative apart."""
_REPACKED: dict[str, _Needs] = {
    "Q4_0": (("avx2",), ("asimd", "i8mm"), ("asimd", "asimddp")),
    "Q4_K": (("avx2",), ("asimd", "i8mm"), ("asimd", "asimddp")),
    "IQ4_NL": (("avx2",), ("asimd", "asimddp")),
    "MXFP4": (("avx2",), ("asimd", "asimddp")),
    "Q2_K": (("avx512f",),),
    "Q5_K": (("asimd", "i8mm"), ("asimd", "asimddp")),
    "Q6_K": (("asimd", "i8mm"), ("asimd", "asimddp")),
    "Q8_0": (("asimd", "i8mm"), ("asimd", "asimddp")),
}
_TILED: dict[str, _Needs] = {
    "F32": (("avx",), ("asimd",)),
    "F16": (("avx512f",), ("avx", "f16c"), ("asimd",)),
    "BF16": (("avx512f",), ("avx2",)),
    "Q8_0": (("avx",), ("asimddp",)),
    "Q4_0": (("avx",), ("asimddp",)),
    "Q5_0": (("avx",),),
    "IQ4_NL": (("avx",),),
}


class Speed(Enum):
    """How a processor gets on with a format; the words that people see."""

    REPACKED = "fast here: repacked for this processor"
    TILED = "fast here"
    PLAIN = "works, slower reading"
    UNKNOWN = "a format that GovDesk does not know"

    @property
    def rank(self) -> int:
        """For choosing between variants: 0 is best. Repacked or tiled is no matter of taste here."""
        return {Speed.REPACKED: 0, Speed.TILED: 0, Speed.PLAIN: 1, Speed.UNKNOWN: 2}[self]


@dataclass(frozen=True, slots=True)
class Cpu:
    """What decides: the machine's name as `uname -m` says it, and the processor's features."""

    machine: str
    features: frozenset[str]


def this_cpu(cpuinfo: Path = Path("/proc/cpuinfo"), machine: str | None = None) -> Cpu:
    """This processor; without features when they cannot be read, and then no format is called fast."""
    try:
        with cpuinfo.open("rb") as file:
            text = file.read(_MAX_CPUINFO_BYTES).decode("ascii", "replace")
    except OSError:
        text = ""
    cores = [frozenset(found.split()) for found in _FLAGS.findall(text)]
    common = frozenset.intersection(*cores) if cores else frozenset()
    return Cpu(machine or platform.machine(), common)


def block_format(quantization: str) -> str:
    """The format that most of a quantisation's weights are in: `Q4_K` of `Q4_K_M`."""
    mix = _SIZE.fullmatch(quantization)
    return mix[1] if mix else _MIXES.get(quantization, quantization)


def speed(quantization: str, cpu: Cpu) -> Speed:
    """How `cpu` gets on with a quantisation, by its usual name."""
    name = block_format(quantization)
    if name not in {block.name for block in BLOCKS.values()}:
        return Speed.UNKNOWN
    if cpu.machine not in _X86 | _ARM:
        return Speed.PLAIN
    if _has(_REPACKED.get(name, ()), cpu):
        return Speed.REPACKED
    return Speed.TILED if _has(_TILED.get(name, ()), cpu) else Speed.PLAIN


def fast_formats(cpu: Cpu) -> tuple[str, ...]:
    """The formats that a processor reads fast, by name."""
    names = dict.fromkeys([*_REPACKED, *_TILED])
    return tuple(name for name in names if speed(name, cpu).rank == 0)


def repacked_formats(cpu: Cpu) -> frozenset[str]:
    """The formats whose matrices are copied into an order of the processor's own."""
    return frozenset(name for name in _REPACKED if speed(name, cpu) is Speed.REPACKED)


def _has(needs: _Needs, cpu: Cpu) -> bool:
    return any(cpu.features.issuperset(features) for features in needs)
