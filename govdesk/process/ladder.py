"""The stop ladder: ask, grace, terminate, kill. However a child behaves, it is gone at the end."""

from __future__ import annotations

import contextlib
import signal
import subprocess

GRACE_SECONDS = 0.5


def stop(child: subprocess.Popen[bytes], *, asked: bool) -> int:
    """End a child process and reap it.

    Args:
        child: the process.
        asked: it was asked to end (a `Shutdown` frame, or its channel was closed), so it gets a grace first.

    Returns:
        The exit code as subprocess gives it: negative for a signal.
    """
    if asked:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(GRACE_SECONDS)
    for step in (signal.SIGTERM, signal.SIGKILL):
        child.send_signal(step)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(GRACE_SECONDS)
    return child.wait()
