"""`govdesk audit`: exit codes, JSON, and output that no record can steer a terminal with."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

from govdesk.audit.record import Where, Who
from govdesk.audit.store import SEGMENT_NAME
from govdesk.audit.writer import Writer
from govdesk.cli import audit
from govdesk.errors import AuditUnreadableError, UnreadableError, UsageError
from tests.audit_logs import Clock, Quick, build, entry, lines_of, officer


def run(*arguments: str | Path) -> int:
    parser = argparse.ArgumentParser()
    audit.add_arguments(parser)
    return audit.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "officer.pem"
    path.write_text(officer()[0])
    return path


def test_verify(tmp_path: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "a"
    segment = build(folder, 3)
    assert run("verify", folder, "--officer-key", key) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("sound; roll-back of the whole log not excluded\n")
    assert "records    4 in 1 segment" in shown
    assert "assurance  reduced" in shown
    assert run("verify", folder) == 2
    assert capsys.readouterr().out.startswith("incomplete: MACs not checked\n")
    (folder / SEGMENT_NAME).write_bytes(segment.replace(b'"turn-0"', b'"turn-9"', 1))
    assert run("verify", folder, "--officer-key", key, "--json") == 1
    found = json.loads(capsys.readouterr().out)
    offset = len(lines_of(segment)[0]) + 1
    assert (found["state"], found["first_bad"]) == ("tampered", {"seq": 1, "offset": offset})
    assert found["looks_like"] == "edit of one record"
    assert run("verify", tmp_path / "nothing", "--json") == 4
    assert json.loads(capsys.readouterr().out)["state"] == "unreadable"


def test_the_profile_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GOVDESK_HOME", str(tmp_path))
    build(tmp_path / "audit", 1)
    assert run("verify") == 2
    assert run("show") == 0
    assert "log.start: success" in capsys.readouterr().out


def test_a_key_that_cannot_be_read(tmp_path: Path) -> None:
    build(tmp_path / "a", 1)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for name in ("missing", "binary"):
        with pytest.raises(UnreadableError) as error:
            run("verify", tmp_path / "a", "--officer-key", tmp_path / name)
        assert error.value.exit_code == 4


def test_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "a"
    segment = build(folder, 6)
    assert run("show", folder, "--last", "2") == 0
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 2
    assert "turn.intent: permit  turn-2  UNCLASSIFIED" in shown[0]
    assert "by ana (1000)" in shown[0]
    assert "findings={US_SSN: 1}  rule=none" in shown[1]
    assert run("show", folder, "--json") == 0
    printed = capsys.readouterr().out.splitlines()
    assert [json.loads(line) for line in printed] == [json.loads(line) for line in lines_of(segment)]
    audit.print_records(folder, object_id="turn-1")
    assert len(capsys.readouterr().out.splitlines()) == 2
    with pytest.raises(UsageError):
        run("show", folder, "--last", "0")
    with pytest.raises(AuditUnreadableError):
        run("show", tmp_path / "nothing")
    with pytest.raises(AuditUnreadableError):
        run("show", tmp_path)


def test_nothing_in_a_record_steers_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "a"
    evil = "\x1b]0;x\x07\u202eabc\x9b31m\nroot"
    clock = Clock(who=Who(1, evil, "owner", "process"), where=Where(evil, "x"))
    writer = Writer(folder, clock, files=Quick())
    writer.append(entry(0))
    writer.close()
    with (folder / SEGMENT_NAME).open("ab") as file:
        file.write(b"\x1b[2J no record\n\x1b[2J torn")
    for arguments in (("show", folder), ("show", folder, "--json"), ("verify", folder)):
        run(*arguments)
        shown = capsys.readouterr().out
        assert not set(shown) & {"\x1b", "\x07", "\u202e", "\x9b"}, arguments
    run("show", folder)
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) == 4
    assert "<U+202E>abc<U+009B>31m<U+000A>root" in shown
    assert "that is no record" in shown
