"""Roll-up as a lattice: laws on all triples of a pool, and against what each control means by itself."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govdesk.errors import MarkingError
from govdesk.marking import rendering, vocabulary
from govdesk.marking.lattice import dominates, join, rollup
from govdesk.marking.parser import parse
from govdesk.marking.value import Form, Level, Ownership

INDEX = st.integers(0, 1_999)


def names(programs):
    """Every system, compartment and sub-compartment as a path."""
    for program in programs:
        yield (program.name,)
        for compartment in program.compartments:
            yield (program.name, compartment.name)
            yield from ((program.name, compartment.name, sub) for sub in compartment.subs)


def recipients(marking):
    """Foreign codes that may be given it, and those that may be shown it."""
    words = vocabulary.default()
    given = words.expand(marking.rel_to or ())
    return given, given | words.expand(marking.display_only)


@settings(max_examples=300, deadline=None)
@given(a=INDEX, b=INDEX, c=INDEX)
def test_grouping_order_and_repetition_do_not_matter(portions, a, b, c):
    a, b, c = portions[a], portions[b], portions[c]
    rolled = rollup([a, b, c])
    assert join(join(a, b), c) == join(a, join(b, c)) == rolled
    assert rollup([c, a, b, b, a]) == rolled
    assert rollup([rolled, rolled]) == rolled
    assert rollup([rolled, a]) == rolled


@settings(max_examples=300, deadline=None)
@given(chosen=st.lists(INDEX, min_size=1, max_size=6))
def test_nothing_is_below_a_portion(portions, chosen):
    parts = [portions[index] for index in chosen]
    rolled = rollup(parts)
    given, shown = recipients(rolled)
    speaks = any(part.foreign_disclosure for part in parts)
    for part in parts:
        assert dominates(rolled, part)
        assert rolled.level >= min(part.level, Level.TOP_SECRET) or part.level is Level.RESTRICTED
        assert set(names(part.sci)) <= set(names(rolled.sci))
        assert set(names(part.sap)) <= set(names(rolled.sap))
        assert set(part.sigmas) <= set(rolled.sigmas)
        assert part.cnwdi <= rolled.cnwdi
        assert ("RD" in part.aea) <= ("RD" in rolled.aea)
        always = {"RSEN", "ORCON", "IMCON", "NOFORN", "PROPIN", "DSEN", "FISA"}
        assert part.dissemination & always <= rolled.dissemination
        kept = {key.removesuffix(" NOFORN") for key in rolled.non_ic}
        assert {
            k.removesuffix(" NOFORN") for k in part.non_ic & {"LES", "LES NOFORN", "SSI", "NODIS"}
        } <= kept
        if part.foreign_disclosure:
            part_given, part_shown = recipients(part)
            assert given <= part_given
            assert shown <= part_shown
        elif speaks and part.level > Level.UNCLASSIFIED:
            assert not shown
    if rolled.ownership is Ownership.US and rolled.level > Level.UNCLASSIFIED:
        foreign = {code for part in parts for code in part.owners if part.ownership is Ownership.FOREIGN}
        assert rolled.fgi == () or foreign <= set(rolled.fgi or ())


def test_the_roll_up_of_every_single_portion_is_a_valid_banner_line(portions):
    for portion in portions:
        rolled = rollup([portion])
        assert parse(rendering.banner(rolled), Form.BANNER) == rolled


@settings(max_examples=200, deadline=None)
@given(chosen=st.lists(INDEX, min_size=2, max_size=6))
def test_a_roll_up_is_a_valid_banner_line(portions, chosen):
    rolled = rollup([portions[index] for index in chosen])
    assert parse(rendering.banner(rolled), Form.BANNER) == rolled


@settings(max_examples=200, deadline=None)
@given(a=INDEX, b=INDEX, c=INDEX)
def test_dominates_is_an_order(portions, a, b, c):
    a, b, c = (rollup([portions[index]]) for index in (a, b, c))
    assert dominates(a, a)
    if dominates(a, b) and dominates(b, a):
        assert a == b
    top = join(join(a, b), c)
    assert dominates(top, join(a, b))
    assert dominates(join(a, b), a)
    assert dominates(top, a)


@pytest.mark.parametrize(
    ("high", "low", "expected"),
    [
        ("SECRET", "CONFIDENTIAL", True),
        ("SECRET", "TOP SECRET", False),
        ("SECRET//NOFORN", "SECRET//REL TO USA, GBR", True),
        ("SECRET//REL TO USA, GBR", "SECRET//NOFORN", False),
        ("SECRET//REL TO USA, GBR", "SECRET//REL TO USA, FVEY", True),
        ("SECRET//REL TO USA, FVEY", "SECRET//REL TO USA, GBR", False),
        ("TOP SECRET//SI/TK//NOFORN", "SECRET//SI//REL TO USA, FVEY", True),
        ("TOP SECRET//SI//NOFORN", "TOP SECRET//SI-G//ORCON/NOFORN", False),
        ("TOP SECRET//SI//NOFORN", "SECRET//TK//NOFORN", False),
        ("SECRET", "UNCLASSIFIED//FOUO", True),
        ("UNCLASSIFIED", "UNCLASSIFIED//FOUO", False),
        ("UNCLASSIFIED", "CUI", False),
        ("SECRET//RD//NOFORN", "SECRET//FRD//NOFORN", True),
        ("SECRET//FRD//NOFORN", "SECRET//RD//NOFORN", False),
    ],
)
def test_dominates(high, low, expected):
    assert dominates(parse(high), parse(low)) is expected


@pytest.mark.parametrize(
    ("texts", "banner"),
    [
        (["(U//FISA)", "(S//REL TO USA, GBR)"], "SECRET//NOFORN/FISA"),
        (["(S//REL TO USA, FVEY)", "(S//REL TO USA, ACGU)"], "SECRET//REL TO USA, AUS, CAN, GBR"),
        (["(//JOINT S GBR USA//REL TO USA, GBR)", "(C)"], "SECRET//FGI GBR//NOFORN"),
        (
            ["(//JOINT S GBR USA//FGI DEU//REL/DISPLAY ONLY GBR, TEYE)"],
            "SECRET//FGI DEU GBR//DISPLAY ONLY GBR, TEYE",
        ),
        (["(//DEU R)", "(U)"], "CONFIDENTIAL//FGI DEU"),
        (["(S//REL)", "(S//REL TO USA, GBR)"], "SECRET//NOFORN"),
        (["(CUI//SP-CTI)", "(CUI//PRVCY//NF)"], "CUI//SP-CTI/PRVCY//NOFORN"),
        (["(CUI//SP-CTI)", "(S//NF)"], "SECRET//CUI//NOFORN"),
        (["(U//LES-NF)", "(S)"], "SECRET//NOFORN//LES"),
    ],
)
def test_rows_that_the_vectors_leave_out(texts, banner):
    for _ in range(3):
        random.Random(len(texts)).shuffle(texts)
        assert rendering.banner(rollup([parse(text) for text in texts])) == banner


def test_nothing_cannot_be_rolled_up():
    with pytest.raises(MarkingError) as refused:
        rollup([])
    assert refused.value.rule == "rollup-empty"
