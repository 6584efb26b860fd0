"""GovDesk as people run it: the real command with the real broker, in a profile of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PASSPHRASE = "correct horse battery staple in a test"
GOVDESK = [sys.executable, "-m", "govdesk"]


def govdesk(
    home: Path,
    *arguments: str,
    passphrase: str | None = None,
    stdin: str | None = None,
    before: tuple[str, ...] = (),
    timeout: float = 240.0,
    extra: dict[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end. `before` is put in front (strace); a passphrase goes over a descriptor."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home.parent),
        "LANG": "C.UTF-8",
        "GOVDESK_HOME": str(home),
        **(extra or {}),
    }
    passed: tuple[int, ...] = ()
    options: list[str] = []
    if passphrase is not None:
        reading, writing = os.pipe()
        os.write(writing, passphrase.encode() + b"\n")
        os.close(writing)
        passed, options = (reading,), ["--passphrase-fd", str(reading)]
    try:
        return subprocess.run(
            [*before, *GOVDESK, *arguments, *options],
            capture_output=True,
            text=True,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            env=environment,
            pass_fds=passed,
            timeout=timeout,
            check=False,
        )
    finally:
        for descriptor in passed:
            os.close(descriptor)


def records(home: Path) -> list[dict[str, object]]:
    """The audit log's records, decoded."""
    import json

    lines = b"".join(path.read_bytes() for path in sorted((home / "audit").glob("segment-*.jsonl")))
    return [json.loads(line) for line in lines.splitlines()]
