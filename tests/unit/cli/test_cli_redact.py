import argparse
import errno
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from govdesk import __main__
from govdesk.cli import output, redact
from govdesk.config import RESOURCES
from govdesk.domain.policy import ConsentText, Policy, RedactionRules
from govdesk.domain.record import Entry
from govdesk.domain.redaction import Operator
from govdesk.errors import AuditClosedError, MachineError, UnreadableError, UsageError
from govdesk.redaction.engine import Engine
from govdesk.redaction.packs import load_packs
from tests import audit_fields
from tests.fakes import FakeDesk

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
    recorded: list[tuple[str, dict[str, int]]]
    patch: pytest.MonkeyPatch

    def run(self, *arguments: str) -> int:
        parser = argparse.ArgumentParser()
        redact.add_arguments(parser)
        self.patch.setattr(sys, "stdout", self.out)  # here, because pytest sets its own before each phase
        desk = SimpleNamespace(audit=self, redactor=self.engine, policy=FakeDesk().policy)
        desk.policy = SimpleNamespace(policy=desk.policy.policy, stamp="t@abc")
        return redact.run(parser.parse_args(arguments), desk)

    def append(self, entry: Entry) -> int:
        """As the audit log."""
        audit_fields.check(entry)
        self.recorded.append((entry.outcome, dict(entry.fields["findings"]), self.out.getvalue()))
        self.entries.append(msgspec.json.decode(msgspec.json.encode(entry)))
        if self.fails_at and len(self.recorded) >= self.fails_at:
            raise AuditClosedError("the disk is full")
        return len(self.recorded)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Ran:
    ran = Ran(out=Output(), recorded=[], entries=[], patch=monkeypatch, engine=ENGINE, fails_at=0)
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
    assert terminal.recorded == [("intent", {}, ""), ("success", {"US_SSN": 1}, "")]


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
    assert terminal.recorded == [
        ("intent", {}, ""),
        ("success", {"EMAIL_ADDRESS": 1, "US_SSN": 1}, terminal.out.getvalue()),
    ]


@pytest.mark.parametrize(
    "bad", [b"{", b'{"text":1}', b'{"text":"a","more":1}', b"[]", b'{"text":"\xff"}', b'{"text":"\\ud800"}']
)
def test_a_bad_line_is_a_usage_error_and_what_was_done_is_recorded(terminal: Ran, bad: bytes) -> None:
    terminal.give(b'{"text":"a@b.org"}\n' + bad + b"\n")
    with pytest.raises(UsageError) as caught:
        terminal.run("--jsonl")
    assert caught.value.exit_code == 3
    assert "Line 2" in caught.value.what
    assert [record[:2] for record in terminal.recorded] == [("intent", {}), ("failure", {"EMAIL_ADDRESS": 1})]


def test_what_cannot_be_read_or_is_no_utf8_is_said(terminal: Ran, tmp_path: Path) -> None:
    for name, content in (("missing", None), ("latin", b"caf\xe9")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableError) as caught:
            terminal.run(str(tmp_path / name))
        assert caught.value.exit_code == 4
    os.mkfifo(tmp_path / "pipe")
    for name in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(UnreadableError):
            terminal.run(str(name))
    terminal.patch.setattr(sys, "stdin", None)
    with pytest.raises(UnreadableError):
        terminal.run("--jsonl")
    assert {record[0] for record in terminal.recorded} == {"intent", "failure"}
    codes = [entry["fields"].get("code") for entry in terminal.entries]
    assert codes == [None, UnreadableError.code] * 5


@pytest.mark.parametrize("form", [(), ("--jsonl",)])
def test_a_failure_that_cannot_be_recorded_hides_no_error(terminal: Ran, form: tuple[str, ...]) -> None:
    terminal.patch.setattr(sys, "stdin", None)
    terminal.fails_at = 2
    with pytest.raises(UnreadableError, match="no standard input"):
        terminal.run(*form)
    assert len({entry["object"] for entry in terminal.entries}) == 1


@pytest.mark.parametrize("form", [(), ("--jsonl",)])
def test_ctrl_c_is_recorded_as_such(terminal: Ran, form: tuple[str, ...]) -> None:
    class Typed(io.BytesIO):
        def read(self, size: int = -1) -> bytes:
            signal.raise_signal(signal.SIGINT)
            return super().read(size)

        readline = read

    terminal.patch.setattr(sys, "stdin", SimpleNamespace(buffer=Typed()))
    with pytest.raises(KeyboardInterrupt):
        terminal.run(*form)
    assert [entry["outcome"] for entry in terminal.entries] == ["intent", "failure"]
    assert terminal.entries[1]["fields"]["code"] == "interrupted"


def test_too_large_is_said(terminal: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redact, "MAX_TEXT_BYTES", 100)
    for arguments in ((), ("--jsonl",)):
        terminal.give(b"x" * 101)
        with pytest.raises(UsageError):
            terminal.run(*arguments)


@pytest.mark.parametrize("form", [(), ("--json",), ("--jsonl",)])
def test_nothing_is_read_or_printed_when_the_intent_cannot_be_recorded(
    terminal: Ran, form: tuple[str, ...]
) -> None:
    given = io.BytesIO(b'{"text":"a@b.org"}\n')
    terminal.patch.setattr(sys, "stdin", SimpleNamespace(buffer=given))
    terminal.fails_at = 1
    with pytest.raises(AuditClosedError):
        terminal.run(*form)
    assert terminal.out.getvalue() == ""
    assert given.tell() == 0


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_nothing_is_printed_when_the_outcome_cannot_be_recorded(terminal: Ran, form: tuple[str, ...]) -> None:
    terminal.give(b"a@b.org")
    terminal.fails_at = 2
    with pytest.raises(AuditClosedError):
        terminal.run(*form)
    assert terminal.out.getvalue() == ""


def test_what_policy_blocks_is_a_no(terminal: Ran) -> None:
    rules = {"prompt": RedactionRules(types={"US_SSN": Operator.BLOCK})}
    terminal.engine = Engine(
        ENGINE._recognizers, Policy(1, "t", 1, "UNCLASSIFIED", ConsentText(title="", text=""), rules)
    )
    for form, given in (
        ((), b"219-09-9999"),
        (("--json",), b"219-09-9999"),
        (("--jsonl",), b'{"text":"219-09-9999"}'),
    ):
        terminal.give(given)
        assert terminal.run(*form) == 1
        assert "219" not in terminal.out.getvalue()
    terminal.give(b"a@b.org")
    assert terminal.run() == 0


class Broken(Output):
    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    def flush(self) -> None:
        if self.getvalue():
            raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("form", [(), ("--json",), ("--jsonl",)])
@pytest.mark.parametrize(
    ("number", "error"), [(errno.ENOSPC, MachineError), (errno.EPIPE, output.ReaderLeft)]
)
def test_output_that_cannot_be_written_is_said_once_and_recorded(
    terminal: Ran, form: tuple[str, ...], number: int, error: type[Exception]
) -> None:
    terminal.out = Broken(number)
    terminal.give(b'{"text":"a@b.org"}\n' * 3)
    with pytest.raises(error) as raised:
        terminal.run(*form)
    assert getattr(raised.value, "exit_code", 5) == 5
    assert sys.stdout is None  # the interpreter does not try again
    assert len(terminal.recorded) == 2
    assert terminal.recorded[0][0] == "intent"


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        ("> /dev/full", 5, "could not be written"),
        ("<&-", 4, "no standard input"),
        (">&-", 5, "no standard output"),
    ],
)
def test_the_shell_gets_one_line_and_the_right_code(
    tmp_path: Path, redirection: str, code: int, said: str
) -> None:
    command = f"echo x | '{sys.executable}' -I -m govdesk redact {redirection}"
    ran = subprocess.run(
        ["bash", "-c", command if "<" not in redirection else command.replace("echo x | ", "")],
        capture_output=True, text=True, env=os.environ | {"GOVDESK_HOME": str(tmp_path / "none")}, check=False,
    )  # fmt: skip
    assert (ran.returncode, said in ran.stderr, len(ran.stderr.splitlines())) == (code, True, 1)


def test_a_reader_that_leaves_ends_it_quietly(tmp_path: Path) -> None:
    many = tmp_path / "many.jsonl"
    many.write_text('{"text":"a"}\n' * 20_000, encoding="utf-8")
    command = f"'{sys.executable}' -I -m govdesk redact --jsonl '{many}' | head -1; exit ${{PIPESTATUS[0]}}"
    ran = subprocess.run(
        ["bash", "-c", command],
        capture_output=True, text=True, env=os.environ | {"GOVDESK_HOME": str(tmp_path / "none")}, check=False,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr, len(ran.stdout.splitlines())) == (0, "", 1)


def test_an_error_nobody_foresaw_is_one_line_without_its_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_arguments: list[str]) -> int:
        raise ValueError("the words of a prompt")

    monkeypatch.setattr(__main__, "_run", broken)
    assert __main__.main() == 70
    said = capsys.readouterr().err
    assert "ValueError at" in said
    assert "words" not in said
    assert len(said.splitlines()) == 1
