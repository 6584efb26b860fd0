"""`govdesk policy check` and `show`: would this file be accepted, and which policy is in force."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path

import msgspec

from govdesk.config import RESOURCES
from govdesk.domain.policy import Policy, PolicyInForce
from govdesk.domain.redaction import Direction
from govdesk.domain.text import terminal_safe
from govdesk.errors import PolicyError
from govdesk.marking.parser import parse
from govdesk.marking.value import Form
from govdesk.policy import loader

DIRECTORY = RESOURCES / "policy"
_CANNOT_READ = {"policy.missing", "policy.unreadable"}


class CheckResult(msgspec.Struct, frozen=True):
    """What `check` says. `signature`: `trusted`, `not checked` or `refused`."""

    valid: bool
    signature: str
    policy: str | None = None
    code: str | None = None
    why: str | None = None
    warning: str = ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `policy`."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    check = actions.add_parser("check", help="would this policy file be accepted; if not, why")
    check.add_argument("file", type=Path, metavar="FILE", help="policy.toml; its signature is FILE.sig")
    check.add_argument(
        "--trust", type=Path, metavar="DIR", help="folder of trusted keys (else `trust` beside FILE)"
    )
    check.add_argument(
        "--unsigned", action="store_true", help="a draft: check what it says, not its signature"
    )
    check.add_argument(
        "--installed", action="store_true", help="as an installed build would: no development key"
    )
    show = actions.add_parser("show", help="the policy in force")
    for action in (check, show):
        action.add_argument("--json", action="store_true", help="print one JSON object")


def run(parsed: argparse.Namespace) -> int:
    """Run the action; 0 yes, 1 no, 4 when the file cannot be read."""
    return _check(parsed) if parsed.action == "check" else _show(as_json=parsed.json)


def check_marking(text: str) -> None:
    """Refuse what is not a banner line.

    Raises:
        MarkingError: it is not.
    """
    parse(text, Form.BANNER)


def _today() -> datetime.date:
    return datetime.datetime.now(datetime.UTC).date()


def _check(parsed: argparse.Namespace) -> int:
    file: Path = parsed.file
    try:
        content = loader.read_bounded(file, loader.MAX_POLICY_BYTES)
        if parsed.unsigned:
            policy = loader.decode(content, check_marking=check_marking, today=_today())
            result = CheckResult(True, "not checked", policy=f"{policy.id} version {policy.version}")
        else:
            in_force = _load(
                file, content, parsed.trust or file.parent / loader.TRUST_FOLDER, parsed.installed
            )
            named = f"{in_force.policy.id} version {in_force.policy.version}"
            result = CheckResult(True, "trusted", policy=named, warning=in_force.warning)
    except PolicyError as error:
        signature = "refused" if error.code == "policy.signature" else "not checked"
        result = CheckResult(False, signature, code=error.code, why=error.what)
    if parsed.json:
        print(msgspec.json.encode(result).decode())
    elif result.valid:
        note = f"   {result.warning}" if result.warning else ""
        print(terminal_safe(f"valid    {result.policy}   signature {result.signature}{note}"))
    else:
        print(terminal_safe(f"invalid  {result.code}: {result.why}"))
    if result.valid:
        return 0
    return 4 if result.code in _CANNOT_READ else 1


def _load(file: Path, content: bytes, trust: Path, installed: bool) -> PolicyInForce:
    signature = loader.read_bounded(
        file.with_name(file.name + loader.SIGNATURE_SUFFIX), loader.SIGNATURE_BYTES
    )
    return loader.load(
        content,
        signature,
        loader.trust_roots(trust),
        check_marking=check_marking,
        today=_today(),
        installed=installed,
    )


def _show(*, as_json: bool) -> int:
    in_force, error = loader.policy_in_force(
        DIRECTORY, check_marking=check_marking, today=_today(), installed=False
    )
    if as_json:
        shown = {
            "source": in_force.source.value,
            "stamp": in_force.stamp,
            "sha384": in_force.sha384,
            "warning": in_force.warning,
            "problem": error.explain() if error else None,
            "policy": msgspec.to_builtins(in_force.policy),
        }
        print(msgspec.json.encode(shown).decode())
        return 0
    for name, value in _lines(in_force, error):
        print(f"{name:<22}{terminal_safe(value)}")
    return 0


def _lines(in_force: PolicyInForce, error: PolicyError | None) -> list[tuple[str, str]]:
    policy: Policy = in_force.policy
    lines = [
        ("policy", f"{policy.id} version {policy.version} ({in_force.source.value})"),
        ("hash", in_force.sha384),
        ("system high", policy.system_high),
        ("idle lock", f"{policy.session.idle_lock_seconds} s"),
        ("passphrase", f"at least {policy.session.minimum_passphrase_characters} characters"),
        ("approved models", ", ".join(digest[:16] + "…" for digest in policy.models.approved) or "none"),
        ("officers' keys", str(len(policy.audit.officers))),
    ]
    for direction in Direction:
        rules = policy.rules(direction)
        types = "".join(f", {name} {operator.value}" for name, operator in sorted(rules.types.items()))
        lines.append((f"redaction {direction.value}", rules.default.value + types))
    if in_force.warning:
        lines.append(("warning", in_force.warning))
    if error is not None:
        lines.append(("why", error.explain()))
    return lines
