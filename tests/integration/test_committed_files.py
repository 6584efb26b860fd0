"""What is committed is true: no index address, and no document names a test that is not there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from govdesk.cli import commands
from tests.conftest import CHECKOUT

_NOT_OURS = frozenset({".git", ".venv", "build", "__pycache__", ".hypothesis", ".mypy_cache", ".ruff_cache"})
_NOT_OURS_ENDINGS = (".egg-info", ".gguf", ".sig", ".png", ".pyc")

# Built of parts, so that this file is no hit itself.
_ADDRESS = re.compile("https?" + "://", re.IGNORECASE)
_INDEX = re.compile(
    "|".join(
        (
            "--(extra-)?" + "index(-url)?\\b",
            r"\bPIP_[A-Z_]*(" + "INDEX|FIND_LINKS|TRUSTED)",
            r"\bUV_[A-Z_]*(" + "INDEX|FIND_LINKS)",
            r"(^|[\s\"'])-[if][\s\"',=]*" + "https?://",
            "--find" + "-links",
            "--trusted" + "-host",
            r"^\s*(extra-)?" + r"index-url\s*=",
            "files\\.python" + "hosted",
            "pypi" + r"\.(org|python)",
        )
    ),
    re.IGNORECASE | re.MULTILINE,
)


def committed(root: Path) -> set[Path]:
    """The files of a checkout: what git would commit, or without git everything but what is made."""
    git = shutil.which("git")
    if git and (root / ".git").exists():
        done = subprocess.run(
            [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=root,
            capture_output=True,
            text=True,
            check=False,
        )
        names = {root / name for name in done.stdout.split("\0") if name}
        if done.returncode == 0 and names:
            return {path for path in names if path.is_file() and not path.name.endswith(_NOT_OURS_ENDINGS)}
    return walked(root)


def walked(root: Path) -> set[Path]:
    """The same without git."""
    found = set()
    for folder, folders, names in os.walk(root):
        folders[:] = [
            name
            for name in folders
            if name not in _NOT_OURS
            and not name.endswith(_NOT_OURS_ENDINGS)
            and not (Path(folder, name) / "pyvenv.cfg").exists()
        ]
        found |= {Path(folder, name) for name in names if not name.endswith(_NOT_OURS_ENDINGS)}
    return found


def offences(name: str, text: str) -> list[str]:
    """Lines that name an index: its options anywhere, and any address in what the set-up reads."""
    reads = name in {"Makefile", "pyproject.toml"} or name.startswith((".ci/", "installer/requirements/"))
    reads = reads or (name.startswith("installer/") and name.endswith(".py"))
    return [
        f"{name}:{number}: {line}"
        for number, line in enumerate(text.splitlines(), 1)
        if _INDEX.search(line) or (reads and _ADDRESS.search(line))
    ]


_SECURE = "https" + "://host.example/simple"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("Makefile", f"\tPIP_INDEX_URL={_SECURE} pip install x"),
        ("tests/conftest.py", 'os.environ["PIP_' + 'INDEX_URL"] = address'),
        ("README.md", f"    pip install -i {_SECURE} x"),
        ("README.md", f"    pip install -i{_SECURE} x"),
        ("govdesk/config.py", f'["pip", "-i", "{_SECURE}"]'),
        ("installer/setup/environment.py", '["--find' + '-links", folder]'),
        ("installer/setup/environment.py", f'BASE = "{_SECURE}"'),
        ("installer/requirements/runtime.txt", f"numpy @ {_SECURE}/numpy.whl"),
        ("installer/requirements/README.md", f"see {_SECURE}"),
        ("pyproject.toml", "[[tool.uv." + "index]]\nurl = " + f'"{_SECURE}"'),
        ("pip.conf", "index" + "-url = http:" + "//x"),
        (".ci/run", f"curl {_SECURE}"),
        ("docs/a.md", "--extra-" + "index-url"),
        ("docs/a.md", "pip --" + "index-url=x"),
    ],
)
def test_an_index_address_is_seen(name: str, line: str) -> None:
    assert offences(name, f"first\n{line}\n")


@pytest.mark.parametrize("line", ['"--no-index"', "sed -i s/a/b/ file", "an index of messages", "-f file"])
def test_what_is_none_is_left_alone(line: str) -> None:
    assert offences("Makefile", line) == []


def test_the_walk_without_git_sees_what_git_sees() -> None:
    assert {CHECKOUT / "Makefile", CHECKOUT / ".ci" / "run"} <= walked(CHECKOUT)
    if (CHECKOUT / ".git").exists() and shutil.which("git"):
        assert committed(CHECKOUT) <= walked(CHECKOUT)


def test_no_index_address_is_committed() -> None:
    files = committed(CHECKOUT)
    names = {str(path.relative_to(CHECKOUT)) for path in files}
    expected = {"Makefile", "pyproject.toml", ".ci/run", "installer/requirements/runtime.txt", "README.md"}
    assert expected <= names
    assert {path for path in names if path.startswith("installer/setup/")}
    found = []
    for path in sorted(files):
        name = str(path.relative_to(CHECKOUT))
        found += offences(name, path.read_text(encoding="utf-8", errors="replace"))
    assert found == []


def named_tests(text: str) -> set[str]:
    """Every path under `tests/` that a document names."""
    return {name.rstrip("/.") for name in re.findall(r"\btests/[\w./-]*\w/?", text)}


def test_named_tests_are_found_in_a_text() -> None:
    assert named_tests("`tests/a/b.py`, tests/gui/ and (tests/c.py).") == {
        "tests/a/b.py",
        "tests/gui",
        "tests/c.py",
    }


def test_every_test_that_a_document_names_exists() -> None:
    documents = [CHECKOUT / "README.md", CHECKOUT / "models" / "README.md"]
    documents += sorted((CHECKOUT / "resources").rglob("*.md")) + sorted(
        (CHECKOUT / "installer").rglob("*.md")
    )
    named = {(path.name, name) for path in documents for name in named_tests(path.read_text())}
    assert ("threat-model.md", "tests/security/test_nothing_leaves_the_machine.py") in named
    assert [pair for pair in sorted(named) if not (CHECKOUT / pair[1]).exists()] == []


def test_every_test_function_that_the_threat_model_names_exists() -> None:
    functions = set(re.findall(r"`(test_\w+)`", (CHECKOUT / "resources/docs/threat-model.md").read_text()))
    written = "\n".join(path.read_text() for path in sorted((CHECKOUT / "tests").rglob("test_*.py")))
    assert [name for name in sorted(functions) if f"def {name}(" not in written] == []


def test_the_readme_names_every_command_and_every_target() -> None:
    readme = (CHECKOUT / "README.md").read_text()
    asked = {f"govdesk {name}" for name in commands._NEEDS if name != "window"}
    targets = re.findall(r"^([a-z]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)
    asked |= {f"make {name}" for name in targets if name != "help"}
    assert {"govdesk ask", "make run"} <= asked
    assert [name for name in sorted(asked) if f"`{name}" not in readme] == []


def test_the_readme_names_every_part_of_the_tree() -> None:
    tree = (CHECKOUT / "README.md").read_text().partition("## The tree")[2]
    parts = {path.name + "/" * path.is_dir() for path in (CHECKOUT / "govdesk").iterdir()}
    parts -= {"__pycache__/", "__init__.py"}
    assert "gui/" in parts
    assert [part for part in sorted(parts) if part not in tree] == []
