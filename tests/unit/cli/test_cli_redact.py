import argparse
import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from govdesk.cli import redact
from govdesk.config import RESOURCES
from govdesk.domain.policy import ConsentText, Policy
from govdesk.errors import UnreadableError, UsageError
from govdesk.redaction.engine import Engine
from govdesk.redaction.packs import load_packs

ENGINE = Engine(
    load_packs(RESOURCES / "recognizers", lambda _: True),
    Policy(1, "t", 1, "UNCLASSIFIED", ConsentText(title="", text=""), {}),
)


class Output(io.StringIO):
    tty = False

    def isatty(self) -> bool:
        return self.tty


class Ran(SimpleNamespace):
    out: Output
    recorded: list[dict[str, int]]
    patch: pytest.MonkeyPatch

    def run(self, *arguments: str) -> int:
        parser = argparse.ArgumentParser()
        redact.add_arguments(parser)
        self.patch.setattr(sys, "stdout", self.out)  # here, because pytest sets its own before each phase
        return redact.redact(parser.parse_args(arguments), ENGINE, "t@abc", self.recorded.append)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Ran:
    ran = Ran(out=Output(), recorded=[], patch=monkeypatch)
    ran.give = lambda content: monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
    return ran


def test_json_has_the_contracts_shape_and_offsets_over_the_text_as_given(terminal: Ran) -> None:
    terminal.give("\ufeffa\r\n😀 219-09-9999 é".encode())
    assert terminal.run("--json") == 0
    assert json.loads(terminal.out.getvalue()) == {
        "schema": 1,
        "text": "\ufeffa\r\n😀 [US_SSN] é",
        "findings": [
            {"start": 6, "end": 17, "type": "US_SSN", "score": 0.85, "rule": "us-ssn", "operator": "redact"}
        ],
        "policy": "t@abc",
    }
    assert terminal.recorded == [{"US_SSN": 1}]


def test_json_never_steers_a_terminal(terminal: Ran) -> None:
    terminal.give("\x1b[2J\x7f\u009b\u202e".encode())
    terminal.run("--json")
    assert terminal.out.getvalue().strip().isprintable()
    assert terminal.out.getvalue().isascii()
    assert json.loads(terminal.out.getvalue())["text"] == "\x1b[2J\x7f\u009b\u202e"


def test_text_is_exact_in_a_pipe_and_safe_on_a_terminal(terminal: Ran) -> None:
    terminal.give(b"\x1b[2Jmail a@b.org\n")
    terminal.run()
    assert terminal.out.getvalue() == "\x1b[2Jmail [EMAIL_ADDRESS]\n"
    terminal.out.tty = True
    terminal.give(b"\x1b[2Jmail a@b.org\n")
    terminal.run("-")
    assert terminal.out.getvalue().endswith("<U+001B>[2Jmail [EMAIL_ADDRESS]\n")


def test_one_object_a_line_in_order(terminal: Ran, tmp_path: Path) -> None:
    file = tmp_path / "in.jsonl"
    file.write_bytes(b'{"text":"a@b.org\\n"}\n\n{"text":"219-09-9999"}\r\n{"text":""}')
    assert terminal.run("--jsonl", str(file)) == 0
    texts = [json.loads(line)["text"] for line in terminal.out.getvalue().splitlines()]
    assert texts == ["[EMAIL_ADDRESS]\n", "[US_SSN]", ""]
    assert terminal.recorded == [{"EMAIL_ADDRESS": 1, "US_SSN": 1}]


@pytest.mark.parametrize(
    "bad", [b"{", b'{"text":1}', b'{"text":"a","more":1}', b"[]", b'{"text":"\xff"}', b'{"text":"\\ud800"}']
)
def test_a_bad_line_is_a_usage_error_and_what_was_done_is_recorded(terminal: Ran, bad: bytes) -> None:
    terminal.give(b'{"text":"a@b.org"}\n' + bad + b"\n")
    with pytest.raises(UsageError) as caught:
        terminal.run("--jsonl")
    assert caught.value.exit_code == 3
    assert "Line 2" in caught.value.what
    assert terminal.recorded == [{"EMAIL_ADDRESS": 1}]


def test_what_cannot_be_read_or_is_no_utf8_is_said(terminal: Ran, tmp_path: Path) -> None:
    for name, content in (("missing", None), ("latin", b"caf\xe9")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableError) as caught:
            terminal.run(str(tmp_path / name))
        assert caught.value.exit_code == 4
    with pytest.raises(UnreadableError):
        terminal.run(str(tmp_path))
    assert terminal.recorded == []


def test_too_large_is_said(terminal: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "MAX_TEXT_BYTES", 100)
    for arguments in ((), ("--jsonl",)):
        terminal.give(b"x" * 101)
        with pytest.raises(UsageError):
            terminal.run(*arguments)


def test_nothing_is_printed_when_the_record_cannot_be_made(terminal: Ran) -> None:
    terminal.give(b"a@b.org")
    terminal.recorded = SimpleNamespace(append=lambda _: (_ for _ in ()).throw(ValueError))
    with pytest.raises(ValueError):
        terminal.run()
    assert terminal.out.getvalue() == ""
