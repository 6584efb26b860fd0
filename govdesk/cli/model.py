"""`govdesk model`: what is here and what this processor likes, import from a medium, verify, show, remove."""

from __future__ import annotations

import argparse
import sys
import threading

import msgspec

from govdesk.cli import interrupts, output
from govdesk.cli.desk import Desk
from govdesk.domain.model_text import template_lines, template_words
from govdesk.domain.models import ImportProgress, ModelDetails, ModelLine, ModelLooks, ModelState, Which
from govdesk.domain.text import terminal_safe
from govdesk.errors import ModelError

LOOKS = frozenset({"list", "show"})
"""Actions that change nothing and read no file whole: they need no record."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `model`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="every model, its state, how this processor likes its format")
    show = actions.add_parser("show", help="one model: manifest, licence, template, digest, who signed it")
    bring = actions.add_parser("import", help="copy a signed model from a folder, for example on a medium")
    bring.add_argument("place", metavar="PLACE", help="the folder, or the manifest (NAME.toml) in it")
    for action in (show, bring):
        action.add_argument("--quantization", metavar="Q", default="", help="only this one, for example Q8_0")
    verify = actions.add_parser("verify", help="read a model's files and compare them with what was signed")
    remove = actions.add_parser("remove", help="remove an imported model")
    settings = actions.add_parser("settings", help="what you chose for all models")
    settings.add_argument(
        "--halve-context",
        choices=("on", "off"),
        help="keep conversations in half the memory; answers may differ slightly, long prompts read slower",
    )
    for action in (show, verify, remove):
        action.add_argument("name", metavar="NAME")
        action.add_argument("--version", type=int, metavar="N", help="which, where there are several")
    for action in (listing, show, bring, verify, remove, settings):
        action.add_argument("--json", action="store_true", help="print one JSON object")


def look(parsed: argparse.Namespace, models: ModelLooks) -> int:
    """`list` and `show`; 0, or 1 when what is shown cannot answer."""
    if parsed.action == "list":
        return _list(models, as_json=parsed.json)
    return _show(models.model_details(_which(parsed), parsed.quantization), as_json=parsed.json)


def _which(parsed: argparse.Namespace) -> Which:
    return Which(parsed.name, parsed.version)


def run(parsed: argparse.Namespace, desk: Desk) -> int:
    """`import`, `verify`, `remove` and `settings`; 1 when a model is refused, or not what was signed."""
    try:
        return _run(parsed, desk)
    except ModelError as error:
        if error.code == "model.medium":
            raise  # the machine's fault: nothing was judged
        output.aside(terminal_safe(f"govdesk: {error.explain()}") + "\n")
        return 1


def _run(parsed: argparse.Namespace, desk: Desk) -> int:
    match parsed.action:
        case "import":
            return _import(parsed, desk)
        case "verify":
            return _verify(parsed, desk)
        case "settings":
            return _settings(parsed, desk)
    removed = desk.models.remove_model(_which(parsed))
    if parsed.json:
        _print_json(removed)
    else:
        size = _megabytes(removed.size_bytes)
        _say(f"Removed {removed.name}, version {removed.version}: {size} are free. {removed.stays}")
    return 0


def _settings(parsed: argparse.Namespace, desk: Desk) -> int:
    """Say what was chosen, after choosing where something was asked for."""
    now = desk.models.context_memory()
    if parsed.halve_context:
        halve = parsed.halve_context == "on"
        if halve and not now.possible:
            output.aside("govdesk: The model that answers cannot keep conversations in half the memory.\n")
            return 1
        now = desk.models.halve_context(halve=halve)
    if parsed.json:
        _print_json({"schema": 1, **msgspec.to_builtins(now)})
    else:
        _say(f"Memory of conversations: {now.words}. {now.note if now.possible else ''}".rstrip())
        if parsed.halve_context:
            _say("In force when the model is loaded the next time.")
    return 0


class _Work:
    """Tells a person at a terminal how far it is, on one line; elsewhere every ten per cent. Stoppable."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._moving = sys.stderr is not None and sys.stderr.isatty()
        self._said = -10

    def cancel(self) -> None:
        """Stop."""
        self._stopped.set()

    def stopped(self) -> bool:
        """Whether it was stopped."""
        return self._stopped.is_set()

    def watch(self, progress: ImportProgress) -> None:
        """Say how far."""
        line = (
            f"{progress.doing}: {_megabytes(progress.done_bytes)} of {_megabytes(progress.total_bytes)}, "
            f"{progress.percent} %, {progress.seconds:.0f} s, {progress.file}"
        )
        if self._moving:
            output.aside("\r\x1b[K" + terminal_safe(line)[:100])
        elif progress.percent >= self._said + 10:
            self._said = progress.percent - progress.percent % 10
            output.aside(terminal_safe(line) + "\n")

    def end(self) -> None:
        """The line is done with."""
        if self._moving:
            output.aside("\r\x1b[K")


def _import(parsed: argparse.Namespace, desk: Desk) -> int:
    work = _Work()
    try:
        with interrupts.stopping(work):
            done = desk.models.import_model(parsed.place, work.watch, work.stopped, parsed.quantization)
    finally:
        work.end()
    if parsed.json:
        _print_json(done)
        return 0
    _say(f"Imported {done.title}, version {done.version}: {_megabytes(done.copied_bytes)} copied.")
    for line in done.lines:
        _say(f"  {line.quantization}: {line.state.value}. {line.format_words}. {line.why}".rstrip())
    for version in done.removed_versions:
        _say(f"  Version {version}, which was here before, was removed.")
    return 0


def _verify(parsed: argparse.Namespace, desk: Desk) -> int:
    work = _Work()
    try:
        with interrupts.stopping(work):
            found = desk.models.verify_model(_which(parsed), work.watch, work.stopped)
    finally:
        work.end()
    if parsed.json:
        _print_json(found)
    else:
        _say(f"{found.title}, version {found.version}:")
        for file in found.files:
            _say(f"{'sound  ' if file.sound else 'WRONG  '} {file.file}  {file.why}".rstrip())
        for quantization in found.not_imported:
            _say(f"not imported: {quantization}")
    return 1 if found.unsound else 0


def _list(models: ModelLooks, *, as_json: bool) -> int:
    found = models.models()
    if as_json:
        _print_json({"schema": 1, **msgspec.to_builtins(found)})
    else:
        for line in found.models:
            mark = "*" if line.chosen else " "
            size = _megabytes(line.size_bytes)
            whence = "imported" if line.imported else "came with GovDesk"
            _say(f"{mark} {line.name}  {line.quantization}  version {line.version}  {size}  {whence}")
            _say(f"    {'; '.join(_words(line))}")
        for refused in found.refused:
            _say(f"! {refused.file}\n    {refused.why}")
        if not found.models:
            _say("There is no model here.")
        _say(f"Formats that this processor reads fast: {', '.join(found.fast) or 'none is known'}.")
        for line in found.models:
            if line.chosen:
                _say(f"* {line.answers.value}.")
    return 0 if any(line.chosen for line in found.models) else 1


def _words(line: ModelLine) -> list[str]:
    said = [line.state.value, line.format_words]
    if line.fit_words:
        said.append(line.fit_words)
    if line.why and line.state is not ModelState.NOT_APPROVED:
        said.append(line.why)
    return said


def _show(details: ModelDetails, *, as_json: bool) -> int:
    line = details.line
    sound = details.template_as_signed is True and not details.file_problem and line.state is ModelState.READY
    if as_json:
        _print_json({"schema": 1, **msgspec.to_builtins(details)})
        return 0 if sound else 1
    rows = [
        ("name", f"{line.name}, version {line.version}"),
        ("title", line.title),
        ("state", "; ".join(_words(line))),
        ("format", f"{line.quantization}, {_megabytes(line.size_bytes)}"),
        ("digest", line.digest),
        ("highest marking", line.highest_marking),
        ("licence", f"{line.license}  {line.license_text}".rstrip()),
        ("provenance", line.provenance),
        ("roles", ", ".join(line.roles) or "none"),
        ("context", f"{line.context_tokens:,} tokens"),
        ("draft model", line.draft_words),
        ("signed by", details.signer),
        *(("file", file) for file in line.files),
        *((f"file: {name}", value) for name, value in details.file_facts),
        ("template", template_words(details)),
    ]
    if details.file_problem:
        rows.append(("refused", details.file_problem))
    for name, value in rows:
        _say(f"{name:<22}{value}")
    _show_template(details)
    return 0 if sound else 1


def _show_template(details: ModelDetails) -> None:
    lines = template_lines(details)
    for text in ("", *("    " + line for line in lines)) if lines else ():
        _say(text)


def _say(text: str) -> None:
    output.write(terminal_safe(text) + "\n")


def _print_json(value: object) -> None:
    output.write(msgspec.json.encode(value).decode() + "\n")


def _megabytes(count: int) -> str:
    return f"{-(-count // 1_000_000):,} MB"
