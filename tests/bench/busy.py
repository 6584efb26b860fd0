"""Every processor busy elsewhere: as many processes as there are that never rest, gone at the end whatever happens."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator

_PROGRAM = (
    "import ctypes; ctypes.CDLL(None).prctl(1, 9)\nwhile True: pass"  # ends with the bench, however it ends
)


@contextlib.contextmanager
def every_processor() -> Iterator[None]:
    """Busy processes from here to the end of the block."""
    taken = [
        subprocess.Popen([sys.executable, "-I", "-c", _PROGRAM]) for _ in range(len(os.sched_getaffinity(0)))
    ]
    try:
        time.sleep(1.0)  # they have started
        yield
    finally:
        for process in taken:
            process.kill()
        for process in taken:
            process.wait()
