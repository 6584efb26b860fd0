"""A grammar (GBNF) that passes here can be given to llama.cpp: no crash, no endless loop, no dead end.

llama.cpp trusts its grammars: one that nests deeply overflows its stack, one that calls itself to the left
loops for ever, a repetition that is too large becomes endless in silence, and some shapes take exponential
time to look at. So a grammar is read here first, in linear time, and refused with the line and the reason.
What is accepted is a subset of GBNF: literals, character classes, `.`, groups, `|`, `* + ? {m} {m,} {m,n}`,
and rules; not `<tokens>`.
"""

from __future__ import annotations

from govdesk.domain.grammar_rules import (
    Rule,
    find_nullable,
    references,
    refuse,
    require_an_end,
    require_no_left_recursion,
    require_one_reading,
)

ROOT = "root"
MAX_GRAMMAR_CHARACTERS = 64 * 1024
MAX_RULES = 2000
"""Rules, groups and repetitions together: llama.cpp makes a rule of each."""
MAX_ELEMENTS = 30_000
"""Characters and references once repetitions are written out, as llama.cpp writes them."""
MAX_REPEATED = 1000
MAX_NESTED = 32
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-")
_HEX = {"x": 2, "u": 4, "U": 8}
_PLAIN = {"t": 9, "r": 13, "n": 10, "\\": 92, '"': 34, "[": 91, "]": 93, "-": 45}
_MAX_CODE_POINT = 0x10FFFF
_ASCII = 128
_BEYOND = 1 << _ASCII
"""The bit that stands for all characters beyond ASCII."""
_ANY = (1 << (_ASCII + 1)) - 1


def check(untrusted_text: str) -> None:
    """Refuse a grammar that llama.cpp cannot be given.

    Raises:
        UsageError: `grammar.invalid`, with the line and the reason.
    """
    if len(untrusted_text) > MAX_GRAMMAR_CHARACTERS:
        refuse(f"it has more than {MAX_GRAMMAR_CHARACTERS:,} characters")
    if "\0" in untrusted_text:
        refuse("it holds a NUL character")
    rules = _Reader(untrusted_text).read()
    if ROOT not in rules:
        refuse(f"it has no rule named {ROOT}")
    for rule in rules.values():
        for name in references(rule):
            if name not in rules:
                refuse(f"it uses the rule {name}, which it does not define", rule.line)
    require_an_end(rules)
    find_nullable(rules)
    require_no_left_recursion(rules)
    require_one_reading(rules)


class _Reader:
    """Reads the text once, left to right; groups and repetitions become rules with names of their own."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._rules: dict[str, Rule] = {}
        self._made = 0
        self._elements = 0

    def read(self) -> dict[str, Rule]:
        self._blank(lines=True)
        while self._at < len(self._text):
            line, name = self._line, self._name()
            if name in self._rules:
                refuse(f"the rule {name} is defined twice", line)
            if not self._text.startswith("::=", self._at):
                refuse("a rule's name is followed by ::=", self._line)
            self._at += 3
            self._blank(lines=True)
            rule = self._add(name, line)
            rule.alternatives = self._alternatives(nested=0)
            if self._at < len(self._text) and self._peek() not in "\r\n":
                refuse(f"{self._peek()!r} is not expected here", self._line)
            self._blank(lines=True)
        return self._rules

    def _add(self, name: str, line: int) -> Rule:
        if len(self._rules) >= MAX_RULES:
            refuse(f"it has more than {MAX_RULES:,} rules, groups and repetitions", line)
        rule = self._rules[name] = Rule(line)
        return rule

    def _make(self, alternatives: list[list[int | str]]) -> str:
        """A rule for a group or a repetition; no name in a grammar has a space."""
        self._made += 1
        name = f"part {self._made}"
        self._add(name, self._line).alternatives = alternatives
        return name

    def _peek(self) -> str:
        return self._text[self._at] if self._at < len(self._text) else ""

    def _take(self) -> str:
        character = self._peek()
        if not character:
            refuse("it ends in the middle", self._line)
        self._at += 1
        return character

    def _blank(self, *, lines: bool) -> None:
        while character := self._peek():
            if character == "#":
                while self._peek() and self._peek() not in "\r\n":
                    self._at += 1
            elif character in " \t" or (lines and character in "\r\n"):
                self._line += character == "\n"
                self._at += 1
            else:
                return

    def _name(self) -> str:
        start = self._at
        while self._peek() in _NAME and self._peek():
            self._at += 1
        if self._at == start:
            refuse("a rule's name is expected here", self._line)
        name = self._text[start : self._at]
        self._blank(lines=False)
        return name

    def _alternatives(self, nested: int) -> list[list[int | str]]:
        found = [self._sequence(nested)]
        while self._peek() == "|":
            self._at += 1
            self._blank(lines=True)
            found.append(self._sequence(nested))
        return found

    def _sequence(self, nested: int) -> list[int | str]:
        symbols: list[int | str] = []
        last: list[int | str] | None = None  # what a repetition that follows repeats
        last_size = 0
        while character := self._peek():
            before = self._elements
            if character == '"':
                last = self._literal()
            elif character == "[":
                last = [self._class()]
            elif character == ".":
                self._at += 1
                last = [_ANY]
            elif character == "(":
                last = [self._group(nested)]
            elif character in _NAME:
                last = [self._name()]
            elif character in "*+?{":
                if last is None:
                    refuse(f"there is nothing before {character} to repeat", self._line)
                least, most = self._times()
                del symbols[len(symbols) - len(last) :]
                self._count((last_size + 2) * max(least, most or 1))
                last = self._repeated(last, least, most)
                symbols += last
                last_size *= max(least, most or 1)
                self._blank(lines=nested > 0)
                continue
            elif character in "<!":
                refuse("tokens (<…>) cannot be used in a grammar here", self._line)
            else:
                break
            self._count(len(last))
            symbols += last
            last_size = self._elements - before
            self._blank(lines=nested > 0)
        return symbols

    def _count(self, elements: int) -> None:
        self._elements += elements
        if self._elements > MAX_ELEMENTS:
            refuse("it is too large once its repetitions are written out", self._line)

    def _group(self, nested: int) -> str:
        if nested >= MAX_NESTED:
            refuse(f"its groups are nested more than {MAX_NESTED} deep", self._line)
        self._at += 1
        self._blank(lines=True)
        alternatives = self._alternatives(nested + 1)
        if self._take() != ")":
            refuse("a group has no )", self._line)
        return self._make(alternatives)

    def _times(self) -> tuple[int, int | None]:
        """How often: at least, and at most (None: without end)."""
        character = self._take()
        if character != "{":
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[character]
        end = self._text.find("}", self._at, self._at + 32)
        parts = self._text[self._at : end].split(",") if end >= 0 else [""]
        numbers = [part.strip(" \t") for part in parts]
        if len(numbers) > 2 or not all(n.isascii() and (n.isdecimal() or not n) for n in numbers):
            refuse("a repetition is {m}, {m,} or {m,n}", self._line)
        if not numbers[0]:
            refuse("a repetition names the least number first", self._line)
        self._at = end + 1
        least = int(numbers[0])
        most = least if len(numbers) == 1 else int(numbers[1]) if numbers[1] else None
        if max(least, most or 0) > MAX_REPEATED:
            refuse(f"nothing can be repeated more than {MAX_REPEATED:,} times", self._line)
        if (most is not None and most < least) or most == 0:
            refuse("a repetition's most is less than its least, or nothing", self._line)
        return least, most

    def _repeated(self, symbols: list[int | str], least: int, most: int | None) -> list[int | str]:
        """As rules: what must be there, then a loop, or a chain as long as what may be there."""
        part = self._make([symbols])
        once: list[int | str] = [part]
        if most is None:
            name = self._make([])
            self._rules[name].alternatives = [[part, name], []]
            return once * least + [name]
        if most == least:
            return once * least
        # one optional part stands for the chain of them: nothing that is asked of it here differs
        self._rules[part].counted = most > 1
        return once * least + [self._make([[part], []])]

    def _literal(self) -> list[int | str]:
        self._at += 1
        found: list[int | str] = []
        while self._peek() != '"':
            found.append(_bit(self._character()))
        self._at += 1
        return found

    def _class(self) -> int:
        self._at += 1
        inverted = self._peek() == "^"
        self._at += inverted
        found = 0
        while self._peek() != "]":
            low = high = self._character()
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] != "]":
                self._at += 1
                high = self._character()
            if low > high:
                refuse("a range of characters runs backwards", self._line)
            found |= _bits(low, high)
        self._at += 1
        if not found:
            refuse("a class of characters is empty", self._line)
        return _ANY & ~found | _BEYOND if inverted else found

    def _character(self) -> int:
        character = self._take()
        code = ord(character)
        if character == "\\":
            kind = self._take()
            if kind in _HEX:
                digits = self._text[self._at : self._at + _HEX[kind]]
                if len(digits) < _HEX[kind] or not all(d in "0123456789abcdefABCDEF" for d in digits):
                    refuse(f"\\{kind} is followed by {_HEX[kind]} hexadecimal digits", self._line)
                self._at += _HEX[kind]
                code = int(digits, 16)
            elif kind in _PLAIN:
                code = _PLAIN[kind]
            else:
                refuse(f"\\{kind} means nothing", self._line)
        elif character == "\n":
            self._line += 1
        if code > _MAX_CODE_POINT or 0xD800 <= code <= 0xDFFF:
            refuse("there is no such character", self._line)
        return code


def _bit(code: int) -> int:
    """The character as a set; the model cannot write NUL."""
    return _BEYOND if code >= _ASCII else (1 << code if code else 0)


def _bits(low: int, high: int) -> int:
    beyond = _BEYOND if high >= _ASCII else 0
    high = min(high, _ASCII - 1)
    below = ((1 << (high + 1)) - 1) & ~((1 << low) - 1) if low <= high else 0
    return (below & ~1) | beyond
