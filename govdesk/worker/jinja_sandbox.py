"""What a chat template may do: the tests, filters and methods that chat templates use, with sizes bounded.

Jinja's sandbox keeps a template from Python's insides; it bounds neither time nor memory. Here what makes
much out of little (`*`, `**`, `%`, `center`, `format` and the like) is bounded or absent.
"""

from __future__ import annotations

from typing import Any

import jinja2
from jinja2.defaults import DEFAULT_FILTERS, DEFAULT_NAMESPACE
from jinja2.sandbox import ImmutableSandboxedEnvironment, safe_range

MAX_REPEATED = 64 * 1024
"""Longest text or list that `*` may make."""
_MAX_BITS = 64
_FILTERS = frozenset(
    """
    abs attr batch capitalize count d default dictsort e escape first float groupby int items join last length
    list lower map max min reject rejectattr replace reverse round safe select selectattr sort string sum
    title tojson trim unique upper
    """.split()
)
_TEXT_METHODS = frozenset(
    """
    capitalize count endswith find index isalnum isalpha isdigit islower isspace isupper join lower lstrip
    partition removeprefix removesuffix replace rfind rindex rpartition rsplit rstrip split splitlines
    startswith strip swapcase title upper
    """.split()
)


class TemplateEnvironment(ImmutableSandboxedEnvironment):  # type: ignore[misc]
    """A sandbox for one chat template."""

    intercepted_binops = frozenset({"*", "**", "%"})

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True)
        self.filters: dict[str, Any] = {name: DEFAULT_FILTERS[name] for name in _FILTERS}
        self.globals: dict[str, Any] = {name: DEFAULT_NAMESPACE[name] for name in ("dict", "namespace")}
        self.globals |= {"range": safe_range, "raise_exception": _raise_exception}

    def call_binop(self, context: jinja2.runtime.Context, operator: str, left: Any, right: Any) -> Any:  # noqa: ANN401
        """One of the intercepted operators, when its result stays small."""
        if not (_is_number(left) and _is_number(right)):
            size = _repeated(left, right) if operator == "*" else None
            if size is None or size > MAX_REPEATED:
                raise jinja2.TemplateError(f"{operator} is not for these values")
        elif operator == "**" or max(int(left).bit_length(), int(right).bit_length()) > _MAX_BITS:
            raise jinja2.TemplateError(f"{operator} of too large numbers")
        return super().call_binop(context, operator, left, right)

    def is_safe_attribute(self, obj: Any, attr: str, value: Any) -> bool:  # noqa: ANN401
        """Of texts, only methods that make no more than they are given."""
        if isinstance(obj, str) and attr not in _TEXT_METHODS:
            return False
        return bool(super().is_safe_attribute(obj, attr, value))

    def wrap_str_format(self, value: Any) -> None:  # noqa: ANN401
        """No special case for `format`: it writes any width, and no chat template needs it."""


def _is_number(value: object) -> bool:
    return isinstance(value, int | float)


def _repeated(left: object, right: object) -> int | None:
    """How long `left * right` would be; None when it repeats nothing."""
    for many, times in ((left, right), (right, left)):
        if isinstance(many, str | list | tuple) and isinstance(times, int):
            return len(many) * max(times, 0)
    return None


def _raise_exception(message: str) -> None:
    """What templates call to refuse a history."""
    raise jinja2.TemplateError("refused by the template")
