"""The layers are contracts that break: each planted violation is seen by the tools that `make check` runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT

_PLANTED = {
    "a feature that imports another": ("govdesk/storage/planted.py", "import govdesk.audit.chain\n"),
    "an import upwards": ("govdesk/domain/planted.py", "import govdesk.chat.service\n"),
    "Qt outside the window": ("govdesk/chat/planted.py", "import PySide6.QtCore\n"),
    "llama_cpp outside the worker": ("govdesk/inference/planted.py", "import llama_cpp\n"),
    "cryptography outside crypto": ("govdesk/session/planted.py", "import cryptography.fernet\n"),
    "SQL outside storage": ("govdesk/chat/planted.py", "import sqlite3\n"),
    "a socket in a feature": ("govdesk/inference/planted.py", "import socket\n"),
    "HTTP anywhere": ("govdesk/gui/planted.py", "import urllib.request\n"),
    "asyncio anywhere": ("govdesk/process/planted.py", "import asyncio\n"),
    "a file in the domain": ("govdesk/domain/planted.py", "import pathlib\n"),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("house")
    shutil.copytree(CHECKOUT / "govdesk", folder / "govdesk", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    return folder


def _lint(folder: Path) -> subprocess.CompletedProcess[str]:
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": "."},
    )


def test_the_house_as_it_stands_keeps_its_contracts(copy: Path) -> None:
    done = _lint(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("what", _PLANTED)
def test_a_planted_violation_breaks_a_contract(copy: Path, what: str) -> None:
    name, code = _PLANTED[what]
    planted = copy / name
    planted.write_text(code)
    try:
        done = _lint(copy)
    finally:
        planted.unlink()
    assert done.returncode == 1
    assert "planted" in done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import subprocess\n",
        "from PySide6 import QtNetwork\n",
        "import pickle\n",
        "import os\nos.system('ls')\n",
    ],
)
def test_what_is_banned_by_name_is_seen(code: str) -> None:
    ruff = Path(sys.executable).with_name("ruff")
    done = subprocess.run(
        [ruff, "check", "--select", "TID251", "--stdin-filename", "govdesk/chat/planted.py", "-"],
        cwd=CHECKOUT,
        input=code,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "TID251" in done.stdout


def test_no_index_address_is_committed() -> None:
    done = subprocess.run(
        ["git", "grep", "-nIE", r"--(extra-)?index-url|^ *index-url|files\.pythonhosted|pypi\.org/simple"],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert [line for line in done.stdout.splitlines() if "test_house_rules" not in line] == []
