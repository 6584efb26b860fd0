r"""A recognizer's pattern is bounded, and where a match could still begin at the end of a part is known.

Patterns are data, written in a small part of Python's `re` language: characters, classes, groups,
alternatives, *bounded* repeats, `\b`, `^`, `$`, looks of one character, and looks back of up to three.
Being small, the
language can be read here and turned into two regular expressions:

- the *whole*: the pattern itself;
- the *prefix*: matches from a place to the very end of what has arrived when, and only when, a
  match could begin there and go on in what has not arrived. A stream holds back from that place.

No assertion looks ahead further than one character, so nothing but the next character is ever unknown:
where the prefix does not match, the outcome of the whole cannot change any more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from govdesk.errors import KnownError

MAX_REPEAT = 8192
_CLASS = r"\[\^?\]?(?:\\.|[^\]\\])*\]"
_ONE = rf"(?:{_CLASS}|\\?[^\\\[\]()])"
_TOKEN = re.compile(
    rf"(?P<char>{_CLASS}|\\[dDsSwW.\\+*?()\[\]{{}}|^$/-]|\\n|\\r|\\t|[^\\\[\](){{}}|?*+^$.])"
    r"|(?P<zero>\\b|\\B|\^|\$|\(\?[=!]" + _ONE + r"\)|\(\?<[=!]" + _ONE + r"{1,3}\))"
    r"|(?P<open>\((?:\?:|\?P<span>))"
    r"|(?P<close>\))|(?P<or>\|)"
    r"|(?P<repeat>\?|\{\d+(?:,\d+)?\})"
)


class PatternError(KnownError):
    """A pattern outside the language; the pack it is in is refused."""

    code = "redaction.pattern"


@dataclass(frozen=True, slots=True)
class _Node:
    """A part of a pattern: its expression, the expression of its unfinished matches, its length."""

    whole: str
    prefix: str
    shortest: int
    longest: int


@dataclass(frozen=True, slots=True)
class Pattern:
    """A compiled pattern.

    Attributes:
        search: finds the whole with its guards.
        core: the whole without guards, for trying other ends.
        prefix: finds the first place from which a match may still be under way at the end.
        shortest, longest: characters of a match.
        has_span: the finding is the group `span`, not the whole match.
    """

    search: re.Pattern[str]
    core: re.Pattern[str]
    prefix: re.Pattern[str]
    shortest: int
    longest: int
    has_span: bool


def compile_pattern(source: str, left: str = "", right: str = "") -> Pattern:
    """Compile a pattern with its guards.

    Args:
        source: the pattern.
        left: a class's content (`0-9A-Z`): no match begins right behind such a character.
        right: the same for the character behind a match.

    Raises:
        PatternError: outside the language, unbounded, or empty.
    """
    parts, rest = _alternatives(source, _tokens(source))
    if rest:
        raise PatternError(f"A pattern has a bracket too many: {source[:60]!r}.")
    node = _joined_or(parts)
    if node.shortest == 0:
        raise PatternError(f"A pattern can match nothing at all: {source[:60]!r}.")
    after = f"(?![{right}])" if right else ""
    first, behind, prefix_behind = _head(parts)
    if first is None:
        before = f"(?<![{left}])" if left else ""
        whole, prefix = f"{before}(?:{node.whole})", f"{before}(?:{node.prefix}|(?:{node.whole})\\Z)"
    else:  # the first character leads, so that `re` skips to it; the guard looks back over it
        before = rf"(?<![{left}][\s\S])" if left else ""
        whole, prefix = f"{first}{before}{behind}", f"{first}{before}(?:{prefix_behind}|{behind}\\Z)"
    return Pattern(
        search=re.compile(whole + after, re.ASCII | re.MULTILINE),
        core=re.compile(node.whole, re.ASCII | re.MULTILINE),
        prefix=re.compile(prefix.replace("(?P<span>", "(?:"), re.ASCII | re.MULTILINE),
        shortest=node.shortest,
        longest=node.longest,
        has_span="(?P<span>" in source,
    )


_Tokens = list[tuple[str, str]]


def _tokens(source: str) -> _Tokens:
    tokens: _Tokens = []
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None or match.lastgroup is None:
            raise PatternError(f"A pattern has something outside the language at {source[at : at + 20]!r}.")
        tokens.append((match.lastgroup, match.group()))
        at = match.end()
    tokens.reverse()
    return tokens


def _alternatives(source: str, tokens: _Tokens) -> tuple[list[list[_Node]], _Tokens]:
    """Read alternatives up to a closing bracket or the end. `tokens` is a stack."""
    alternatives: list[list[_Node]] = [[]]
    kind = ""
    while tokens:
        last, (kind, text) = kind, tokens[-1]
        if kind == "close":
            return alternatives, tokens
        tokens.pop()
        match kind:
            case "or":
                alternatives.append([])
            case "char":
                alternatives[-1].append(_Node(text, r"\Z", 1, 1))
            case "zero":
                alternatives[-1].append(_Node(r"(?=[\r\n]|\Z)" if text == "$" else text, r"\Z", 0, 0))
            case "open":
                inner, tokens = _alternatives(source, tokens)
                if not tokens:
                    raise PatternError(f"A pattern lacks a closing bracket: {source[:60]!r}.")
                tokens.pop()
                node = _joined_or(inner)
                whole = f"{text}{node.whole})"
                alternatives[-1].append(_Node(whole, f"(?:{node.prefix})", node.shortest, node.longest))
            case _:
                if last not in {"char", "open"}:
                    raise PatternError(f"A pattern repeats nothing: {source[:60]!r}.")
                alternatives[-1].append(_repeated(alternatives[-1].pop(), text))
    return alternatives, tokens


def _repeated(node: _Node, text: str) -> _Node:
    low, _, high = ("0", ",", "1") if text == "?" else text.strip("{}").partition(",")
    least, most = int(low), int(high or low)
    if not 0 < most <= MAX_REPEAT or least > most:
        raise PatternError(f"A pattern repeats from {least} to {most} times; 1 to {MAX_REPEAT} is allowed.")
    again = f"{node.whole}{{0,{most - 1}}}" if most > 1 else ""
    return _Node(
        f"{node.whole}{{{least},{most}}}",
        f"{again}{node.prefix}",
        node.shortest * least,
        node.longest * most,
    )


def _joined(nodes: list[_Node]) -> _Node:
    """One after the other: a match under way is in the first, or past it and in the rest."""
    prefix = ""
    for node in reversed(nodes):
        prefix = f"(?:{node.prefix}|{node.whole}{prefix})" if prefix else f"(?:{node.prefix})"
    return _Node(
        "".join(node.whole for node in nodes),
        prefix or r"\Z",
        sum(node.shortest for node in nodes),
        sum(node.longest for node in nodes),
    )


def _joined_or(alternatives: list[list[_Node]]) -> _Node:
    nodes = [_joined(nodes) for nodes in alternatives]
    if len(nodes) == 1:
        return nodes[0]
    return _Node(
        "|".join(node.whole for node in nodes),
        "|".join(node.prefix for node in nodes),
        min(node.shortest for node in nodes),
        max(node.longest for node in nodes),
    )


def _head(alternatives: list[list[_Node]]) -> tuple[str | None, str, str]:
    """The one first character, what follows it, and the prefix of what follows; None when it is not one."""
    if len(alternatives) != 1 or not alternatives[0]:
        return None, "", ""
    first, *rest = alternatives[0]
    if first.prefix != r"\Z" or (first.shortest, first.longest) != (1, 1):
        return None, "", ""
    behind = _joined(rest)
    return first.whole, behind.whole, behind.prefix
