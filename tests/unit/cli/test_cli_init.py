"""`govdesk init` makes a profile only from a passphrase that is typed twice and found good."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from govdesk.cli import init
from govdesk.config import Profile
from govdesk.errors import UsageError
from tests.fakes import CODE, PASSPHRASE, FakeDesk


@pytest.fixture
def desk(tmp_path):
    made = FakeDesk(profile_exists=False)
    made.profile = Profile(tmp_path)
    return made


@pytest.fixture
def typed(monkeypatch):
    """What the person types, line by line."""

    def type_them(*lines):
        answers = iter(lines)
        monkeypatch.setattr(init.passphrase, "read", lambda *_: next(answers))

    return type_them


def parsed(**options: object) -> argparse.Namespace:
    return argparse.Namespace(**{"passphrase_fd": None, "json": False, **options})


def test_the_recovery_code_is_shown_once(desk, typed, capsys):
    typed(PASSPHRASE, PASSPHRASE)
    assert init.run(parsed(), desk) == 0
    assert desk.created == PASSPHRASE
    assert capsys.readouterr().out.count(CODE) == 1


def test_json(desk, typed, capsys):
    typed(PASSPHRASE)
    assert init.run(parsed(passphrase_fd=3, json=True), desk) == 0
    assert json.loads(capsys.readouterr().out) == {"home": str(desk.profile.home), "recovery_code": CODE}


def test_two_that_differ_make_nothing(desk, typed):
    typed(PASSPHRASE, PASSPHRASE + ".")
    with pytest.raises(UsageError, match="differ"):
        init.run(parsed(), desk)
    assert desk.calls == []


def test_a_short_one_makes_nothing(desk, typed):
    typed("short")
    with pytest.raises(UsageError) as caught:
        init.run(parsed(passphrase_fd=3), desk)
    assert caught.value.code == "passphrase.unsuitable"
    assert desk.calls == []


def test_a_profile_that_is_there_is_not_asked_for(desk, typed, tmp_path: Path):
    typed()
    (tmp_path / "keys.json").write_text("{}")
    with pytest.raises(UsageError, match="already"):
        init.run(parsed(), desk)
    assert desk.calls == []
