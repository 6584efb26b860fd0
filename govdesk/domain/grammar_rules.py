"""What a grammar's rules are like when llama.cpp can follow them: an end, no left recursion, one reading."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NoReturn

from govdesk.errors import UsageError

MAX_PATHS = 100_000
"""Ways from rules to what they may begin with, all together: llama.cpp follows each, shared or not."""


@dataclass(slots=True)
class Rule:
    """Alternatives of symbols: an int is a set of characters as bits, a str the name of a rule."""

    line: int
    alternatives: list[list[int | str]] = field(default_factory=lambda: [[]])
    counted: bool = False
    """It is repeated a number of times, some of them optional."""
    nullable: bool = False
    first: int = 0
    follow: int = 0


def refuse(why: str, line: int = 0) -> NoReturn:
    """Say why, and where; always raises `grammar.invalid`."""
    where = f" (line {line})" if line else ""
    raise UsageError(
        f"The grammar cannot be used{where}: {why}.",
        code="grammar.invalid",
        kept="Nothing was asked.",
        todo="Correct the grammar (GBNF) and ask again.",
    )


def references(rule: Rule) -> list[str]:
    """The rules that a rule names, as often as it does."""
    return [symbol for symbols in rule.alternatives for symbol in symbols if isinstance(symbol, str)]


def require_an_end(rules: dict[str, Rule]) -> None:
    """Each rule can come to an end: else an answer is led to where nothing is allowed any more."""
    _spread(
        rules,
        lambda rule, done: any(
            all(symbol in done if isinstance(symbol, str) else symbol for symbol in symbols)
            for symbols in rule.alternatives
        ),
        "the rule can never come to an end",
    )


def find_nullable(rules: dict[str, Rule]) -> None:
    """Mark the rules that may be empty; such may not be repeated a number of times."""
    empty = _spread(
        rules,
        lambda rule, done: any(
            all(isinstance(symbol, str) and symbol in done for symbol in symbols)
            for symbols in rule.alternatives
        ),
    )
    for name in empty:
        rules[name].nullable = True
        if rules[name].counted:
            refuse("what may be empty cannot be repeated so many times", rules[name].line)


def _spread(rules: dict[str, Rule], holds: Callable[[Rule, set[str]], bool], missing: str = "") -> set[str]:
    """The rules for which `holds` given those for which it holds already; linear in the references."""
    users: dict[str, list[str]] = {name: [] for name in rules}
    for name, rule in rules.items():
        for used in set(references(rule)):
            users[used].append(name)
    done: set[str] = set()
    todo = list(rules)
    while todo:
        name = todo.pop()
        if name not in done and holds(rules[name], done):
            done.add(name)
            todo += users[name]
    if missing and len(done) < len(rules):
        name = next(name for name in rules if name not in done)
        refuse(missing, rules[name].line)
    return done


def _begins_with(rules: dict[str, Rule], rule: Rule) -> list[str]:
    """The rules that a rule may begin with, as often as it names them."""
    found = []
    for symbols in rule.alternatives:
        for symbol in symbols:
            if not isinstance(symbol, str):
                break
            found.append(symbol)
            if not rules[symbol].nullable:
                break
    return found


def require_no_left_recursion(rules: dict[str, Rule]) -> None:
    """No rule may begin with itself, and not too many ways lead to what a rule may begin with."""
    paths: dict[str, int] = {}
    total = 0
    for start in rules:
        stack: list[tuple[str, bool]] = [(start, False)]
        running: set[str] = set()
        while stack:
            name, ended = stack.pop()
            if ended:
                running.discard(name)
                paths[name] = 1 + sum(paths[used] for used in _begins_with(rules, rules[name]))
                total += paths[name]
                if total > MAX_PATHS:
                    refuse("too many ways lead to what a rule may begin with", rules[name].line)
            elif name not in paths:
                running.add(name)
                stack.append((name, True))
                for used in set(_begins_with(rules, rules[name])):
                    if used in running:
                        refuse("a rule begins with itself (left recursion)", rules[used].line)
                    stack.append((used, False))


def require_one_reading(rules: dict[str, Rule]) -> None:
    """Where rules call themselves in the middle, the next character tells which alternative goes on.

    llama.cpp follows all readings of an answer at once. Each call in the middle adds to what a reading has
    to remember, so that two alternatives with the same beginning would double the readings at each call.
    """
    circles = [circle for circle in _circles(rules) if _calls_in_the_middle(rules, circle)]
    if not circles:
        return
    _find_first(rules)
    _find_follow(rules)
    for name in set().union(*circles):
        seen = 0
        for symbols in rules[name].alternatives:
            first, nullable = _first(rules, symbols)
            first |= rules[name].follow if nullable else 0
            if seen & first:
                why = "a rule calls itself, and two of its alternatives may begin with the same character"
                refuse(why, rules[name].line)
            seen |= first


def _calls_in_the_middle(rules: dict[str, Rule], circle: set[str]) -> bool:
    """A call at an alternative's end leaves nothing to remember; one before it does."""
    alternatives = (symbols for name in circle for symbols in rules[name].alternatives)
    return any(
        isinstance(symbol, str) and symbol in circle for symbols in alternatives for symbol in symbols[:-1]
    )


def _circles(rules: dict[str, Rule]) -> list[set[str]]:
    """The rules that lead to each other (Kosaraju: by the order of endings, then against the references)."""
    users: dict[str, list[str]] = {name: [] for name in rules}
    for name, rule in rules.items():
        for used in set(references(rule)):
            users[used].append(name)
    seen: set[str] = set()
    uses = {name: references(rule) for name, rule in rules.items()}
    order = [name for start in rules for name in _walk(uses, start, seen)]
    seen = set()
    return [set(_walk(users, start, seen)) for start in reversed(order) if start not in seen]


def _walk(edges: dict[str, list[str]], start: str, seen: set[str]) -> list[str]:
    """What can be reached from a start and was not seen before, each after what it leads to."""
    ended: list[str] = []
    stack = [(start, False)]
    while stack:
        name, leaving = stack.pop()
        if leaving:
            ended.append(name)
        elif name not in seen:
            seen.add(name)
            stack.append((name, True))
            stack += [(other, False) for other in edges[name]]
    return ended


def _first(rules: dict[str, Rule], symbols: list[int | str]) -> tuple[int, bool]:
    """The characters that a sequence may begin with, and whether it may be empty."""
    found = 0
    for symbol in symbols:
        if isinstance(symbol, int):
            return found | symbol, False
        found |= rules[symbol].first
        if not rules[symbol].nullable:
            return found, False
    return found, True


def _find_first(rules: dict[str, Rule]) -> None:
    changed = True
    while changed:
        changed = False
        for rule in rules.values():
            before = rule.first
            for symbols in rule.alternatives:
                rule.first |= _first(rules, symbols)[0]
            changed |= rule.first != before


def _find_follow(rules: dict[str, Rule]) -> None:
    changed = True
    while changed:
        changed = False
        for rule in rules.values():
            for symbols in rule.alternatives:
                behind = rule.follow
                for symbol in reversed(symbols):
                    if isinstance(symbol, int):
                        behind = symbol
                        continue
                    used = rules[symbol]
                    changed |= bool(behind & ~used.follow)
                    used.follow |= behind
                    behind = used.first | (behind if used.nullable else 0)
