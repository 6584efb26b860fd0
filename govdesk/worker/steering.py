"""Nothing in the environment tells a library what to load: forgotten before any of them is imported."""

from __future__ import annotations

import os

STEERING = ("GGML_BACKEND_PATH", "LLAMA_CPP_LIB_PATH")


def forget() -> None:
    """Take the variables away; the broker's clean environment has none, this holds without it too."""
    for name in STEERING:
        os.environ.pop(name, None)
