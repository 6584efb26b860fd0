"""JSON schemas for tests, with what they accept, and a small validator of its own for what they use."""

from __future__ import annotations

import uuid
from datetime import date, datetime
from typing import Any

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12},
        "age": {"type": "integer"},
        "tags": {
            "type": "array",
            "items": {"enum": ["red", "blue", "blueish"]},
            "minItems": 1,
            "maxItems": 3,
        },
        "note": {"type": ["string", "null"], "maxLength": 8},
    },
    "required": ["name", "tags"],
}
TREE = {
    "type": "object",
    "properties": {
        "value": {"type": "boolean"},
        "child": {"$ref": "#"},
        "children": {"type": "array", "items": {"$ref": "#"}, "maxItems": 2},
    },
    "required": ["value"],
}
LIST = {
    "$defs": {
        "cell": {
            "type": "object",
            "properties": {
                "head": {"type": "number"},
                "tail": {"anyOf": [{"$ref": "#/$defs/cell"}, {"type": "null"}]},
            },
            "required": ["head", "tail"],
        }
    },
    "$ref": "#/$defs/cell",
}
EVENT = {"type": "object", "properties": {"on": {"type": "string", "format": "date"}}, "required": ["on"]}
DATE = {"type": "string", "format": "date"}
KEYS = {"type": "object", "additionalProperties": {"type": "boolean"}}
ODD = {
    "type": "object",
    "properties": {'a"b\\\n\x7fé😀': {"const": 'x"\\\x01'}},
    "required": ['a"b\\\n\x7fé😀'],
}
VALIDATED = (PERSON, TREE, LIST, EVENT, KEYS, ODD, DATE, {"enum": [1, 12, "a", "ab", None, True]}, True)
_DATES = [
    f"{year:04}-{month:02}-{day:02}"
    for year in (0, 1, 4, 96, 100, 200, 400, 1900, 2000, 2023, 2024, 9996, 9999)
    for month in range(14)
    for day in (0, 1, 9, 10, 28, 29, 30, 31, 32)
]


def _is_date(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


ACCEPTED = (
    (
        DATE,
        [f'"{text}"' for text in _DATES if _is_date(text)],
        [f'"{text}"' for text in _DATES if not _is_date(text)],
    ),
    (
        {"type": "string", "format": "date-time"},
        ['"2024-02-29T23:59:59Z"', '"2024-12-31T00:00:00+01:30"'],
        [
            '"2023-02-29T00:00:00Z"',
            '"2024-02-29T24:00:00Z"',
            '"2024-02-29T23:60:00Z"',
            '"2024-02-29T23:00:00"',
        ],
    ),
    ({"format": "time"}, ['"00:00:00Z"', '"23:59:59-12:00"'], ['"24:00:00Z"', '"00:00"']),
    ({"format": "uuid"}, ['"123e4567-e89b-12d3-a456-426614174000"'], ['"123e4567e89b12d3a456426614174000"']),
    (
        {"type": "string", "minLength": 2, "maxLength": 2},
        ['"ab"', '"a\\ud83d\\ude00"', '"\\uD83D\\uDE00\\u00e9"', '"\\uD7FF\\uE000"', '"\\n\\u0000"', '"😀é"'],
        [
            '"a"',
            '"abc"',
            '"\\ud83d\\ude00"',
            '"a\\ud83d"',
            '"a\\ude00"',
            '"\\ud83d\\ud83d"',
            '"\\ude00\\ud83d"',
            '"\\ud83dab"',
        ],
    ),
    ({"type": "string"}, ['"\\ud83d\\ude00"'], ['"\\ud83d"', '"\\uDC00\\uD800"']),
    ({"enum": ["a", "b"], "const": "b"}, ['"b"'], ['"a"', '"c"']),
    ({"enum": [1, True, [1], {"a": 1}], "const": True}, ["true"], ["1", "[1]"]),
    ({"enum": ["a", 1, 2.5], "type": ["integer", "string"]}, ['"a"', "1"], ["2.5"]),
    ({"$id": "https://example.org/x", "description": "whatever"}, ["1", '"a"', "[null]"], ["nul"]),
    ({"$defs": {"a b/~": {"type": "null"}}, "$ref": "#/$defs/a b~1~0"}, ["null"], ["1"]),
    (
        PERSON,
        [
            '{"name": "Ann", "tags": ["red"]}',
            '{"name": "Ann", "age": -3, "tags": ["blue", "blueish", "red"], "note": null}',
            '{"name": "\\u00e9\\n", "tags": ["red"], "note": "12345678"}',
        ],
        [
            "{}",
            '{"name": "Ann"}',
            '{"name": "", "tags": ["red"]}',
            '{"tags": ["red"], "name": "Ann"}',
            '{"name": "Ann", "tags": []}',
            '{"name": "Ann", "tags": ["green"]}',
            '{"name": "Ann", "tags": ["red", "red", "red", "red"]}',
            '{"name": "Ann", "age": 03, "tags": ["red"]}',
            '{"name": "Ann", "age": 3.5, "tags": ["red"]}',
            '{"name": "Ann", "tags": ["red"], "note": "123456789"}',
            '{"name": "Ann", "tags": ["red"], "more": 1}',
            '{"name": "Ann", "tags": ["red"]} and more',
        ],
    ),
    (
        TREE,
        [
            '{"value": true}',
            '{"value": false, "child": {"value": true}, "children": []}',
            '{"value": false, "children": [{"value": true, "child": {"value": true}}]}',
        ],
        ['{"child": {"value": true}}', '{"value": 1}', '{"value": true, "childs": []}'],
    ),
    (
        LIST,
        ['{"head": 1.5e3, "tail": {"head": -0, "tail": null}}'],
        ['{"head": 1}', '{"head": .5, "tail": null}', '{"head": 1, "tail": 2}'],
    ),
    (EVENT, ['{"on": "2024-02-29"}'], ['{"on": "2024-13-01"}', '{"on": "24-01-01"}']),
    (KEYS, ["{}", '{"a": true, "b": false}'], ['{"a": 1}', '{"a": true,}']),
    (ODD, ['{"a\\"b\\\\\\n\x7fé😀": "x\\"\\\\\\u0001"}'], ['{"ab": "x"}']),
    ({"enum": [1, 12, "a", "ab", None]}, ["1", "12", '"a"', '"ab"', "null"], ["2", "123", '"abc"', "nul"]),
    (True, ['[1, {"a": [null, true]}, "x"]', "3"], ["[1,]", "tru"]),
    ({"type": "array", "items": {"type": "null"}, "maxItems": 0}, ["[]"], ["[null]"]),
)
_NAMES = {"a b~1~0": "a b/~"}
_TYPES: dict[str, Any] = {"object": dict, "array": list, "string": str, "null": type(None), "boolean": bool}


def validate(schema: Any, value: Any, root: Any = None) -> bool:
    """Whether a schema accepts a value; only the keywords that these tests use."""
    root = schema if root is None else root
    if schema is True:
        return True
    if "$ref" in schema:
        return validate(
            root
            if schema["$ref"] == "#"
            else root["$defs"][_NAMES.get(name := schema["$ref"].split("/")[-1], name)],
            value,
            root,
        )
    if "anyOf" in schema:
        return any(validate(one, value, root) for one in schema["anyOf"])
    if "const" in schema and not _equal(value, schema["const"]):
        return False
    if "enum" in schema and not any(_equal(value, one) for one in schema["enum"]):
        return False
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(_is(value, name) for name in types):
        return False
    if isinstance(value, str):
        fits = schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value))
        whole = not any("\ud800" <= letter <= "\udfff" for letter in value)
        return fits and whole and ("format" not in schema or _has_format(value, schema["format"]))
    if isinstance(value, list):
        return schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)) and all(
            validate(schema.get("items", True), item, root) for item in value
        )
    if isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties", True)
        return set(schema.get("required", [])) <= set(value) and all(
            validate(known[name], value[name], root)
            if name in known
            else bool(more) and validate(more, value[name], root)
            for name in value
        )
    return True


def _equal(value: object, other: object) -> bool:
    return value == other and type(value) is type(other)


def _has_format(value: str, name: str) -> bool:
    match name:
        case "date":
            return _is_date(value)
        case "time":
            return _has_format("2024-01-01T" + value, "date-time")
        case "date-time":
            try:
                return datetime.fromisoformat(value).tzinfo is not None
            except ValueError:
                return False
        case "uuid":
            return str(uuid.UUID(value)) == value.lower()
    raise AssertionError(name)


def _is(value: object, name: str) -> bool:
    if name in {"integer", "number"}:
        return type(value) is int or (name == "number" and type(value) is float)
    return isinstance(value, _TYPES[name])
