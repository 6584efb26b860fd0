"""The policy reference names every key, and no other; its defaults are the program's."""

import re
from enum import Enum

import msgspec

from govdesk.config import CHECKOUT, RESOURCES
from govdesk.domain import policy
from govdesk.domain.redaction import ENTITY_TYPES, Direction, Operator

TEXT = (RESOURCES / "docs" / "policy-reference.md").read_text()
ROW = re.compile(r"^\| `([a-z_.<>]+)` \| (.+?) \| (.+?) \| .+ \|$", re.MULTILINE)
TABLES = {
    "": policy.Policy,
    "consent.": policy.ConsentText,
    "session.": policy.SessionRules,
    "models.": policy.ModelRules,
    "inference.": policy.InferenceRules,
    "audit.": policy.AuditRules,
    "redaction.<direction>.": policy.RedactionRules,
}


def shown(value):
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple | dict):
        return "empty" if not value else str(value)
    return f"`{value}`" if value != "" else "none"


def expected():
    for prefix, struct in TABLES.items():
        for field in msgspec.structs.fields(struct):
            nested = isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
            if nested or (prefix == "" and field.name == "redaction"):
                continue
            if field.required:
                yield prefix + field.name, "required"
            else:
                value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
                yield prefix + field.name, shown(value)


def test_every_key_and_its_default_is_in_the_reference():
    documented = {key: default for key, _, default in ROW.findall(TEXT)}
    assert documented == dict(expected())


def test_every_table_is_covered():
    structs = {
        value
        for value in vars(policy).values()
        if isinstance(value, type)
        and issubclass(value, msgspec.Struct)
        and value.__module__ == policy.__name__
    }
    assert structs == {*TABLES.values(), policy.PolicyInForce}


def test_directions_operators_and_types_are_named():
    for word in (*Direction, *Operator):
        assert f"`{word.value}`" in TEXT
    for name in ENTITY_TYPES:
        assert f"`{name}`" in TEXT


def test_every_denial_is_in_the_reference():
    rule = re.compile(r'"(prompt\.(?:blocked|empty|too-long)|(?:output|storage)\.blocked)"')
    source = "".join(path.read_text() for path in (CHECKOUT / "govdesk").rglob("*.py"))
    documented = set(re.findall(r"^\| ((?:prompt|output|storage)\.[a-z-]+) \|", TEXT, re.MULTILINE))
    assert documented == set(rule.findall(source))
    assert len(documented) == 5
