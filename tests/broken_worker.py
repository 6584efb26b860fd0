"""The real worker, behind its real walls, in which something breaks at a token of its answer.

`python -I broken_worker.py HOW TOKEN --role worker …`: at the TOKENth decode of one token HOW happens, in
native code wherever it does so in life.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from collections.abc import Callable

_MACHINE_CODE = {
    "illegal": b"\x0f\x0b",  # ud2: what a missing instruction does
    "divide": b"\x31\xc9\x31\xd2\xf7\xf1\xc3",  # divides by zero
    "spin": b"\xeb\xfe",  # jumps to itself, for ever
}


def _run(code: bytes) -> None:
    page = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()


def _native_out_of_memory() -> None:
    """A C++ program that gets no memory throws, nobody catches it, and it aborts: as llama.cpp would."""
    standard = ctypes.CDLL("libstdc++.so.6")
    standard._Znwm.argtypes, standard._Znwm.restype = [ctypes.c_size_t], ctypes.c_void_p  # operator new
    while True:
        standard._Znwm(64 * 1024 * 1024)


def _out_of_memory() -> None:
    kept = []
    while True:
        kept.append(bytearray(16 * 1024 * 1024))


_BREAKS: dict[str, Callable[[], object]] = {
    "segv": lambda: ctypes.string_at(8),
    "abort": os.abort,
    "illegal": lambda: _run(_MACHINE_CODE["illegal"]),
    "divide": lambda: _run(_MACHINE_CODE["divide"]),
    "spin": lambda: _run(_MACHINE_CODE["spin"]),
    "exit": lambda: ctypes.CDLL(None).exit(1),  # libgomp's way when it gets no thread
    "memory": _out_of_memory,
    "native-memory": _native_out_of_memory,
}


def _sabotage(how: str, at: int) -> None:
    """After the walls, before the first frame."""
    from llama_cpp import llama_cpp as lib

    decode, piece = lib.llama_decode, lib.llama_token_to_piece
    tokens = 0

    def breaking(context: object, batch: object) -> int:
        nonlocal tokens
        tokens += batch.n_tokens == 1
        if tokens == at and how in _BREAKS:
            _BREAKS[how]()
        return decode(context, batch)

    def garbled(vocabulary: object, token: int, buffer: object, room: int, left: int, special: bool) -> int:
        if tokens < at or special:
            return piece(vocabulary, token, buffer, room, left, special)
        buffer.raw = b"\xf0\x9f\xff\xc3".ljust(len(buffer), b"\0")  # ends in the middle of a character
        return 4

    def parrot(vocabulary: object, _token: int, buffer: object, room: int, left: int, special: bool) -> int:
        if special:
            return piece(vocabulary, _token, buffer, room, left, special)
        buffer.raw = b"The harbour is quiet. ".ljust(len(buffer), b"\0")
        return 22

    lib.llama_decode = breaking
    if how == "utf8":
        lib.llama_token_to_piece = garbled
    if how == "loop":
        lib.llama_token_to_piece = parrot
        lib.llama_vocab_is_eog = lambda _vocabulary, _token: False


def _main() -> int:
    how, at = sys.argv.pop(1), int(sys.argv.pop(1))
    from govdesk import __main__ as program
    from govdesk.worker import main as worker

    prove = worker.raise_and_prove

    def prove_and_sabotage(*arguments: object) -> object:
        probes = prove(*arguments)
        _sabotage(how, at)
        return probes

    worker.raise_and_prove = prove_and_sabotage
    return program.main()


if __name__ == "__main__":
    sys.exit(_main())
