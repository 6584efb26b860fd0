"""`govdesk model`: the words and the JSON of each action, on real packages; one version is meant, never a guess."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from govdesk import config
from govdesk.app import models
from govdesk.app.preferences import Preferences
from govdesk.app.rules import load_policy
from govdesk.cli import commands, model
from govdesk.config import Profile
from govdesk.domain.ids import RecordSeq
from govdesk.domain.record import Entry
from govdesk.errors import UsageError
from govdesk.inference import fit
from tests.packages import Medium, one

DEVELOPMENT = (config.CHECKOUT / "installer" / "development" / "signing.key").read_text()


class Log:
    def append(self, entry: Entry) -> RecordSeq:
        return RecordSeq(1)

    def require_open(self) -> None: ...


@dataclass
class Desk:
    models: models.RecordedModels


class Terminal:
    """What a person types, and what comes."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        policy = load_policy()[0]
        self.home = Profile(folder / "home")
        self.shelf = models.shelf(self.home, policy)
        self.desk = Desk(
            models.RecordedModels(self.shelf, Log(), policy, lambda: "", Preferences(self.home.preferences))
        )
        self._capsys = capsys

    def type(self, *arguments: str) -> tuple[int, str]:
        parsed = commands.parse(["model", *arguments])
        if parsed.action in model.LOOKS:
            code = model.look(parsed, self.shelf)
        else:
            code = model.run(parsed, self.desk)  # type: ignore[arg-type]
        return code, self._capsys.readouterr().out


@pytest.fixture
def terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(tmp_path, capsys)


@pytest.fixture
def two(terminal: Terminal, tmp_path: Path) -> Terminal:
    """Versions 9 and 10, which as texts stand the other way round."""
    for version in (9, 10):
        medium = Medium(tmp_path / str(version), {"F16": one(version)}, version=version, private=DEVELOPMENT)
        code, said = terminal.type("import", str(medium.write().folder))
        assert (code, f"Imported Tiny tiny, version {version}" in said) == (0, True)
    return terminal


def test_a_name_that_means_two_versions_is_refused_with_both(two: Terminal) -> None:
    for action in ("show", "verify", "remove"):
        with pytest.raises(UsageError) as caught:
            two.type(action, "tiny")
        assert "9 and 10" in caught.value.explain()
        assert "`--version 10`" in caught.value.explain()
    assert len([path for path in two.home.models.iterdir() if path.is_dir()]) == 2


@pytest.mark.parametrize("version", ["9", "10"])
def test_the_version_is_named_in_what_is_asked_and_in_what_is_said(two: Terminal, version: str) -> None:
    said = two.type("show", "tiny", "--version", version)[1]
    assert f"tiny, version {version}" in said
    assert f"tiny-{version}/" in said
    code, said = two.type("verify", "tiny", "--version", version)
    assert (code, said.splitlines()[0]) == (0, f"Tiny tiny, version {version}:")
    assert "sound" in said
    code, said = two.type("verify", "tiny", "--version", version, "--json")
    assert json.loads(said)["version"] == int(version)
    code, said = two.type("remove", "tiny", "--version", version)
    assert (code, f"Removed tiny, version {version}: 1 MB are free." in said) == (0, True)
    left = {path.name for path in two.home.models.iterdir() if path.is_dir()}
    assert left == {"tiny-9", "tiny-10"} - {f"tiny-{version}"}


def test_a_format_that_was_not_imported_is_no_damage(terminal: Terminal, tmp_path: Path) -> None:
    medium = Medium(tmp_path / "medium", {"F16": one(1), "F32": one(2)}, private=DEVELOPMENT).write()
    terminal.type("import", str(medium.folder), "--quantization", "F32")
    code, said = terminal.type("verify", "tiny")
    assert (code, said.splitlines()[2:]) == (0, ["not imported: F16"])
    (terminal.home.models / "tiny-1" / medium.file("F32").name).write_bytes(b"x")
    code, said = terminal.type("verify", "tiny")
    assert (code, "WRONG" in said) == (1, True)
    assert json.loads(terminal.type("verify", "tiny", "--json")[1])["not_imported"] == ["F16"]


def test_half_the_memory_for_conversations_is_chosen_and_said(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.home.create()
    assert terminal.type("settings") == (0, f"Memory of conversations: whole. {fit.QUALITY_NOTE}\n")
    code, said = terminal.type("settings", "--halve-context", "on")
    assert code == 0 and said.startswith("Memory of conversations: halved. ")
    assert "the next time" in said
    assert json.loads(terminal.type("settings", "--json")[1])["halved"] is True
    monkeypatch.setattr(fit, "kv_possible", lambda _facts, kv: kv == "f16")
    assert "cannot: whole" in terminal.type("settings")[1]
    assert terminal.type("settings", "--halve-context", "on")[0] == 1
    assert terminal.type("settings", "--halve-context", "off")[0] == 0
    assert Preferences(terminal.home.preferences).kv == "f16"
