"""What a chat template may do: the tags, filters and methods that chat templates use, with sizes bounded.

Jinja's sandbox keeps a template from Python's insides; it bounds neither time nor memory. Here what makes
much out of little in one step (`*`, `**`, `%`, `round`, `center`, `indent`, `format` and the like) is bounded
or absent, and nothing is computed while compiling. What chat templates use and plain Jinja lacks is here too:
`break` and `continue`, `{% generation %}`, `strftime_now`, `raise_exception`, and a `tojson` that leaves
letters as they are.
"""

from __future__ import annotations

import functools
import json
import re
import string
from collections.abc import Callable
from datetime import date, datetime, time
from types import GeneratorType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator
from jinja2.defaults import DEFAULT_FILTERS, DEFAULT_NAMESPACE, DEFAULT_TESTS
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range

MAX_REPEATED = 64 * 1024
"""Longest text or list that `*` may make."""
MAX_JSON_VALUES = 10_000
"""Most that `tojson` writes: lists that hold each other twice are few, and endless when written out."""
_MAX_BITS = 64
_MAX_INDENT = 16
_MAX_DIGITS = 64
_MAX_PRECISION = 16
_LAZY = ("batch", "map", "reject", "rejectattr", "select", "selectattr", "unique")
"""Filters that give generators: tens of thousands in each other overflow the stack of Python's own code."""
_OF_NUMBERS = ("odd", "even", "divisibleby")
"""Tests that compute a remainder: of texts that would be `%`."""
_DATE_FORMAT = re.compile(r"(?:[^%]|%-?[aAbBdejmuUwWyYHIMSp%]){0,64}")
"""No width, which would write as much as it says."""
_FILTERS = frozenset(
    """
    abs attr batch capitalize count d default dictsort e escape first float groupby int items join last length
    list lower map max min reject rejectattr replace reverse round safe select selectattr sort string sum
    title trim unique upper
    """.split()
)
_TEXT_METHODS = frozenset(
    """
    capitalize count endswith find format index isalnum isalpha isdigit islower isspace isupper join lower
    lstrip partition removeprefix removesuffix replace rfind rindex rpartition rsplit rstrip split splitlines
    startswith strip swapcase title upper
    """.split()
)


class RefusedError(jinja2.TemplateError):  # type: ignore[misc]
    """The template itself said no to this history (`raise_exception`)."""


class GenerationExtension(Extension):  # type: ignore[misc]
    """`{% generation %} … {% endgeneration %}` marks what is trained on: here it is what stands in it."""

    tags = frozenset({"generation"})

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The body, as if the tags were not there."""
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


class _Unfolded(CodeGenerator):  # type: ignore[misc]
    """Computes nothing while compiling: Jinja would catch there what the computing raises, and go on."""

    def _output_child_to_const(self, node: nodes.Expr, frame: Any, finalize: Any) -> str:  # noqa: ANN401
        if not isinstance(node, nodes.TemplateData):
            raise nodes.Impossible
        return str(super()._output_child_to_const(node, frame, finalize))


class TemplateEnvironment(ImmutableSandboxedEnvironment):  # type: ignore[misc]
    """A sandbox for one chat template.

    Args:
        today: the date that `strftime_now` writes.
    """

    code_generator_class = _Unfolded
    intercepted_binops = frozenset({"*", "**", "%", "//"})

    def __init__(self, today: Callable[[], date] = date.today) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            optimized=False,
            extensions=(LoopControlExtension, GenerationExtension),
        )
        self.filters: dict[str, Any] = {name: DEFAULT_FILTERS[name] for name in _FILTERS}
        self.filters |= {name: _of_lists(DEFAULT_FILTERS[name]) for name in _LAZY}
        self.filters |= {"tojson": _to_json, "indent": _indent, "round": _round, "int": _int, "trim": _trim}
        self.tests: dict[str, Any] = dict(DEFAULT_TESTS)
        self.tests |= {name: _of_numbers(DEFAULT_TESTS[name]) for name in _OF_NUMBERS}
        self.globals: dict[str, Any] = {name: DEFAULT_NAMESPACE[name] for name in ("dict", "namespace")}
        self.globals |= {"range": safe_range, "raise_exception": _raise_exception}
        self.globals["strftime_now"] = lambda wanted: _strftime(today(), wanted)

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401
        """One of the intercepted operators, when its result stays small."""
        if not (_is_number(left) and _is_number(right)):
            size = _repeated(left, right) if operator == "*" else None
            if size is None or size > MAX_REPEATED:
                raise jinja2.TemplateError(f"{operator} is not for these values")
        elif operator == "**" or not (_is_small(left) and _is_small(right)):
            raise jinja2.TemplateError(f"{operator} of too large numbers")
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:  # noqa: ANN401
        """Of texts, only methods that make no more than they are given; of numbers none (`to_bytes`)."""
        if isinstance(obj, int | float | bytes) or (isinstance(obj, str) and attr not in _TEXT_METHODS):
            return False
        return bool(super().is_safe_attribute(obj, attr, value))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:  # noqa: ANN401
        """`format` with plain fields alone: a width writes as much as it says, a dot leads out of here."""
        text = getattr(value, "__self__", None)
        if not isinstance(text, str) or getattr(value, "__name__", "") != "format":
            return None
        return lambda *values: _format(text, values)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _is_small(value: object) -> bool:
    return isinstance(value, float) or (isinstance(value, int) and value.bit_length() <= _MAX_BITS)


def _repeated(left: object, right: object) -> int | None:
    """How long `left * right` would be; None when it repeats nothing."""
    for many, times in ((left, right), (right, left)):
        if isinstance(many, str | list | tuple) and isinstance(times, int):
            return len(many) * max(times, 0)
    return None


def _raise_exception(_message: object = "") -> None:
    """What templates call to refuse a history."""
    raise RefusedError


def _strftime(day: date, wanted: str) -> str:
    """The day in the format that a template wants. Its time is midnight: a prompt is the same all day."""
    if not _DATE_FORMAT.fullmatch(wanted):
        raise jinja2.TemplateError("no format of a date")
    return datetime.combine(day, time()).strftime(wanted)


def _round(value: object, precision: object = 0, method: object = "common") -> object:
    """Jinja's, which computes a power of ten of the precision."""
    if not (_is_small(value) and isinstance(precision, int) and abs(precision) <= _MAX_PRECISION):
        raise jinja2.TemplateError("round is for small numbers")
    return DEFAULT_FILTERS["round"](value, precision, method)


def _int(value: object, default: object = 0, base: object = 10) -> object:
    """Jinja's, of no more digits than a template needs: in most bases they take quadratic time."""
    if isinstance(value, str) and len(value) > _MAX_DIGITS:
        raise jinja2.TemplateError("too many digits")
    return DEFAULT_FILTERS["int"](value, default, base)


def _trim(value: object, chars: object = None) -> object:
    """Jinja's, of few characters: each of the text is compared with each of them."""
    if isinstance(chars, str) and len(chars) > _MAX_DIGITS:
        raise jinja2.TemplateError("too many characters to trim")
    return DEFAULT_FILTERS["trim"](value, chars)


def _of_lists(filter_: Callable[..., object]) -> Callable[..., object]:
    """The filter, with what another lazy one gives made a list first."""

    @functools.wraps(filter_)  # with what Jinja marks its filters by
    def flat(*values: object, **named: object) -> object:
        return filter_(*(list(one) if isinstance(one, GeneratorType) else one for one in values), **named)

    return flat


def _of_numbers(test: Callable[..., bool]) -> Callable[..., bool]:
    def bounded(*values: object) -> bool:
        if not all(_is_small(value) for value in values):
            raise jinja2.TemplateError("the test is for small numbers")
        return test(*values)

    return bounded


def _to_json(
    value: object,
    ensure_ascii: object = False,
    indent: int | None = None,
    sort_keys: object = False,
) -> str:
    """JSON as the model saw it in training: Jinja's own is for web pages and hides `<` and `'`."""
    if indent is not None and not 0 <= int(indent) <= _MAX_INDENT:
        raise jinja2.TemplateError("too wide")
    _require_few(value)
    return json.dumps(value, ensure_ascii=bool(ensure_ascii), indent=indent, sort_keys=bool(sort_keys))


def _require_few(value: object) -> None:
    """Count what JSON would be written of, each as often as it stands there."""
    found = 0
    todo = [value]
    while todo:
        one = todo.pop()
        held = one.values() if isinstance(one, dict) else one if isinstance(one, list | tuple) else ()
        found += 1
        if found + len(todo) + len(held) > MAX_JSON_VALUES:
            raise jinja2.TemplateError("too much for tojson")
        todo += held


def _indent(text: str, width: object = 4, first: object = False, blank: object = False) -> str:
    """Jinja's, no wider than a template needs."""
    if not isinstance(width, int) or not 0 <= width <= _MAX_INDENT:
        raise jinja2.TemplateError("too wide")
    return str(DEFAULT_FILTERS["indent"](text, width, bool(first), bool(blank)))


def _format(text: str, values: tuple[object, ...]) -> str:
    """`text.format(*values)` for fields that are `{}` or a number."""
    for _, field, wanted, conversion in string.Formatter().parse(text):
        if field is not None and (wanted or conversion or not (field == "" or field.isdecimal())):
            raise jinja2.TemplateError("format is for plain fields")
    return text.format(*(str(value) for value in values))
