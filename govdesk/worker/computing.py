"""What the library computes with, in its own words: features of the processor, flash attention."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from llama_cpp import llama_cpp as lib

from govdesk.domain.frames import MAX_FEATURES, FlashAttention

_SILENT = lib.llama_log_callback(lambda _level, _text, _data: None)
_TYPE = re.compile(r"flash_attn +?= (enabled|disabled)")
"""What is asked for in the end, when it is no `auto`: one family of models forces it off."""
_FOUND = re.compile(r"Flash Attention (enabled|not supported)")
"""What `auto` came to, once the library has looked at where each layer computes."""


def silence() -> None:
    """Let the library say nothing."""
    lib.llama_log_set(_SILENT, ctypes.c_void_p(0))


@dataclass(slots=True)
class Heard:
    """What the library said; `auto` until it said more."""

    flash_attention: FlashAttention = "auto"

    def hear(self, line: str) -> None:
        """One line of its log."""
        if found := _TYPE.search(line) or _FOUND.search(line):
            self.flash_attention = "on" if found[1] == "enabled" else "off"


@contextmanager
def hearing() -> Iterator[Heard]:
    """Hear the library while it makes a context: no call of it tells whether flash attention is in force."""
    heard = Heard()
    callback = lib.llama_log_callback(lambda _level, text, _data: heard.hear(text.decode("utf-8", "replace")))
    lib.llama_log_set(callback, ctypes.c_void_p(0))
    try:
        yield heard
    finally:
        silence()


def features() -> tuple[str, ...]:
    """The processor's features that the loaded variant uses, such as `AVX2`."""
    return processor_features(lib.llama_print_system_info().decode("ascii", "replace"))


def processor_features(told: str) -> tuple[str, ...]:
    """Those of `CPU : AVX = 1 | FMA = 1 | …`; each backend's list begins with its name."""
    names, backend = [], ""
    for part in told.split("|"):
        named, colon, rest = part.partition(" : ")
        backend = named.strip() if colon else backend
        name, _, value = (rest if colon else part).partition("=")
        if backend == "CPU" and value.strip() == "1":
            names.append(name.strip())
    return tuple(names[:MAX_FEATURES])
