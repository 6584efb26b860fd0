"""A schema becomes a grammar, or is refused with the place and the reason; never by a crash, never in silence."""

from __future__ import annotations

import json

import pytest

from govdesk.domain import gbnf
from govdesk.domain.json_schema import to_grammar
from govdesk.errors import UsageError
from tests.schemas import ACCEPTED, VALIDATED, validate


@pytest.mark.parametrize("schema", VALIDATED)
def test_a_schema_becomes_a_grammar_that_can_be_followed(schema: object) -> None:
    gbnf.check(to_grammar(json.dumps(schema)))


@pytest.mark.parametrize(("schema", "good"), [(schema, good) for schema, good, _ in ACCEPTED])
def test_what_is_accepted_here_is_what_the_schema_accepts(schema: object, good: list[str]) -> None:
    """That the grammars accept just these is asked of the library (test_worker_sampling.py)."""
    gbnf.check(to_grammar(json.dumps(schema)))
    assert good and all(validate(schema, json.loads(text)) for text in good)


def test_what_is_refused_for_its_value_is_what_the_schema_refuses() -> None:
    for schema, _, bad in ACCEPTED:
        if isinstance(schema, dict) and schema.keys() & {"format", "minLength", "const"}:
            assert bad and not any(validate(schema, json.loads(text)) for text in bad), schema


def test_properties_without_number_are_refused_before_they_are_written_out() -> None:
    names = [f"p{number}" for number in range(1500)]
    schema = {"type": "object", "properties": dict.fromkeys(names, True), "required": [names[-1]] * 3000}
    with pytest.raises(UsageError, match="too large"):
        to_grammar(json.dumps(schema))


def test_many_optional_properties_stay_within_bounds() -> None:
    for count in (1, 10, 40):
        properties = {f"property number {n}": {"type": "boolean"} for n in range(count)}
        gbnf.check(to_grammar(json.dumps({"type": "object", "properties": properties})))
    too_many = {f"p{n}": {"type": "boolean"} for n in range(3000)}
    with pytest.raises(UsageError, match="JSON schema cannot be used"):
        to_grammar(json.dumps({"type": "object", "properties": too_many}))


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        ({"type": "integer", "minimum": 3}, "at #: minimum cannot be promised"),
        ({"type": "string", "pattern": "^a$"}, "pattern cannot be promised"),
        ({"type": "object", "properties": {"a": {"oneOf": [True]}}}, "at #/properties/a: oneOf"),
        ({"allOf": [True]}, "allOf"),
        ({"not": {}}, "not cannot be promised"),
        ({"$ref": "#", "type": "object"}, "type beside $ref"),
        ({"anyOf": [True], "required": ["a"]}, "required beside anyOf"),
        ({"enum": [1], "minItems": 1}, "minItems beside enum"),
        ({"enum": []}, "not empty"),
        ({"type": "string", "const": 1}, "no value"),
        ({"type": "text"}, "no type of JSON"),
        ({"type": []}, "not empty"),
        ({"type": "array", "minItems": 10**12}, "from 0 to 1,000"),
        ({"type": "array", "minItems": True}, "from 0 to 1,000"),
        ({"type": "string", "minLength": 4, "maxLength": 3}, "less than"),
        ({"type": "string", "format": "date", "maxLength": 3}, "together"),
        ({"type": "string", "format": "email"}, "at #: format email cannot be promised"),
        ({"properties": {"a": {"format": "x" * 500}}}, "at #/properties/a: format " + "x" * 40 + "… cannot"),
        ({"format": ["date"]}, "format is a text"),
        ({"type": "string", "format": None}, "format is a text"),
        ({"type": ["string", "null"], "format": "Date"}, "format Date cannot"),
        ({"enum": ["a", "b"], "const": "c"}, "no value is allowed by enum, const and type together"),
        ({"enum": [1, [True]], "const": True}, "no value"),
        ({"enum": [[True]], "const": [1]}, "no value"),
        ({"enum": [], "const": 1}, "not empty"),
        ({"type": None, "minLength": 3}, "not empty"),
        ({"type": "string", "minLength": None}, "from 0 to 1,000"),
        ({"type": "string", "maxLength": None}, "from 0 to 1,000"),
        ({"type": "array", "items": {"$id": "other", "type": "null"}}, "at #/items: $id cannot be promised"),
        ({"type": "object", "required": ["a"]}, "not in properties"),
        ({"type": "object", "properties": []}, "properties is an object"),
        (
            {"type": "object", "properties": {"a": True}, "additionalProperties": {"type": "null"}},
            "true or false",
        ),
        ({"$ref": "https://example.org/schema"}, "refers to"),
        ({"$ref": "#/properties/a"}, "refers to"),
        ({"$ref": 3}, "is a text"),
        ({"$defs": {"a%20b": True, "a b": True}, "$ref": "#/$defs/a%20b"}, "with %"),
        ({"$ref": "#"}, "never come to an end"),
        ({"type": "array", "items": {"$ref": "#"}, "minItems": 1}, "never come to an end"),
        ([], "an object or true"),
        (False, "an object or true"),
        (3, "an object or true"),
    ],
)
def test_what_a_grammar_cannot_promise_is_refused_by_name(schema: object, why: str) -> None:
    with pytest.raises(UsageError) as caught:
        to_grammar(json.dumps(schema))
    assert caught.value.code == "schema.invalid"
    assert why in caught.value.what, caught.value.what


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "nul",
        '{"type": "object"} and more',
        "[" * 60_000,
        '{"items":' * 300 + "true" + "}" * 300,
        '{"anyOf":[' * 3000 + "true" + "]}" * 3000,
        "x" * 70_000,
        '{"const": "\\ud800"}',
    ],
)
def test_a_hostile_text_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        to_grammar(text)
    assert caught.value.code == "schema.invalid"
    assert len(caught.value.what) < 500


def test_values_that_begin_alike_share_their_beginning() -> None:
    gbnf.check(to_grammar(json.dumps({"enum": ["a" * length for length in range(200)]})))
