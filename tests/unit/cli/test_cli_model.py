"""`govdesk model`: the words and the JSON of each action, on real packages; one version is meant, never a guess."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from govdesk import config, crypto
from govdesk.app import models
from govdesk.app.preferences import Preferences
from govdesk.app.rules import covers, load_policy
from govdesk.cli import commands, model
from govdesk.config import Profile
from govdesk.domain.ids import RecordSeq
from govdesk.domain.record import Entry
from govdesk.errors import UsageError
from govdesk.inference import fit
from govdesk.inference.catalogue import Rules
from govdesk.inference.formats import Cpu
from govdesk.inference.importing import import_package
from govdesk.inference.media import Package
from govdesk.inference.shelf import Shelf
from tests.packages import PUBLIC, Medium, one
from tests.tiny_models import TEMPLATE, tiny_bytes

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


class Machine:
    """Real packages on a shelf of the tests' key, for a processor that is chosen here."""

    CPU = Cpu("x86_64", frozenset({"avx", "avx2", "f16c"}))
    FIT = "slow: about 3 tokens/s"

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self.approved: list[str] = []
        self.system_high = "UNCLASSIFIED"
        self._capsys = capsys

    def put(self, medium: Medium, *, approved: bool = True) -> Medium:
        medium.write()
        if approved:
            self.approved += [medium.digest(name) for name in medium.variants]
        with Package(medium.folder, (PUBLIC,)) as package:
            here = self.shelf
            variants = here.importable(package)
            import_package(package, here.own, variants, lambda _: None, lambda: False)
        return medium

    @property
    def shelf(self) -> Shelf:
        rules = Rules((PUBLIC,), tuple(self.approved), self.system_high, covers)
        return Shelf(self.folder / "none", self.folder / "models", rules, self.CPU, fit=lambda *_: self.FIT)

    def text(self, *arguments: str) -> tuple[int, list[str]]:
        code = model.look(commands.parse(["model", *arguments]), self.shelf)
        return code, self._capsys.readouterr().out.splitlines()

    def json(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        code, lines = self.text(*arguments, "--json")
        (line,) = lines
        return code, json.loads(line)

    def rows(self, *arguments: str) -> dict[str, str]:
        """`show` as names and values, down to the template."""
        lines = self.text("show", *arguments)[1]
        return {line[:22].strip(): line[22:] for line in lines if line[:1].strip()}


@pytest.fixture
def machine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Machine:
    return Machine(tmp_path, capsys)


class TestList:
    def test_state_format_and_fit_in_words(self, machine: Machine) -> None:
        machine.put(Medium(machine.folder / "m", {"F16": one(1), "Q4_K_M": one(2), "Q5_1": one(3)}))
        code, lines = machine.text("list")
        assert code == 0
        assert lines[0] == "* tiny  F16  version 1  1 MB  imported"
        assert lines[1] == "    ready; fast here; slow: about 3 tokens/s"
        assert lines[2] == "  tiny  Q4_K_M  version 1  1 MB  imported"
        assert lines[3] == "    ready; fast here: repacked for this processor; slow: about 3 tokens/s"
        assert lines[5] == "    ready; works, slower reading; slow: about 3 tokens/s"
        assert lines[6] == (
            "Formats that this processor reads fast: Q4_0, Q4_K, IQ4_NL, MXFP4, Q8_0, F32, F16, BF16, Q5_0."
        )
        assert lines[7:] == ["* answers."]

    def test_the_same_as_json(self, machine: Machine) -> None:
        medium = machine.put(Medium(machine.folder / "m", {"F16": one(1), "Q5_1": one(3)}))
        code, found = machine.json("list")
        assert (code, found["schema"]) == (0, 1)
        assert found["fast"][0] == "Q4_0"
        first, second = found["models"]
        assert first["digest"] == medium.digest("F16")
        assert [first[key] for key in ("state", "chosen", "answers", "version", "imported")] == [
            "ready",
            True,
            "answers",
            1,
            True,
        ]
        assert (first["format_words"], first["fit_words"]) == ("fast here", machine.FIT)
        assert (second["format_words"], second["chosen"]) == ("works, slower reading", False)

    def test_what_stands_in_the_way_is_said_and_the_code_is_one(self, machine: Machine) -> None:
        machine.put(Medium(machine.folder / "a", name="a"), approved=False)
        machine.put(Medium(machine.folder / "b", {"F16": one(2)}, name="b"))
        machine.system_high = "SECRET"
        broken = machine.put(Medium(machine.folder / "c", {"F16": one(3)}, name="c"))
        (machine.folder / "models" / "c-1" / broken.file().name).unlink()
        bad = machine.folder / "models" / "c-1" / "other.toml"
        bad.write_text("")
        code, lines = machine.text("list")
        said = dict(zip(lines[::2], lines[1::2], strict=False))
        assert code == 1
        assert said["  a  F16  version 1  1 MB  imported"].startswith("    not approved by policy; fast here")
        marking = said["  b  F16  version 1  1 MB  imported"]
        assert marking.startswith("    may not see what this workstation holds; ")
        assert marking.endswith("may see up to UNCLASSIFIED; this workstation holds up to SECRET.")
        assert "file missing; fast here; The model file c-F16-1.gguf is missing" in " ".join(lines)
        assert f"! {bad}" in lines
        assert machine.json("list")[1]["refused"][0]["code"] == "model.manifest"

    def test_an_empty_workstation(self, machine: Machine) -> None:
        code, lines = machine.text("list")
        assert (code, lines[0]) == (1, "There is no model here.")


class TestShow:
    def test_everything_that_is_signed_and_what_the_file_says(self, machine: Machine) -> None:
        medium = machine.put(Medium(machine.folder / "m"))
        code, _ = machine.text("show", "tiny")
        rows = machine.rows("tiny")
        assert code == 0
        assert rows["name"] == "tiny, version 1"
        assert rows["state"] == "ready; fast here; slow: about 3 tokens/s"
        assert rows["format"] == "F16, 1 MB"
        assert rows["digest"] == medium.digest()
        assert rows["licence"] == "CC0-1.0"
        assert rows["highest marking"] == "UNCLASSIFIED"
        assert rows["file: architecture"] == "llama"
        assert rows["template"] == "the file's, as signed"
        code, found = machine.json("show", "tiny")
        assert (code, found["schema"], found["template_as_signed"]) == (0, 1, True)
        assert found["line"]["digest"] == medium.digest()
        assert found["untrusted_file_template"] == TEMPLATE

    def test_a_template_in_place_of_the_files_is_compared(self, machine: Machine) -> None:
        own = TEMPLATE + "\n{# a line of the manifest's own #}"
        digest = crypto.sha384(own.encode()).hex()
        machine.put(Medium(machine.folder / "m", template=own, template_sha384=digest))
        code, lines = machine.text("show", "tiny")
        assert code == 0
        assert (
            machine.rows("tiny")["template"]
            == "the manifest's own, in place of the file's; they differ as below"
        )
        assert "    --- the file's" in lines
        assert "    +{# a line of the manifest's own #}" in lines
        assert machine.json("show", "tiny")[1]["manifest_template"] == own

    def test_a_missing_file_is_not_looked_at_and_another_format_is_shown(self, machine: Machine) -> None:
        medium = machine.put(Medium(machine.folder / "m", {"F16": one(1), "F32": one(2)}))
        (machine.folder / "models" / "tiny-1" / medium.file("F16").name).unlink()
        assert machine.rows("tiny")["format"].startswith("F32")
        code, _ = machine.text("show", "tiny", "--quantization", "F16")
        assert code == 1
        rows = machine.rows("tiny", "--quantization", "F16")
        assert rows["state"].startswith("file missing")
        assert rows["template"] == "not looked at: the file is missing"
        assert machine.json("show", "tiny", "--quantization", "F16")[1]["template_as_signed"] is None

    def test_a_template_that_is_not_the_signed_one_is_said(self, machine: Machine) -> None:
        folder = machine.folder / "models" / "tiny-1"
        medium = Medium(folder, template_sha384="00" * 48).write()
        machine.approved = [medium.digest()]
        assert machine.text("show", "tiny")[0] == 1
        assert machine.rows("tiny")["template"] == "NOT the one that was signed"

    def test_what_a_file_says_does_not_steer_the_terminal(self, machine: Machine) -> None:
        hostile = "{{ messages }}\x1b[2J\u202e"
        files = (tiny_bytes("llama-bpe", template=hostile),)
        machine.put(
            Medium(
                machine.folder / "m",
                {"F16": files},
                template_sha384=crypto.sha384(hostile.encode()).hex(),
            )
        )
        lines = machine.text("show", "tiny")[1]
        assert "    {{ messages }}<U+001B>[2J<U+202E>" in lines
