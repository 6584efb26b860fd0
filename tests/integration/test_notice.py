"""The notice names every pinned package with its version, and what the compiled ones bring along."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest
from sqlcipher3 import dbapi2

from installer.setup.environment import pins
from tests.conftest import CHECKOUT

REQUIREMENTS = CHECKOUT / "installer" / "requirements"
NOTICE = (CHECKOUT / "resources" / "NOTICE").read_text(encoding="utf-8")
_ENTRY = re.compile(r"^  ([a-z0-9][a-z0-9.-]*) (\d\S*) +(\S.*(?:\n {20,}\S.*)*)", re.MULTILINE)
_LICENCES = re.compile(
    r"\b(MIT|MIT-0|BSD-[23]-Clause|Apache-2\.0|PSF-2\.0|MPL-2\.0|Zlib|LGPL-3\.0|public domain)\b"
)


def _section(title: str) -> str:
    _, found, rest = NOTICE.partition(f"\n{title}\n")
    assert found, title
    return re.split(r"\n(?=\S)", rest)[0]


def _entries(title: str) -> dict[str, tuple[str, str]]:
    """Canonical name → version, and what is said about it."""
    return {
        name.replace("-", "_"): (version, " ".join(words.split()))
        for name, version, words in _ENTRY.findall(_section(title))
    }


def _pinned(*names: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        found |= pins((REQUIREMENTS / name).read_text())
    return found


RUNTIME = _entries("Runs with")
DEVELOPMENT = _entries("Only for building, checking and testing; never shipped")


def test_every_package_it_runs_with_is_named_with_its_version_and_none_else() -> None:
    assert {name: version for name, (version, _) in RUNTIME.items()} == _pinned("runtime.txt", "llama.txt")


def test_every_development_package_is_named_with_its_version_and_none_else() -> None:
    assert {name: version for name, (version, _) in DEVELOPMENT.items()} == _pinned("build.txt", "dev.txt")


@pytest.mark.parametrize("name", sorted({**RUNTIME, **DEVELOPMENT}))
def test_every_package_has_a_licence_and_it_is_the_one_the_package_states(name: str) -> None:
    words = {**RUNTIME, **DEVELOPMENT}[name][1]
    assert _LICENCES.search(words), words
    stated = importlib.metadata.metadata(name).get("License-Expression")
    if stated:
        assert words.startswith(stated)


def _package(name: str) -> Path:
    return Path(str(importlib.metadata.distribution(name).locate_file("")))


def _openssl_in(library: Path) -> str:
    found = re.search(rb"OpenSSL \d+\.\d+\.\d+(?= \d)", library.read_bytes())
    assert found, library.name
    return found[0].decode()


def test_what_sqlcipher_contains_is_named_with_its_version() -> None:
    connection = dbapi2.connect(":memory:")
    connection.execute("PRAGMA key = 'x'")
    (cipher,) = connection.execute("PRAGMA cipher_version").fetchone()
    (provider,) = connection.execute("PRAGMA cipher_provider_version").fetchone()
    connection.close()
    words = RUNTIME["sqlcipher3"][1]
    assert f"SQLCipher {cipher} (" in words
    assert f"SQLite {dbapi2.sqlite_version} (" in words
    assert " ".join(provider.split()[:2]) + " (" in words


def test_the_openssl_of_cryptography_is_named_with_its_version() -> None:
    (library,) = (_package("cryptography") / "cryptography" / "hazmat" / "bindings").glob("_rust*.so")
    assert f"{_openssl_in(library)} (" in RUNTIME["cryptography"][1]


def test_every_library_that_numpy_brings_is_named() -> None:
    brought = {path.name for path in (_package("numpy") / "numpy.libs").iterdir()}
    named = {"openblas": "OpenBLAS (", "libgfortran": "libgfortran (", "libquadmath": "libquadmath (LGPL"}
    for library in brought:
        known = [words for part, words in named.items() if part in library]
        assert known, f"the notice does not know {library}"
        assert known[0] in RUNTIME["numpy"][1]
    assert len(brought) == len(named)


def test_the_licence_texts_are_there() -> None:
    text = (CHECKOUT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert text == (CHECKOUT / "models" / "LICENSES" / "Apache-2.0.txt").read_text()
