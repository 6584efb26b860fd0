"""What is printed has left this process, or is said not to have: nothing waits in a buffer for the end.

A full disk ends with exit code 5. A reader that went away (`| head -1`) is nobody's fault: the command
ends quietly.
"""

from __future__ import annotations

import sys

from govdesk.errors import KnownError, MachineError


class ReaderLeft(KnownError):
    """Nobody reads the output any more."""

    code = "output.reader-left"


def write(text: str) -> None:
    """Print and flush.

    Raises:
        ReaderLeft: the other end of the pipe is closed.
        MachineError: the output cannot be written.
    """
    if sys.stdout is None:
        raise MachineError("There is no standard output.", code="output.failed")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        sys.stdout = None  # or the interpreter would try once more when it ends, and say so
        if isinstance(error, BrokenPipeError):
            raise ReaderLeft("Nobody reads the output any more.") from error
        raise MachineError(
            f"The output could not be written: {error.strerror}.",
            code="output.failed",
            todo="Make room, or write somewhere else.",
        ) from error


def aside(text: str) -> None:
    """Say something on standard error and flush; when nobody can hear it, that changes nothing."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        sys.stderr = None


def finish() -> None:
    """Flush what `print` left in the buffer; raises as `write` does."""
    if sys.stdout is not None:
        write("")
