"""What a person chose is kept whole or not at all; a damaged file is as none, and is replaced."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from govdesk.app.preferences import Preferences
from govdesk.errors import HomeError


def test_what_was_chosen_is_there_for_another_process(tmp_path: Path) -> None:
    path = tmp_path / "preferences.json"
    assert Preferences(path).kv == "f16"
    Preferences(path).halve_context(halve=True)
    assert Preferences(path).kv == "q8_0"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    Preferences(path).halve_context(halve=False)
    assert Preferences(path).kv == "f16"
    assert os.listdir(tmp_path) == ["preferences.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"[]", b"\xff", b'{"schema":2,"halve_context":true}', b'{"halve_context":1}',
        b'{"halve_context":true,"policy":"off"}', b" " * 5000 + b'{"halve_context":true}',
    ],
)  # fmt: skip
def test_a_damaged_file_is_as_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "preferences.json"
    path.write_bytes(content)
    assert Preferences(path).kv == "f16"
    Preferences(path).halve_context(halve=True)
    assert Preferences(path).kv == "q8_0"


def test_what_cannot_be_kept_is_said(tmp_path: Path) -> None:
    with pytest.raises(HomeError) as caught:
        Preferences(tmp_path / "missing" / "preferences.json").halve_context(halve=True)
    assert "Everything is as it was." in caught.value.explain()
