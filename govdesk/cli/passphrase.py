"""A passphrase comes from a prompt or from a descriptor; never from argv, never from the environment."""

from __future__ import annotations

import argparse
import getpass
import os
import sys

from govdesk.cli import interrupts
from govdesk.errors import UsageError

_MAX_BYTES = 4096
_MAX_DESCRIPTOR = 2**20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The option that every command has which unlocks."""
    parser.add_argument(
        "--passphrase-fd",
        type=_descriptor,
        metavar="N",
        help="read the passphrase from descriptor N, up to a line's end (else it is asked for)",
    )


def require_descriptor(parsed: argparse.Namespace) -> int | None:
    """The descriptor that was named, which is open, or None; asked before anything else is opened.

    Later its number may be another file's: what that held would be tried as the passphrase.

    Raises:
        UsageError: it is not open.
    """
    descriptor: int | None = getattr(parsed, "passphrase_fd", None)
    if descriptor is not None:
        try:
            os.fstat(descriptor)
        except OSError as error:
            raise UsageError(
                f"Descriptor {descriptor} is not open.",
                code="passphrase.descriptor",
                kept="Nothing was tried.",
                todo="Give the passphrase on it: `--passphrase-fd 3 3< file`.",
            ) from error
    return descriptor


def read(parsed: argparse.Namespace, prompt: str = "Passphrase: ") -> str:
    """The passphrase, from the descriptor that was named, or typed unseen.

    Raises:
        UsageError: there is no descriptor and nobody to ask, or what it holds is no line of text.
    """
    if parsed.passphrase_fd is not None:
        with interrupts.leaving():
            return _from_descriptor(parsed.passphrase_fd)
    if not sys.stdin.isatty():
        raise UsageError(
            "A passphrase is needed, and there is no terminal to ask on.",
            todo="Give it on a descriptor: `--passphrase-fd 3 3< file`.",
        )
    with interrupts.leaving():
        return getpass.getpass(prompt)


def _descriptor(text: str) -> int:
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else -1
    if not 0 <= number <= _MAX_DESCRIPTOR:
        raise argparse.ArgumentTypeError(f"{text} is no number of a descriptor")
    return number


def _from_descriptor(descriptor: int) -> str:
    read_bytes = bytearray()
    try:
        while len(read_bytes) <= _MAX_BYTES and b"\n" not in read_bytes:
            part = os.read(descriptor, _MAX_BYTES)
            if not part:
                break
            read_bytes += part
    except OSError as error:
        raise UsageError(f"Descriptor {descriptor} cannot be read: {error.strerror}.") from error
    line = bytes(read_bytes).partition(b"\n")[0].removesuffix(b"\r")
    if len(line) > _MAX_BYTES:
        raise UsageError(f"The passphrase on descriptor {descriptor} is too long.")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"The passphrase on descriptor {descriptor} is not UTF-8 text.") from error
