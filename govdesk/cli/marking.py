"""`govdesk marking check` and `rollup`: markings from the command line, one object or line for each."""

from __future__ import annotations

import argparse

import msgspec

from govdesk.domain.text import terminal_safe
from govdesk.errors import MarkingError
from govdesk.marking import lattice, rendering, validity
from govdesk.marking.parser import form_of, parse
from govdesk.marking.value import Form, Marking


class CheckResult(msgspec.Struct, frozen=True):
    """What `check` says of one marking."""

    valid: bool
    kind: str
    banner: str | None = None
    portion: str | None = None
    rule: str | None = None
    why: str | None = None
    where: str | None = None
    suggestion: str | None = None
    warnings: tuple[str, ...] = ()


class RollupResult(msgspec.Struct, frozen=True):
    """The banner line over portions; when one of them is refused, its rule and no banner."""

    banner: str | None
    portion: str | None
    rules: tuple[str, ...] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `marking`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser(
        "check", help="is it written right; if not, which rule and what would be right"
    )
    check.add_argument("--kind", choices=[form.value for form in Form], help="else told by the parentheses")
    rollup = actions.add_parser("rollup", help="the banner line over these portion marks")
    for action in (check, rollup):
        action.add_argument("marking", nargs="+", metavar="MARK")
        action.add_argument("--json", action="store_true", help="print one JSON object a marking or roll-up")


def run(parsed: argparse.Namespace) -> int:
    """Run the action; 0 when every marking is valid, else 1."""
    if parsed.action == "rollup":
        return _rollup(parsed.marking, as_json=parsed.json)
    return _check(parsed.marking, Form(parsed.kind) if parsed.kind else None, as_json=parsed.json)


def check(text: str, form: Form | None = None) -> CheckResult:
    """Everything to say of one marking."""
    form = form or form_of(text)
    try:
        marking = parse(text, form)
    except MarkingError as error:
        return CheckResult(
            valid=False,
            kind=form.value,
            rule=error.rule,
            why=error.what,
            where=error.where,
            suggestion=error.suggestion,
        )
    rolled = marking if form is Form.BANNER else lattice.rollup([marking])
    notes = validity.warnings(marking)
    return CheckResult(
        valid=True,
        kind=form.value,
        banner=None if "rel-abbreviation-needs-banner" in notes else rendering.banner(rolled),
        portion=_portion(marking),
        warnings=notes,
    )


def _portion(marking: Marking) -> str | None:
    """The portion mark; None when a special access program's abbreviation is not known."""
    try:
        return rendering.portion(marking)
    except MarkingError:
        return None


def _check(markings: list[str], form: Form | None, *, as_json: bool) -> int:
    results = [check(text, form) for text in markings]
    for text, result in zip(markings, results, strict=True):
        if as_json:
            print(msgspec.json.encode(result).decode())
        elif result.valid:
            notes = f"   ({', '.join(result.warnings)})" if result.warnings else ""
            print(
                terminal_safe(f"valid    {text}   banner {result.banner}   portion {result.portion}{notes}")
            )
        else:
            near = f" Nearest right form: {result.suggestion}" if result.suggestion else ""
            print(terminal_safe(f"invalid  {text}   {result.rule}: {result.why}{near}"))
    return 0 if all(result.valid for result in results) else 1


def _rollup(markings: list[str], *, as_json: bool) -> int:
    try:
        # Old portions may bear EYES ONLY: they are read as the REL TO that they have to be re-marked as.
        rolled = lattice.rollup([parse(text, legacy=True) for text in markings])
        result = RollupResult(banner=rendering.banner(rolled), portion=_portion(rolled))
    except MarkingError as error:
        result = RollupResult(banner=None, portion=None, rules=(error.rule,))
        if not as_json:
            print(terminal_safe(f"invalid  {error.where}   {error.rule}: {error.explain()}"))
    if as_json:
        print(msgspec.json.encode(result).decode())
    elif result.banner is not None:
        print(result.banner)
    return 0 if result.banner is not None else 1
