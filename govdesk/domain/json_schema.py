"""A JSON schema as a grammar: whatever is written by it is JSON that the schema accepts.

A keyword that a grammar cannot promise is refused by name, never ignored in silence. What is taken:

- `type` (one or a list), `enum`, `const`, `anyOf`, `$ref` to `#`, `#/$defs/…` or `#/definitions/…`;
- objects: `properties`, `required`, `additionalProperties`; the properties come in the schema's order, and
  none that the schema does not name, unless it names none;
- arrays: `items`, `minItems`, `maxItems`; texts: `minLength`, `maxLength`, and `format` where it is a date
  (one that the calendar has, from the year 1), a time, both, or a UUID; any other format is refused;
- annotations (`title`, `description`, `default`, …), which promise nothing; `$id` only at the top, for it
  changes what `$ref` means.

Written is JSON on one line, a blank behind each comma and colon. Linear in the schema, and bounded.
"""

from __future__ import annotations

from typing import Any, NoReturn

import msgspec

from govdesk.domain.gbnf import MAX_GRAMMAR_CHARACTERS, MAX_REPEATED, MAX_RULES, ROOT, check
from govdesk.domain.json_primitives import FORMATS, PRIMITIVES
from govdesk.errors import UsageError

MAX_SCHEMA_CHARACTERS = 64 * 1024
MAX_NESTED = 64
_ANNOTATIONS = frozenset(
    """
    $schema $comment $defs definitions title description default examples deprecated readOnly writeOnly
    """.split()
)
_OF_TYPE = {
    "object": frozenset({"properties", "required", "additionalProperties"}),
    "array": frozenset({"items", "minItems", "maxItems"}),
    "string": frozenset({"minLength", "maxLength", "format"}),
    "number": frozenset[str](),
    "integer": frozenset[str](),
    "boolean": frozenset[str](),
    "null": frozenset[str](),
}
_CHOICES = frozenset({"type", "enum", "const", "anyOf", "$ref"})
_ESCAPED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def to_grammar(untrusted_text: str) -> str:
    """The grammar (GBNF) of a schema's JSON text; it has passed `gbnf.check`.

    Raises:
        UsageError: `schema.invalid`, with the place in the schema and the reason.
    """
    if len(untrusted_text) > MAX_SCHEMA_CHARACTERS:
        _refuse(f"it has more than {MAX_SCHEMA_CHARACTERS:,} characters")
    try:
        schema = msgspec.json.decode(untrusted_text.encode("utf-8"))
    except (msgspec.DecodeError, UnicodeEncodeError):
        _refuse("it is not JSON")
    except RecursionError:
        _refuse("it is nested too deeply")
    converter = _Converter(schema)
    try:
        converter.convert()
    except RecursionError:
        _refuse("it is nested too deeply")
    try:
        check(text := converter.text())
    except UsageError as error:
        _refuse(f"what it asks for has no usable grammar. {error.what.removesuffix('.')}")
    return text


def _refuse(why: str, where: str = "") -> NoReturn:
    place = f" at {where if len(where) <= 80 else '…' + where[-80:]}" if where else ""
    raise UsageError(
        f"The JSON schema cannot be used{place}: {why}.",
        code="schema.invalid",
        kept="Nothing was asked.",
        todo="Correct the schema and ask again.",
    )


class _Converter:
    """Makes one rule of each schema; `$ref` names the rule of what it refers to."""

    def __init__(self, schema: Any) -> None:  # noqa: ANN401  any JSON
        self._schema = schema
        self._rules: dict[str, str] = {}
        self._made = 0
        self._size = 0
        self._referred: dict[str, str] = {}
        self._todo: list[tuple[str, str]] = []

    def convert(self) -> None:
        self._rules[ROOT] = self._reference("#", "#")
        while self._todo:  # not where the reference stands: schemas refer to themselves
            pointer, name = self._todo.pop()
            self._rules[name] = self._counted(self._body(self._resolve(pointer), pointer, 0))

    def text(self) -> str:
        """All rules, each on a line."""
        return "\n".join(f"{name} ::= {body}" for name, body in self._rules.items()) + "\n"

    def _add(self, body: str) -> str:
        self._made += 1
        if self._made > MAX_RULES:
            _refuse("it is too large")
        name = f"s{self._made}"
        self._rules[name] = self._counted(body)
        return name

    def _counted(self, body: str) -> str:
        """The body, unless all of them are too much: properties that may be left out make many."""
        self._size += len(body)
        if self._size > MAX_GRAMMAR_CHARACTERS:
            _refuse("it is too large")
        return body

    def _primitive(self, name: str) -> str:
        if name not in self._rules:
            self._rules[name] = PRIMITIVES[name]
            for used in PRIMITIVES[name].split():
                if (word := used.partition("{")[0].rstrip("*")) in PRIMITIVES:
                    self._primitive(word)
        return name

    def _reference(self, pointer: str, where: str) -> str:
        if pointer not in self._referred:
            self._resolve(pointer, where)
            self._made += 1
            self._referred[pointer] = f"d{self._made}"
            self._todo.append((pointer, self._referred[pointer]))
        return self._referred[pointer]

    def _resolve(self, pointer: str, where: str = "") -> Any:  # noqa: ANN401  any JSON
        if pointer == "#":
            return self._schema
        start, _, name = pointer.rpartition("/")
        if "%" in name:
            _refuse("$ref writes a name with %, which stands for another character", where)
        name = name.replace("~1", "/").replace("~0", "~")
        if start in {"#/$defs", "#/definitions"} and isinstance(self._schema, dict):
            known = self._schema.get(start[2:])
            if isinstance(known, dict) and name in known:
                return known[name]
        _refuse("$ref refers to # or to what stands in $defs or definitions, and to nothing else", where)

    def _rule(self, schema: Any, where: str, nested: int) -> str:  # noqa: ANN401  any JSON
        body = self._body(schema, where, nested + 1)
        return body if body in self._rules else self._add(body)

    def _body(self, schema: Any, where: str, nested: int) -> str:  # noqa: ANN401  any JSON
        if nested > MAX_NESTED:
            _refuse("it is nested too deeply", where)
        if schema is True:
            return self._primitive("value")
        if not isinstance(schema, dict):
            _refuse("a schema is an object or true", where)
        said = set(schema) - _ANNOTATIONS
        if schema is self._schema:
            said.discard("$id")
        if not said:
            return self._primitive("value")
        if "$ref" in said:
            _only(said, {"$ref"}, where)
            return self._reference(_text(schema["$ref"], "$ref", where), where)
        if "anyOf" in said:
            _only(said, {"anyOf"}, where)
            several = _list(schema["anyOf"], "anyOf", where)
            return " | ".join(self._rule(one, f"{where}/anyOf/{n}", nested) for n, one in enumerate(several))
        types = self._types(schema, said, where)
        if said & {"enum", "const"}:
            _only(said, {"type", "enum", "const"}, where)
            return self._choice({_json(value): "" for value in _fitting(schema, types, where)})
        allowed = frozenset[str]().union(*(_OF_TYPE[name] for name in types))
        for keyword in sorted(said - allowed - _CHOICES):
            _refuse(f"{keyword} cannot be promised by a grammar here", where)
        parts = [self._of_type(name, schema, where, nested) for name in types]
        return (
            parts[0]
            if len(parts) == 1
            else " | ".join(p if p in self._rules else self._add(p) for p in parts)
        )

    def _types(self, schema: dict[str, Any], said: set[str], where: str) -> list[str]:
        if "type" not in said:
            # without a type, keywords of one type tell it; else it may be anything
            told = [name for name, keywords in _OF_TYPE.items() if said & keywords]
            if not told and not said & {"enum", "const"}:
                _refuse(f"{min(said)} cannot be promised by a grammar here", where)
            return told if told and not said & {"enum", "const"} else list(_OF_TYPE)
        named = schema["type"]
        names = [named] if isinstance(named, str) else _list(named, "type", where)
        if any(not isinstance(name, str) or name not in _OF_TYPE for name in names):
            _refuse("type names no type of JSON", where)
        return names if "number" not in names else [name for name in names if name != "integer"]

    def _of_type(self, name: str, schema: dict[str, Any], where: str, nested: int) -> str:
        match name:
            case "object":
                return self._object(schema, where, nested)
            case "array":
                return self._array(schema, where, nested)
            case "string":
                return self._string(schema, where)
            case _:
                return self._primitive(name)

    def _string(self, schema: dict[str, Any], where: str) -> str:
        least, most = _bounds(schema, "minLength", "maxLength", where)
        if "format" in schema:
            name = _text(schema["format"], "format", where)
            if name not in FORMATS:
                _refuse(f"format {_shown(name)} cannot be promised by a grammar here", where)
            if least or most is not None:
                _refuse("format and a length cannot be promised together", where)
            return rf'"\"" {self._primitive(name)} "\""'
        if not least and most is None:
            return self._primitive("string")
        return rf'"\"" {_times(self._primitive("char"), least, most)} "\""'

    def _array(self, schema: dict[str, Any], where: str, nested: int) -> str:
        least, most = _bounds(schema, "minItems", "maxItems", where)
        if most == 0:
            return '"[]"'
        item = self._rule(schema.get("items", True), f"{where}/items", nested)
        more = self._add(f'", " {item}')
        rest = _times(more, max(least - 1, 0), None if most is None else most - 1)
        return f'"[" {item} {rest} "]"' if least else f'"[" ( {item} {rest} )? "]"'

    def _object(self, schema: dict[str, Any], where: str, nested: int) -> str:
        properties = schema.get("properties", {})
        more = schema.get("additionalProperties", True)
        required = schema.get("required", [])
        if not isinstance(properties, dict) or not isinstance(required, list):
            _refuse("properties is an object, and required a list", where)
        if any(not isinstance(name, str) or name not in properties for name in required):
            _refuse("required names what is not in properties", where)
        required = frozenset(required)
        if not properties:
            if more is False:
                return '"{}"'
            value = self._rule(more, f"{where}/additionalProperties", nested)
            pair = self._add(f'{self._primitive("string")} ": " {value}')
            return f'"{{" ( {pair} ( ", " {pair} )* )? "}}"'
        if not isinstance(more, bool):
            _refuse("additionalProperties beside properties is true or false", where)
        # from the last property to the first: what may stand where a property was written, or none was
        names = list(properties)
        values = {n: self._rule(properties[n], f"{where}/properties/{n}", nested) for n in names}
        ends = {n: f" {values[n]}" for n in names}
        last = max((at for at, name in enumerate(names) if name in required), default=-1)
        behind = ""
        for at in range(len(names) - 1, -1, -1):
            ends[names[at]] += f" {behind}" if behind else ""
            body = self._choice(self._next(names, at, required, ends, ', "'))
            optional = at > last
            behind = self._add(f"( {body} )?" if optional else body)
        first = self._choice(self._next(names, 0, required, ends, '"'))
        return f'"{{" ( {first} )? "}}"' if last < 0 else f'"{{" {self._add(first)} "}}"'

    def _next(
        self, names: list[str], at: int, required: frozenset[str], ends: dict[str, str], before: str
    ) -> dict[str, str]:
        """The keys that may come next, up to the first that must, each with what follows it."""
        found: dict[str, str] = {}
        for name in names[at:]:
            key = _json(name)[1:]
            found[f"{before}{key}: "] = ends[name]
            if name in required:
                break
        return found

    def _choice(self, texts: dict[str, str]) -> str:
        """One of these texts, each with what follows it; a common beginning is written once."""
        parts = []
        groups: dict[str, dict[str, str]] = {}
        for text, then in texts.items():
            groups.setdefault(text[:1], {})[text] = then
        for group in groups.values():
            if len(group) == 1:
                ((text, then),) = group.items()
                parts.append(f"{_literal(text)}{then}")
            else:
                common = _common(list(group))
                rest = self._choice({text[len(common) :]: then for text, then in group.items()})
                parts.append(f"{_literal(common)} {self._add(rest)}")
        return " | ".join(parts)


def _fitting(schema: dict[str, Any], types: list[str], where: str) -> list[Any]:
    """The values that `enum`, `const` and the types all allow."""
    values = _list(schema["enum"], "enum", where) if "enum" in schema else [schema["const"]]
    if "const" in schema:
        values = [value for value in values if _same(value, schema["const"])]
    fitting = [value for value in values if any(_is(value, name) for name in types)]
    if not fitting:
        _refuse("no value is allowed by enum, const and type together", where)
    return fitting


def _same(one: Any, other: Any) -> bool:  # noqa: ANN401  any JSON
    """JSON's equality: numbers by their value, and a boolean is no number."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _shown(text: str) -> str:
    return text if len(text) <= 40 else text[:40] + "…"


def _json(value: Any) -> str:  # noqa: ANN401  any JSON
    return msgspec.json.encode(value).decode("utf-8")


def _common(texts: list[str]) -> str:
    low, high = min(texts), max(texts)
    length = next(
        (n for n, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high))
    )
    return low[:length]


def _literal(text: str) -> str:
    escaped = "".join(_ESCAPED.get(c) or (c if c.isprintable() else f"\\U{ord(c):08X}") for c in text)
    return f'"{escaped}"'


def _times(rule: str, least: int, most: int | None) -> str:
    if most == 0:
        return ""
    if most is None:
        return f"{rule}*" if least == 0 else f"{rule}{{{least},}}"
    return f"{rule}{{{least},{most}}}"


def _bounds(schema: dict[str, Any], low: str, high: str, where: str) -> tuple[int, int | None]:
    least, most = schema.get(low, 0), schema.get(high)
    for number in (schema[keyword] for keyword in (low, high) if keyword in schema):
        if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= MAX_REPEATED:
            _refuse(f"{low} and {high} are numbers from 0 to {MAX_REPEATED:,}", where)
    if most is not None and most < least:
        _refuse(f"{high} is less than {low}", where)
    return least, most


def _only(said: set[str], known: set[str], where: str) -> None:
    for keyword in sorted(said - known):
        _refuse(
            f"{keyword} beside {', '.join(sorted(said & known))} cannot be promised by a grammar here", where
        )


def _text(value: Any, keyword: str, where: str) -> str:  # noqa: ANN401  any JSON
    if not isinstance(value, str):
        _refuse(f"{keyword} is a text", where)
    return value


def _list(value: Any, keyword: str, where: str) -> list[Any]:  # noqa: ANN401  any JSON
    if not isinstance(value, list) or not value:
        _refuse(f"{keyword} is a list that is not empty", where)
    return value


def _is(value: Any, name: str) -> bool:  # noqa: ANN401  any JSON
    match name:
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "string":
            return isinstance(value, str)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case _:
            return isinstance(value, int | float) and not isinstance(value, bool)
