"""`govdesk redact`: findings and redacted text, for people and for scripts; needs no profile.

Where there is a profile, each call leaves two audit records: its intent, before anything is read or
printed, and its outcome with counts by type, before the text is printed, or with `--jsonl` when the
lines end, be it at a bad one or by Ctrl-C. A call that is killed leaves its intent. JSON is printed in
ASCII, so that no text can steer a terminal.
"""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO

import msgspec

from govdesk.chat.ports import Redactor
from govdesk.chat.recording import recorded
from govdesk.cli import interrupts, output
from govdesk.cli.desk import Desk
from govdesk.domain.record import Entry, Event
from govdesk.domain.redaction import Direction, Redacted, counts
from govdesk.domain.text import terminal_safe
from govdesk.errors import UnreadableError, UsageError
from govdesk.policy.loader import open_regular

MAX_TEXT_BYTES = 64 * 1024 * 1024
"""Largest text, and largest line of `--jsonl`."""

Recording = Callable[[dict[str, int]], AbstractContextManager[object]]
"""Puts what happens inside on record, with the counts that the dictionary holds when it ends."""


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line in."""

    text: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `redact`."""
    parser.add_argument(
        "file", nargs="?", default="-", metavar="FILE", help="UTF-8 text; `-` is standard input"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object")
    form.add_argument("--jsonl", action="store_true", help='one {"text": …} a line in, one object a line out')


def run(parsed: argparse.Namespace, desk: Desk) -> int:
    """Redact in a session process, with records."""

    def recording(findings: dict[str, int]) -> AbstractContextManager[object]:
        entry = Entry(
            event=Event.REDACT,
            outcome="intent",
            object=secrets.token_hex(12),
            marking=desk.policy.policy.system_high,
            policy=desk.policy.stamp,
            fields={"findings": findings},
        )
        return recorded(desk.audit, entry)

    return redact(parsed, desk.redactor, desk.policy.stamp, recording)


def redact(parsed: argparse.Namespace, redactor: Redactor, policy: str, recording: Recording) -> int:
    """Record, read, redact, record, print.

    Returns:
        0, or 1 when there was something that policy blocks.

    Raises:
        UnreadableError: the file cannot be read, or is not UTF-8.
        UsageError: a line is not what `--jsonl` takes, or something is too large.
        MachineError: the output cannot be written.
        ReaderLeft: nobody reads the output any more.
    """
    total: dict[str, int] = {}
    if parsed.jsonl:
        with recording(total), interrupts.leaving():
            return _lines(parsed.file, redactor, policy, total)
    with recording(total):
        with interrupts.leaving():
            result = redactor.redact(_text(parsed.file), Direction.PROMPT)
        total.update(counts(result.findings))
    with interrupts.leaving():
        if parsed.json:
            output.write(_as_json(result, policy) + "\n")
        else:
            _print(result)
    return 1 if result.blocked else 0


def _print(result: Redacted) -> None:
    shown = terminal_safe(result.text) if sys.stdout is not None and sys.stdout.isatty() else result.text
    output.write(shown if shown.endswith("\n") else shown + "\n")
    for finding in result.findings:
        where = f"{finding.start}-{finding.end}"
        print(
            f"{where:>15}  {finding.type:22} {finding.score:.2f}  {finding.rule} ({finding.operator.value})",
            file=sys.stderr,
        )


def _lines(name: str, redactor: Redactor, policy: str, total: dict[str, int]) -> int:
    blocked = False
    for result in _each_line(name, redactor):
        for entity_type, count in counts(result.findings).items():
            total[entity_type] = total.get(entity_type, 0) + count
        blocked = blocked or bool(result.blocked)
        output.write(_as_json(result, policy) + "\n")
    return 1 if blocked else 0


def _each_line(name: str, redactor: Redactor) -> Iterator[Redacted]:
    with _opened(name) as source:
        number = 0
        while line := source.readline(MAX_TEXT_BYTES + 1):
            number += 1
            if len(line) > MAX_TEXT_BYTES:
                raise UsageError(f"Line {number} is larger than {MAX_TEXT_BYTES} bytes.")
            if not line.strip():
                continue
            try:
                text = msgspec.json.decode(line, type=_Line).text
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                raise UsageError(f'Line {number} is not an object like {{"text": "…"}}.') from error
            yield redactor.redact(text, Direction.PROMPT)


def _as_json(result: Redacted, policy: str) -> str:
    findings = [
        {
            "start": finding.start,
            "end": finding.end,
            "type": finding.type,
            "score": round(finding.score, 3),
            "rule": finding.rule,
            "operator": finding.operator.value,
        }
        for finding in result.findings
    ]
    shown = {"schema": 1, "text": result.text, "findings": findings, "policy": policy}
    return json.dumps(shown, ensure_ascii=True, separators=(",", ":")).replace("\x7f", "\\u007f")


def _text(name: str) -> str:
    with _opened(name) as source:
        try:
            content = source.read(MAX_TEXT_BYTES + 1)
        except OSError as error:
            raise UnreadableError(f"{_named(name)} cannot be read: {error.strerror}.") from error
    return _decoded(content, name)


def _opened(name: str) -> BinaryIO:
    if name == "-":
        if sys.stdin is None:
            raise UnreadableError("There is no standard input.", todo="Name a file, or pipe a text in.")
        return sys.stdin.buffer
    try:
        return open_regular(Path(name))
    except OSError as error:
        raise UnreadableError(f"The file {name} cannot be read: {error.strerror}.") from error


def _named(name: str) -> str:
    return "Standard input" if name == "-" else f"The file {name}"


def _decoded(untrusted_bytes: bytes, name: str) -> str:
    if len(untrusted_bytes) > MAX_TEXT_BYTES:
        raise UsageError(f"The text is larger than {MAX_TEXT_BYTES} bytes.", todo="Redact it in parts.")
    try:
        return untrusted_bytes.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UnreadableError(
            f"{_named(name)} is not UTF-8 text.", todo="Convert it to UTF-8 first."
        ) from error
