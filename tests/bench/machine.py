"""On what a bench ran: without it no figure means anything."""

from __future__ import annotations

import datetime
import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path

from govdesk.inference import processor, threads
from govdesk.process import environment

_LIBRARY = (
    "from llama_cpp import llama_cpp as l; print(l.__file__); print(l.llama_print_system_info().decode())"
)


def facts() -> dict[str, str]:
    """Name and value, in the order in which they are printed."""
    found = processor.read()
    path, features = subprocess.run(
        [sys.executable, "-I", "-c", _LIBRARY], capture_output=True, text=True, check=True
    ).stdout.splitlines()[:2]
    library = hashlib.sha256()
    for file in sorted(Path(path).parent.glob("lib/*.so")):
        library.update(file.read_bytes())
    return {
        "processor": found.name,
        "cores": threads.explain(found),
        "library": f"llama.cpp, SHA-256 {library.hexdigest()[:16]}",
        "features": features.strip(" |"),
        "threads": f"GOMP_SPINCOUNT={environment.BOUNDED_SPIN}, fewer while others compute",
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "kernel": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
