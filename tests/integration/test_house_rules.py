"""The layers are contracts that break: each planted violation is seen by the tools that `make check` runs."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
CONTRACTS = {contract["name"]: contract for contract in PROJECT["tool"]["importlinter"]["contracts"]}
BANNED = PROJECT["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]

LAYERS = "Imports point down; features never import each other"
QT = "Qt only in gui"
THREADS = "Threads of the window only in gui/tasks.py"
LLAMA = "llama_cpp and jinja2 only in worker"
CRYPTO = "cryptography only in crypto.py"
SQL = "SQL only in storage"
SOCKET = "socket only in process and sandbox"
NETWORK = "No network modules anywhere"
PROGRAMS = "Only process starts programs"
DECODING = "Decoding runs no code"
PURE = "domain is pure"
ROOT = "govdesk/__init__.py imports nothing"

# where it is planted, the line, and the contracts that break: these and no others
_PLANTED = {
    "a module that no layer names": ("govdesk/planted.py", "import re", {LAYERS}),
    "a feature that imports another": ("govdesk/storage/planted.py", "import govdesk.audit.chain", {LAYERS}),
    "an import upwards": ("govdesk/domain/planted.py", "import govdesk.chat.service", {LAYERS}),
    "the window's front in the other front": ("govdesk/cli/planted.py", "import govdesk.gui.words", {LAYERS}),
    "the package itself": ("govdesk/__init__.py", "import govdesk.chat.service", {LAYERS, ROOT}),
    "Qt outside the window": ("govdesk/chat/planted.py", "import PySide6.QtCore", {QT}),
    "Qt in a new module": ("govdesk/planted.py", "import PySide6", {LAYERS, QT}),
    "a thread in the window": ("govdesk/gui/planted.py", "import threading", {THREADS}),
    "llama_cpp outside the worker": ("govdesk/inference/planted.py", "import llama_cpp", {LLAMA}),
    "llama_cpp in a new module": ("govdesk/planted.py", "import llama_cpp", {LAYERS, LLAMA}),
    "a template outside the worker": ("govdesk/chat/planted.py", "import jinja2.sandbox", {LLAMA}),
    "cryptography outside crypto": ("govdesk/session/planted.py", "import cryptography.fernet", {CRYPTO}),
    "SQL outside storage": ("govdesk/chat/planted.py", "import sqlite3", {SQL}),
    "the unencrypted driver in storage": ("govdesk/storage/planted.py", "import sqlite3", {SQL}),
    "a socket in a feature": ("govdesk/inference/planted.py", "import socket", {SOCKET}),
    "a socket in a new module": ("govdesk/planted.py", "import socket", {LAYERS, SOCKET}),
    "HTTP in the window": ("govdesk/gui/planted.py", "import urllib.request", {NETWORK}),
    "asyncio beside the sockets": ("govdesk/process/planted.py", "import asyncio", {NETWORK}),
    "a program from a feature": ("govdesk/audit/planted.py", "import subprocess", {PROGRAMS}),
    "another way to start programs": ("govdesk/process/planted.py", "import multiprocessing", {PROGRAMS}),
    "pickles from a child": ("govdesk/process/planted.py", "import pickle", {DECODING}),
    "a file in the domain": ("govdesk/domain/planted.py", "import pathlib", {PURE}),
    "hardening in the domain": ("govdesk/domain/planted.py", "import govdesk.hardening", {PURE}),
}

# Written down apart from pyproject.toml, so that a name taken out there is missed here.
_AT_LEAST = {
    QT: "PySide6 shiboken6",
    THREADS: "threading _thread concurrent",
    LLAMA: "llama_cpp jinja2 numpy",
    CRYPTO: "cryptography",
    SQL: "sqlite3 _sqlite3 sqlcipher3 sqlite_utils",
    SOCKET: "socket _socket",
    NETWORK: "ssl http urllib asyncio socketserver xmlrpc webbrowser ftplib smtplib imaplib poplib nntplib telnetlib "
    "requests httpx aiohttp",
    PROGRAMS: "subprocess _posixsubprocess pty multiprocessing",
    DECODING: "pickle _pickle marshal shelve importlib",
    PURE: "os io pathlib shutil tempfile time random secrets threading ctypes",
}
_BANNED_AT_LEAST = frozenset(
    "PySide6.QtNetwork PySide6.QtNetworkAuth PySide6.QtWebEngineCore PySide6.QtWebSockets PySide6.QtQml PySide6.QtDBus "
    "PySide6.QtCore.QProcess PySide6.QtGui.QDesktopServices subprocess _posixsubprocess pty multiprocessing webbrowser "
    "concurrent.futures.ProcessPoolExecutor pickle marshal shelve os.system os.popen os.fork os.forkpty os.posix_spawn "
    "os.posix_spawnp os.execl os.execle os.execlp os.execlpe os.execv os.execve os.execvp os.execvpe os.spawnl "
    "os.spawnle os.spawnlp os.spawnlpe os.spawnv os.spawnve os.spawnvp os.spawnvpe".split()
)

DOMAIN_IMPORTS = frozenset(
    "__future__ collections dataclasses datetime decimal difflib enum fractions functools itertools math msgspec operator re "
    "string types typing unicodedata".split()
)
"""All that `domain` may import, beside itself and `govdesk.errors`."""
DOMAIN_CALLS = frozenset({"open", "print", "input", "exec", "eval", "__import__", "now", "today", "utcnow"})
"""What no line of `domain` may call: it has no files, no terminal and no clock."""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("house")
    shutil.copytree(CHECKOUT / "govdesk", folder / "govdesk", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(CHECKOUT / "pyproject.toml", folder)
    return folder


@contextmanager
def planted(house: Path, name: str, code: str) -> Iterator[None]:
    """The house with these lines added to a module; afterwards as it was."""
    place = house / name
    before = place.read_text() if place.exists() else None
    place.write_text((before or "") + code + "\n")
    try:
        yield
    finally:
        place.unlink() if before is None else place.write_text(before)


def lint(house: Path) -> tuple[int, str]:
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=house,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": ".", "COLUMNS": "200"},
    )
    return done.returncode, done.stdout


def verdicts(said: str) -> dict[str, str]:
    """Contract → KEPT or BROKEN."""
    return dict(re.findall(r"^(.+?) (KEPT|BROKEN)\b", said, re.MULTILINE))


def details(said: str, contract: str) -> str:
    """What is said about one broken contract."""
    _, found, rest = said.partition(f"\n{contract}\n{'-' * len(contract)}\n")
    assert found, said
    return re.split(r"\n[^\n]+\n-{10,}\n", rest)[0]


def test_the_house_as_it_stands_keeps_its_contracts(house: Path) -> None:
    code, said = lint(house)
    assert code == 0, said
    assert verdicts(said) == dict.fromkeys(CONTRACTS, "KEPT")


@pytest.mark.parametrize("what", _PLANTED)
def test_a_planted_violation_breaks_its_contract_and_no_other(house: Path, what: str) -> None:
    name, code, expected = _PLANTED[what]
    with planted(house, name, code):
        status, said = lint(house)
    assert status == 1
    assert {contract for contract, word in verdicts(said).items() if word == "BROKEN"} == expected, said


def test_every_contract_has_a_planted_violation() -> None:
    assert set().union(*(expected for _, _, expected in _PLANTED.values())) == set(CONTRACTS)


@pytest.mark.parametrize("contract", [name for name in CONTRACTS if name not in {LAYERS, ROOT}])
def test_every_forbidden_module_breaks_its_contract(house: Path, contract: str) -> None:
    (source,) = CONTRACTS[contract]["source_modules"]
    forbidden = CONTRACTS[contract]["forbidden_modules"]
    place = source.replace(".", "/") + "/planted.py"
    with planted(house, place, "\n".join(f"import {module}" for module in forbidden)):
        _, said = lint(house)
    assert verdicts(said)[contract] == "BROKEN"
    named = set(re.findall(rf"{source}\.planted -> (\S+)", details(said, contract)))
    assert named == set(forbidden)


def test_no_name_was_taken_out_of_a_list() -> None:
    assert set(_AT_LEAST) | {LAYERS, ROOT} == set(CONTRACTS)
    for contract, names in _AT_LEAST.items():
        assert set(names.split()) - set(CONTRACTS[contract]["forbidden_modules"]) == set(), contract
    assert _BANNED_AT_LEAST - set(BANNED) == set()


@pytest.mark.parametrize("contract", [LLAMA, CRYPTO, SQL, SOCKET, NETWORK, PROGRAMS, DECODING, QT])
def test_a_contract_covers_modules_that_do_not_exist_yet(contract: str) -> None:
    assert CONTRACTS[contract]["source_modules"] == ["govdesk"]
    assert CONTRACTS[LAYERS]["exhaustive"] is True


def ruff_sees(code: str, name: str) -> set[str]:
    """The banned names that ruff finds in a module of this name."""
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("ruff"), "check", "--output-format", "json"),
            *("--select", "TID251", "--stdin-filename", name, "-"),
        ],
        cwd=CHECKOUT,
        input=code,
        capture_output=True,
        text=True,
        check=False,
    )
    return {finding["message"].split("`")[1] for finding in json.loads(done.stdout)}


def an_import(name: str) -> str:
    parent, _, leaf = name.rpartition(".")
    return f"from {parent} import {leaf}" if parent else f"import {name}"


@pytest.mark.parametrize(
    "place",
    [
        *("govdesk/planted.py", "govdesk/chat/planted.py", "govdesk/gui/planted.py", "govdesk/gui/tasks.py"),
        *("govdesk/cli/planted.py", "govdesk/worker/planted.py", "govdesk/sandbox/planted.py"),
    ],
)
def test_every_banned_name_is_seen(place: str) -> None:
    assert ruff_sees("\n".join(map(an_import, BANNED)) + "\n", place) == set(BANNED)
    assert ruff_sees("import re\nimport os\nos.getpid()\n", place) == set()


def test_a_banned_function_is_seen_where_it_is_called() -> None:
    functions = {name for name in BANNED if name.startswith("os.")}
    assert functions
    code = "import os\n" + "\n".join(f"{name}()" for name in sorted(functions))
    assert ruff_sees(code + "\n", "govdesk/chat/planted.py") == functions


def impurities(code: str) -> set[str]:
    """What a module of `domain` imports or calls and may not."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if not _allowed_in_domain(alias.name)}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            found |= set() if not node.level and _allowed_in_domain(module) else {module}
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            found |= {called} & DOMAIN_CALLS
    return found


def _allowed_in_domain(module: str) -> bool:
    own = module.startswith("govdesk.domain.") or module == "govdesk.errors"
    return own or module.partition(".")[0] in DOMAIN_IMPORTS


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import shutil", {"shutil"}),
        ("from os.path import join", {"os.path"}),
        ("def f():\n    import random", {"random"}),
        ("from . import ids", {""}),
        ("import govdesk.config", {"govdesk.config"}),
        ("import datetime\nx = datetime.datetime.now()", {"now"}),
        ("x = open('a')", {"open"}),
        ("import datetime\nfrom govdesk.domain.ids import TurnId\nx = re.compile('a')", set()),
    ],
)
def test_an_impurity_is_seen(code: str, found: set[str]) -> None:
    assert impurities(code) == found


def test_the_domain_is_pure() -> None:
    modules = sorted((CHECKOUT / "govdesk" / "domain").rglob("*.py"))
    assert modules
    assert {module.name: impurities(module.read_text()) for module in modules} == {
        module.name: set() for module in modules
    }
