"""`govdesk audit verify` and `govdesk audit show`: read-only, no window, nothing from the analyst needed."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from govdesk import config
from govdesk.audit import reading, record
from govdesk.audit.canonical import NotCanonicalError
from govdesk.audit.reading import Line
from govdesk.audit.record import Record
from govdesk.audit.report import Report, rfc3339
from govdesk.audit.verify import verify
from govdesk.domain.text import terminal_safe
from govdesk.errors import AuditUnreadableError, UnreadableError, UsageError

_MAX_KEY_FILE_BYTES = 64 * 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the subcommands."""
    commands = parser.add_subparsers(dest="audit_command", metavar="COMMAND", required=True)
    path_help = "the log's folder, a copy of it, or one segment (default: this profile's log)"
    check = commands.add_parser("verify", help="check a log; exits 0 sound, 2 incomplete, 1 tampered")
    check.add_argument("path", nargs="?", type=Path, metavar="PATH", help=path_help)
    check.add_argument("--officer-key", type=Path, metavar="FILE", help="an officer's private key (PEM)")
    check.add_argument("--json", action="store_true", help="one JSON object")
    show = commands.add_parser("show", help="print records; checks nothing")
    show.add_argument("path", nargs="?", type=Path, metavar="PATH", help=path_help)
    show.add_argument("--last", type=int, metavar="N", help="only the last N records")
    show.add_argument("--json", action="store_true", help="one JSON object a line")


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand; the exit code.

    Raises:
        UnreadableError: the officer's key or the log cannot be read.
        UsageError: arguments that make no sense.
    """
    path: Path = arguments.path or config.profile(os.environ).audit
    if arguments.audit_command == "verify":
        return _verify(path, arguments.officer_key, as_json=arguments.json)
    if arguments.last is not None and arguments.last < 1:
        raise UsageError("--last takes a number from 1 on.")
    try:
        print_records(path, last=arguments.last, as_json=arguments.json)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever reads has seen enough (`| head`); nothing may be said at the exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def print_records(
    path: Path, *, object_id: str | None = None, last: int | None = None, as_json: bool = False
) -> None:
    """Print records as they stand in a log, without checking them.

    Args:
        path: the log's folder, or one segment.
        object_id: only records of this object.
        last: only the last so many.
        as_json: the lines themselves, ASCII only.

    Raises:
        AuditUnreadableError: there is no log there.
    """
    kept: Iterator[str] = (
        _as_json(line, found) if as_json else _as_text(line, found)
        for line, found in _records(path)
        if object_id is None or (found is not None and found.object == object_id)
    )
    for text in kept if last is None else deque(kept, maxlen=last):
        print(text)


def _verify(path: Path, key_file: Path | None, *, as_json: bool) -> int:
    report = verify(path, None if key_file is None else _officer_key(key_file))
    if as_json:
        print(json.dumps(report.as_json()))
    else:
        _print_report(report)
    return report.exit_code


def _print_report(report: Report) -> None:
    print(terminal_safe(report.words))
    if report.records:
        print(f"records    {report.records:,} in {report.segments} segment (open)")
        print(f"times      {report.first} to {report.last}")
        print(f"head       record {report.head_seq:,}, SHA-384 {report.head_root}")
        print("witness    none (no checkpoints in this format yet)")
        print("assurance  reduced: the writer was a child of the session it records")
    for note in report.notes:
        print(f"note       {terminal_safe(note)}")


def _officer_key(path: Path) -> str:
    try:
        with reading.open_read_only(path) as file:
            untrusted = file.read(_MAX_KEY_FILE_BYTES)
        return untrusted.decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadableError(
            "The officer's key cannot be read.",
            code="audit.officer-key",
            todo="Name a PEM file with an officer's private key.",
        ) from error


def _records(path: Path) -> Iterator[tuple[Line, Record | None]]:
    source = reading.locate(path)
    try:
        with reading.open_read_only(source.segment) as file:
            for line in reading.lines(file):
                try:
                    yield line, record.decode(line.untrusted)[0] if line.whole else None
                except NotCanonicalError:
                    yield line, None
    except FileNotFoundError as error:
        raise AuditUnreadableError(f"There is no audit log in {path}.") from error


def _as_json(line: Line, found: Record | None) -> str:
    if found is None:
        return json.dumps({"unreadable": True, "offset": line.offset})
    return json.dumps(json.loads(line.untrusted))


def _as_text(line: Line, found: Record | None) -> str:
    if found is None:
        return f"     ?  a line at byte {line.offset} that is no record"
    said = [
        f"{found.seq:6d}  {rfc3339(found.when.utc_ns)}  {found.event}: {found.outcome}",
        found.object,
        found.marking,
        f"policy {found.policy}" if found.policy else "",
        f"model {found.model[:16]}" if found.model else "",
        f"by {found.who.name} ({found.who.uid})",
        *(f"{key}={_value(value)}" for key, value in found.fields.items()),
    ]
    return terminal_safe("  ".join(part for part in said if part)).replace("\n", "<U+000A>")


def _value(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {count}" for key, count in value.items()) + "}"
    return "none" if value is None else str(value)
