"""The manual's own examples: every right one is taken, every wrong one refused, every roll-up as printed."""

import json
from pathlib import Path

import pytest

from govdesk.errors import MarkingError
from govdesk.marking import lattice, rendering
from govdesk.marking.parser import parse
from govdesk.marking.value import Form

VECTORS = Path(__file__).resolve().parents[2] / "vectors" / "marking"


def read(name):
    return json.loads((VECTORS / f"{name}.json").read_text())


VALID = [
    (Form(kind), vector[kind]) for vector in read("valid") for kind in ("banner", "portion") if vector[kind]
]
INVALID = [(Form(vector["kind"]), vector["marking"], vector["rule"]) for vector in read("invalid")]
ROLLUP = read("rollup")


def test_there_are_as_many_vectors_as_there_were():
    assert (len(VALID), len(INVALID), len(ROLLUP)) == (177, 292, 155)


@pytest.mark.parametrize(("form", "text"), VALID)
def test_valid(form, text):
    marking = parse(text, form)
    rendered = rendering.banner(marking) if form is Form.BANNER else rendering.portion(marking)
    assert parse(rendered, form) == marking


@pytest.mark.parametrize(("form", "text", "rule"), INVALID)
def test_invalid(form, text, rule):
    with pytest.raises(MarkingError) as refused:
        parse(text, form)
    error = refused.value
    assert error.rule
    assert error.what
    if error.suggestion is not None:
        assert error.suggestion != text
        parse(error.suggestion, form)


@pytest.mark.parametrize("vector", ROLLUP, ids=lambda vector: " ".join(vector["portions"]))
def test_rollup(vector):
    made_late = "on or after" in vector.get("context", {}).get("unmarked_portions", "")
    markings = [parse(text, Form.PORTION, legacy=True) for text in vector["portions"]]
    for order in (markings, markings[::-1]):
        rolled = lattice.rollup(order, unmarked_is_relido=made_late)
        assert rendering.banner(rolled) == vector["banner_abbrev"]
