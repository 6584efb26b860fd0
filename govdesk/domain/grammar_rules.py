"""What a grammar's rules are like when llama.cpp can follow them: an end, no left recursion, one reading.

Each question is answered by looking at each symbol a fixed number of times, whatever the order of the rules.
"""

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
    ending = _spread(rules, lambda characters: not characters)
    if len(ending) < len(rules):
        name = next(name for name in rules if name not in ending)
        refuse("the rule can never come to an end", rules[name].line)


def find_nullable(rules: dict[str, Rule]) -> None:
    """Mark the rules that may be empty; such may not be repeated a number of times."""
    for name in _spread(rules, lambda _characters: True):
        rules[name].nullable = True
        if rules[name].counted:
            refuse("what may be empty cannot be repeated so many times", rules[name].line)


def _spread(rules: dict[str, Rule], blocks: Callable[[int], bool]) -> set[str]:
    """The rules with an alternative of nothing but rules found here, and characters that do not block it.

    An alternative waits for as many rules as it names; each rule that is found makes them fewer.
    """
    waiting: dict[str, list[int]] = {name: [] for name in rules}
    owners: list[str] = []
    missing: list[int] = []
    todo: list[str] = []
    for name, rule in rules.items():
        for symbols in rule.alternatives:
            if any(isinstance(symbol, int) and blocks(symbol) for symbol in symbols):
                continue
            named = [symbol for symbol in symbols if isinstance(symbol, str)]
            for used in named:
                waiting[used].append(len(owners))
            owners.append(name)
            missing.append(len(named))
            if not named:
                todo.append(name)
    found: set[str] = set()
    while todo:
        name = todo.pop()
        if name in found:
            continue
        found.add(name)
        for at in waiting[name]:
            missing[at] -= 1
            if not missing[at]:
                todo.append(owners[at])
    return found


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
    uses = {name: references(rule) for name, rule in rules.items()}
    circles = [circle for circle in _circles(uses) if _calls_in_the_middle(rules, circle)]
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


def _circles(edges: dict[str, list[str]]) -> list[set[str]]:
    """The names that lead to each other, each circle before those that it leads to.

    Kosaraju's way: by the order of endings, then against the edges.
    """
    against: dict[str, list[str]] = {name: [] for name in edges}
    for name, led_to in edges.items():
        for other in led_to:
            against[other].append(name)
    seen: set[str] = set()
    order = [name for start in edges for name in _walk(edges, start, seen)]
    seen = set()
    return [set(_walk(against, start, seen)) for start in reversed(order) if start not in seen]


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
    """Each after those that it may begin with: there are no circles, for nothing begins with itself."""
    begins = {name: _begins_with(rules, rule) for name, rule in rules.items()}
    seen: set[str] = set()
    for name in (name for start in rules for name in _walk(begins, start, seen)):
        for symbols in rules[name].alternatives:
            rules[name].first |= _first(rules, symbols)[0]


def _find_follow(rules: dict[str, Rule]) -> None:
    """What may come behind each rule: what stands there, or what comes behind a rule that it may end."""
    ends: dict[str, list[str]] = {name: [] for name in rules}
    for name, rule in rules.items():
        for symbols in rule.alternatives:
            behind, last = 0, True
            for symbol in reversed(symbols):
                if isinstance(symbol, int):
                    behind, last = symbol, False
                    continue
                used = rules[symbol]
                used.follow |= behind
                if last:
                    ends[name].append(symbol)
                behind = used.first | (behind if used.nullable else 0)
                last = last and used.nullable
    for circle in _circles(ends):
        follow = 0
        for name in circle:
            follow |= rules[name].follow
        for name in circle:
            rules[name].follow = follow
            for other in ends[name]:
                rules[other].follow |= follow
