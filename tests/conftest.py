"""What all tests share: where things are, and processes that do not outlive their test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("govdesk", deadline=None)  # machines are shared: time is measured, never asserted
settings.load_profile("govdesk")

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty profile's folder, named by GOVDESK_HOME."""
    folder = tmp_path / "home"
    monkeypatch.setenv("GOVDESK_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def model_file() -> Path:
    """The real embedded model."""
    path = CHECKOUT / "models" / "smollm2-135m-instruct.gguf"
    assert path.exists(), "the model is missing: run `make setup`"
    return path


@pytest.fixture
def isolated() -> Iterator[object]:
    """Run a piece of Python in a process of its own: walls cannot be taken down again."""
    started: list[subprocess.Popen[str]] = []

    def run(code: str, *arguments: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", code, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": os.environ.get("HOME", "/")},
        )
        started.append(process)
        out, err = process.communicate(timeout=timeout)
        return subprocess.CompletedProcess(code, process.returncode, out, err)

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
