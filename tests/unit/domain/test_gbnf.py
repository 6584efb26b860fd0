"""Grammars that llama.cpp can be given pass; those that would crash, hang or mislead it are explained."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from types import FrameType

import pytest

from govdesk.domain import gbnf, grammar_rules
from govdesk.errors import UsageError

_PARTS = (
    *('root ::= "a"', "root", "::=", '"', "[", "]", "(", ")", "{1,2}", "*", "\\", "|", "\n", " "),
    *("x", "^", "-", "é", "\0", "{", ",", "#", "."),
)
_JSON = r"""
root   ::= object   # a comment
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array  ::= "[" ws ( value
    ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
"""
_SUM = r"""
root  ::= (expr "=" ws term "\n")+
expr  ::= term ([-+*/] term)*
term  ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]* ws
num   ::= [0-9]+ ws
ws    ::= [ \t\n]*
"""


@pytest.mark.parametrize(
    "text",
    [
        _JSON,
        _SUM,
        'root ::= "yes" | "yellow" | "no"',
        'root ::= "é" [^a-z] . "\\u00e9" "\\U0001F600"',
        'root ::= "a"{3} "b"{2,} "c"{0,1000}',
        'root ::= ("x" ("y" | "z")+ )?',
        'root ::= "[" list "]"\nlist ::= "1" | "(" list ")" | "<" list ">"',
        "root ::=",
        'root ::= "a" root | "b"\r\n# the end',
    ],
)
def test_what_can_be_followed_passes(text: str) -> None:
    gbnf.check(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no rule named root"),
        ('other ::= "a"', "no rule named root"),
        ('root ::= "a', "ends in the middle"),
        ('root ::= ["a"', "ends in the middle"),
        ('root ::= ("a"', "ends in the middle"),
        ('root = "a"', "followed by ::="),
        ('root ::= "a" )', "not expected"),
        ('root ::= "a"\nroot ::= "b"', "(line 2): the rule root is defined twice"),
        ("root ::= x", "uses the rule x, which it does not define"),
        ("root ::= []", "class of characters is empty"),
        ("root ::= [z-a]", "runs backwards"),
        ('root ::= "\\q"', "means nothing"),
        ('root ::= "\\u12"', "hexadecimal"),
        ('root ::= "\\UFFFFFFFF"', "no such character"),
        ('root ::= "\\uD800"', "no such character"),
        ('root ::= "\\x00"', "never come to an end"),
        ('root ::= "a\0"', "NUL"),
        ("root ::= <[1]>", "tokens"),
        ("root ::= !<think>", "tokens"),
        ("root ::= *", "nothing before *"),
        ('root ::= "a"{5,3}', "less than its least"),
        ('root ::= "a"{0}', "or nothing"),
        ('root ::= "a"{,3}', "least number first"),
        ('root ::= "a"{1,2,3}', "{m}, {m,} or {m,n}"),
        ('root ::= "a"{99999999999999999999}', "more than 1,000 times"),
        ('root ::= "a"{0,5000}', "more than 1,000 times"),
        ("root ::= " + "(" * 100_000, "characters"),
        ("root ::= " + "(" * 10_000 + '"a"' + ")" * 10_000, "nested"),
        ('root ::= ("' + "a" * 1000 + '"){1,900}', "too large"),
        ("root ::= " + ("[a-z]{900} " * 60), "too large"),
        ("root ::= " + '("a")' * 3000, "2,000 rules"),
        ('root ::= root "a" | "b"', "left recursion"),
        ('root ::= t root "x" | "y"\nt ::= s\ns ::= "a" |', "left recursion"),
        ('root ::= ("a"?)*', "left recursion"),
        ('root ::= ("a"?){0,9}', "may be empty"),
        ('root ::= "a" root', "never come to an end"),
        ('root ::= "a" b\nb ::= "b" c\nc ::= "c" b', "(line 1): the rule can never come to an end"),
        ('root ::= s\ns ::= "x" s "y" | "x" s "z" | "x"', "(line 2): a rule calls itself, and two"),
        ('root ::= "(" (root | root) ")" | "a"', "a rule calls itself, and two"),
        ('root ::= "x" root? "x" | "y"', "a rule calls itself, and two"),
    ],
)
def test_what_cannot_be_followed_is_explained(text: str, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        gbnf.check(text)
    assert caught.value.code == "grammar.invalid"
    assert why in caught.value.what, caught.value.what


def test_a_grammar_that_the_library_would_follow_for_years_is_refused_by_counting() -> None:
    doubled = "\n".join(f"r{n} ::= r{n + 1} | r{n + 1}" for n in range(60))
    with pytest.raises(UsageError, match="too many ways"):
        gbnf.check(f'root ::= r0\n{doubled}\nr60 ::= "a"')
    few = "\n".join(f"r{n} ::= r{n + 1} | r{n + 1}" for n in range(10))
    gbnf.check(f'root ::= r0\n{few}\nr10 ::= "a"')
    assert grammar_rules.MAX_PATHS < 2**20


_CALLS_ITSELF = 'root ::= r0 x0\nx0 ::= "(" x0 ")" | "-"\n'


def _chain(count: int) -> list[str]:
    return [f'r{n} ::= r{n + 1} "."' for n in range(count)] + [f'r{count} ::= "z"']


def _tails(count: int) -> list[str]:
    return [f'r{n} ::= "." r{n + 1}?' for n in range(count)] + [f'r{count} ::= "z" r0?']


def _one_that_names_all(count: int) -> list[str]:
    long = " | ".join(f'"{chr(97 + n % 26)}" r{n + 1} nothing' for n in range(count))
    return [f'r0 ::= {long} | "z"', 'nothing ::= ""', *(f'r{n + 1} ::= "" | "b"' for n in range(count))]


def _steps(text: str) -> int:
    """Lines of the reading and judging that run; the machine's load is no part of them."""
    counted = 0
    files = {gbnf.__file__, grammar_rules.__file__}

    def trace(frame: FrameType, event: str, _argument: object) -> object:
        nonlocal counted
        counted += event == "line"
        return trace if frame.f_code.co_filename in files else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        gbnf.check(text)
    finally:
        sys.settrace(before)
    return counted


@pytest.mark.parametrize("order", ["first to last", "last to first", "mixed"])
@pytest.mark.parametrize("shape", [_chain, _tails, _one_that_names_all])
def test_the_work_grows_with_the_grammar_and_no_faster(shape: Callable[[int], list[str]], order: str) -> None:
    def text(count: int) -> str:
        lines = shape(count)
        if order == "last to first":
            lines.reverse()
        elif order == "mixed":
            random.Random(1).shuffle(lines)
        return _CALLS_ITSELF + "\n".join(lines)

    small, large = _steps(text(50)), _steps(text(400))
    assert large < 8.5 * small, (small, large)


@pytest.mark.parametrize("seed", range(40))
def test_any_text_is_accepted_or_explained(seed: int) -> None:
    chance = random.Random(seed)
    said = set()
    for _ in range(200):
        text = "".join(chance.choice(_PARTS) for _ in range(12))
        try:
            gbnf.check(text)
        except UsageError as error:
            said.add(error.code)
    assert said == {"grammar.invalid"}
