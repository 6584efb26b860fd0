"""JSON schemas for tests, with what they accept, and a small validator of its own for what they use."""

from __future__ import annotations

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
KEYS = {"type": "object", "additionalProperties": {"type": "boolean"}}
ODD = {
    "type": "object",
    "properties": {'a"b\\\n\x7fé😀': {"const": 'x"\\\x01'}},
    "required": ['a"b\\\n\x7fé😀'],
}
VALIDATED = (PERSON, TREE, LIST, EVENT, KEYS, ODD, {"enum": [1, 12, "a", "ab", None, True]}, True)
ACCEPTED = (
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
_TYPES: dict[str, Any] = {"object": dict, "array": list, "string": str, "null": type(None), "boolean": bool}


def validate(schema: Any, value: Any, root: Any = None) -> bool:
    """Whether a schema accepts a value; only the keywords that these tests use."""
    root = schema if root is None else root
    if schema is True:
        return True
    if "$ref" in schema:
        return validate(
            root if schema["$ref"] == "#" else root["$defs"][schema["$ref"].split("/")[-1]], value, root
        )
    if "anyOf" in schema:
        return any(validate(one, value, root) for one in schema["anyOf"])
    if "const" in schema and value != schema["const"]:
        return False
    if "enum" in schema and not any(value == one and type(value) is type(one) for one in schema["enum"]):
        return False
    types = schema.get("type", [])
    types = [types] if isinstance(types, str) else types
    if types and not any(_is(value, name) for name in types):
        return False
    if isinstance(value, str):
        return schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)) and (
            schema.get("format") != "date" or (len(value) == 10 and 1 <= int(value[5:7]) <= 12)
        )
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


def _is(value: object, name: str) -> bool:
    if name in {"integer", "number"}:
        return type(value) is int or (name == "number" and type(value) is float)
    return isinstance(value, _TYPES[name])
