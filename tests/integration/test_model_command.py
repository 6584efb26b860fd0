"""`govdesk model` as people type it: the real processes, the real model, a medium, Ctrl-C, and the records."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from govdesk import config
from tests.commands import govdesk, records
from tests.integration.test_terminal import Terminal
from tests.packages import Medium

NAME = "smollm2-135m-instruct"
DEVELOPMENT = (config.CHECKOUT / "installer" / "development" / "signing.key").read_text()
LARGE_BYTES = 2**30


@pytest.fixture
def medium(tmp_path: Path, model_file: Path) -> Path:
    """The embedded model as a package on a medium."""
    folder = tmp_path / "medium"
    folder.mkdir()
    for name in (f"{NAME}.toml", f"{NAME}.toml.sig"):
        shutil.copy(config.MODELS / name, folder)
    os.link(model_file, folder / model_file.name)
    return folder


def outcomes(home: Path, event: str) -> list[tuple[str, str, object]]:
    found = [one for one in records(home) if one["event"] == event]
    return [(str(one["outcome"]), str(one["object"]), dict(one["fields"]).get("code")) for one in found]  # type: ignore[call-overload]


def test_import_list_show_verify_remove(home: Path, medium: Path) -> None:
    done = govdesk(home, "model", "import", str(medium))
    assert done.returncode == 0, done.stderr
    assert "Imported SmolLM2 135M Instruct, version 2: 145 MB copied." in done.stdout
    assert "100 %" in done.stderr
    assert outcomes(home, "model.import") == [("intent", NAME, None), ("success", NAME, None)]
    listed = json.loads(govdesk(home, "model", "list", "--json").stdout)
    assert [(line["state"], line["imported"]) for line in listed["models"] if line["name"] == NAME] == [
        ("ready", False),
        ("ready", True),
    ]
    shown = govdesk(home, "model", "show", NAME)
    assert shown.returncode == 0
    assert "the file's, as signed" in shown.stdout
    assert "UNCLASSIFIED" in shown.stdout
    verified = govdesk(home, "model", "verify", NAME)
    assert (verified.returncode, verified.stdout.count("sound")) == (0, 2)
    copy = home / "models" / f"{NAME}-2" / f"{NAME}.gguf"
    with copy.open("r+b") as file:
        file.seek(10**8)
        file.write(b"another word")
    damaged = govdesk(home, "model", "verify", NAME)
    assert damaged.returncode == 1
    assert "does not have the bytes that were signed" in damaged.stdout
    removed = govdesk(home, "model", "remove", NAME)
    assert removed.returncode == 0
    assert not copy.exists()
    refused = govdesk(home, "model", "remove", NAME)
    assert refused.returncode == 1
    assert "came with GovDesk" in refused.stderr
    assert outcomes(home, "model.remove") == [("intent", NAME, None), ("success", NAME, None)]
    assert outcomes(home, "model.refuse") == [("failure", NAME, "model.shipped")]
    assert outcomes(home, "model.verify") == [
        ("intent", NAME, None),
        ("success", NAME, None),
        ("intent", NAME, None),
        ("failure", NAME, "model.digest"),
    ]


def test_what_is_refused_says_why_and_is_on_record(home: Path, medium: Path) -> None:
    (medium / f"{NAME}.toml.sig").write_bytes(b"x")
    done = govdesk(home, "model", "import", str(medium))
    assert done.returncode == 1
    assert "is not signed by a key that this workstation trusts" in done.stderr
    assert "Nothing was imported" in done.stderr or "unchanged" in done.stderr
    assert outcomes(home, "model.refuse") == [("failure", "", "model.manifest-signature")]
    assert govdesk(home, "model", "import", str(medium / "nowhere" / "x")).returncode == 4
    assert govdesk(home, "model", "show", "nothing").returncode == 3
    assert govdesk(home, "model", "import").returncode == 3
    assert not list(home.glob("models/*"))


@pytest.fixture
def large(tmp_path: Path) -> Medium:
    """More than a moment's work, and no room on the medium."""
    medium = Medium(tmp_path / "medium", private=DEVELOPMENT).write()
    small = str(len(medium.variants["F16"][0]))
    os.truncate(medium.file(), LARGE_BYTES)
    medium.manifest.write_text(
        medium.manifest.read_text().replace(f"bytes = {small}", f"bytes = {LARGE_BYTES}")
    )
    medium.sign()
    return medium


def test_ctrl_c_keeps_what_was_copied_and_the_next_import_goes_on(home: Path, large: Medium) -> None:
    medium = large
    terminal = Terminal(home, "model", "import", str(medium.folder), term="xterm")
    terminal.until("copying: ")
    terminal.type("\x03")
    terminal.until("goes on from there")
    assert terminal.ended() == 130
    terminal.close()
    partial = home / "models" / ".tiny-1.partial" / f"{medium.file().name}.partial"
    assert 0 < partial.stat().st_size < LARGE_BYTES
    assert outcomes(home, "model.import") == [
        ("intent", "tiny", None),
        ("failure", "tiny", "model.import-stopped"),
    ]
    again = Terminal(home, "model", "import", str(medium.folder), term="xterm")
    again.until("checking what was copied before: ")
    again.type("\x03")
    again.until("goes on from there")
    assert again.ended() == 130
    again.close()
    assert not [path for path in (home / "models").iterdir() if not path.name.startswith(".")]


def test_a_termination_stops_an_import_in_order_and_is_told_by_its_code(home: Path, large: Medium) -> None:
    terminal = Terminal(home, "model", "import", str(large.folder), term="xterm")
    terminal.until("copying: ")
    terminal.process.terminate()
    assert terminal.ended() == 143
    terminal.close()
    partial = home / "models" / ".tiny-1.partial" / f"{large.file().name}.partial"
    assert 0 < partial.stat().st_size < LARGE_BYTES
    assert outcomes(home, "model.import")[-1] == ("failure", "tiny", "model.import-stopped")
