"""For the worker's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_models import tiny_bytes


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "model.gguf"
    path.write_bytes(tiny_bytes("qwen3"))
    return path
