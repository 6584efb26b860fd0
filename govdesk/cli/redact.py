"""`govdesk redact`: findings and redacted text, for people and for scripts; needs no profile.

Where there is a profile, each call leaves one audit record with counts by type: before anything is
printed, or with `--jsonl` when the lines end, be it at a bad one. JSON is printed in ASCII, so that
no text can steer a terminal.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec

from govdesk.chat.ports import Redactor
from govdesk.cli.desk import Desk
from govdesk.domain.record import Entry, Event
from govdesk.domain.redaction import Direction, Redacted, counts
from govdesk.domain.text import terminal_safe
from govdesk.errors import UnreadableError, UsageError

MAX_TEXT_BYTES = 64 * 1024 * 1024
"""Largest text, and largest line of `--jsonl`."""


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
    """Redact in a session process, with a record."""

    def record(findings: dict[str, int]) -> None:
        desk.audit.append(
            Entry(
                event=Event.REDACT,
                outcome="success",
                marking=desk.policy.policy.system_high,
                policy=desk.policy.stamp,
                fields={"findings": findings},
            )
        )

    return redact(parsed, desk.redactor, desk.policy.stamp, record)


def redact(
    parsed: argparse.Namespace, redactor: Redactor, policy: str, record: Callable[[dict[str, int]], None]
) -> int:
    """Read, redact, record, print.

    Raises:
        UnreadableError: the file cannot be read, or is not UTF-8.
        UsageError: a line is not what `--jsonl` takes, or something is too large.
    """
    with _opened(parsed.file) as source:
        if parsed.jsonl:
            return _lines(source, redactor, policy, record)
        text = _decoded(source.read(MAX_TEXT_BYTES + 1), parsed.file)
    result = redactor.redact(text, Direction.PROMPT)
    record(counts(result.findings))
    if parsed.json:
        print(_as_json(result, policy))
        return 0
    shown = terminal_safe(result.text) if sys.stdout.isatty() else result.text
    sys.stdout.write(shown if shown.endswith("\n") else shown + "\n")
    for finding in result.findings:
        where = f"{finding.start}-{finding.end}"
        print(
            f"{where:>15}  {finding.type:22} {finding.score:.2f}  {finding.rule} ({finding.operator.value})",
            file=sys.stderr,
        )
    return 0


def _lines(
    source: BinaryIO, redactor: Redactor, policy: str, record: Callable[[dict[str, int]], None]
) -> int:
    total: dict[str, int] = {}
    try:
        _each_line(source, redactor, policy, total)
    finally:
        record(total)
    return 0


def _each_line(source: BinaryIO, redactor: Redactor, policy: str, total: dict[str, int]) -> None:
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
        result = redactor.redact(text, Direction.PROMPT)
        for entity_type, count in counts(result.findings).items():
            total[entity_type] = total.get(entity_type, 0) + count
        sys.stdout.write(_as_json(result, policy) + "\n")
        sys.stdout.flush()


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


def _opened(name: str) -> BinaryIO:
    if name == "-":
        return sys.stdin.buffer
    try:
        return Path(name).open("rb")
    except OSError as error:
        raise UnreadableError(f"The file {name} cannot be read: {error.strerror}.") from error


def _decoded(untrusted_bytes: bytes, name: str) -> str:
    if len(untrusted_bytes) > MAX_TEXT_BYTES:
        raise UsageError(f"The text is larger than {MAX_TEXT_BYTES} bytes.", todo="Redact it in parts.")
    try:
        return untrusted_bytes.decode("utf-8")
    except UnicodeDecodeError as error:
        what = "Standard input" if name == "-" else f"The file {name}"
        raise UnreadableError(f"{what} is not UTF-8 text.", todo="Convert it to UTF-8 first.") from error
