import pytest
from hypothesis import given
from hypothesis import strategies as st

from govdesk.errors import MarkingError
from govdesk.marking import rendering
from govdesk.marking.parser import MAX_MARKING_CHARACTERS, form_of, parse, with_banner
from govdesk.marking.value import Compartment, Form, Level, Marking, Ownership, Program


def refusal(text, form=None):
    with pytest.raises(MarkingError) as refused:
        parse(text, form)
    return refused.value


def test_what_a_banner_means():
    marking = parse("TOP SECRET//HCS-P JJJ/SI-GAMMA//RD-CNWDI-SIGMA 14 20//FGI DEU NATO//ORCON/NOFORN//LES")
    assert marking == Marking(
        Level.TOP_SECRET,
        sci=(Program("HCS", (Compartment("P", ("JJJ",)),)), Program("SI", (Compartment("G"),))),
        aea=frozenset({"RD"}),
        cnwdi=True,
        sigmas=(14, 20),
        fgi=("DEU", "NATO"),
        dissemination=frozenset({"ORCON", "NOFORN"}),
        non_ic=frozenset({"LES"}),
    )


def test_titles_and_abbreviations_are_one_marking():
    long = "SECRET//TALENT KEYHOLE//RISK SENSITIVE/AUTHORIZED FOR RELEASE TO USA, FVEY"
    assert parse(long) == parse("SECRET//TK//RSEN/REL TO USA, FVEY") == parse("(S//TK//RS/REL TO USA, FVEY)")


@pytest.mark.parametrize(
    ("text", "ownership", "owners"),
    [
        ("//DEU SECRET//REL TO USA, DEU", Ownership.FOREIGN, ("DEU",)),
        ("(//FGI R//NF)", Ownership.FOREIGN, ()),
        ("//COSMIC TOP SECRET//BOHEMIA", Ownership.NATO, ()),
        ("(//NR)", Ownership.NATO, ()),
        ("//JOINT SECRET CAN GBR USA//REL TO USA, CAN, GBR", Ownership.JOINT, ("CAN", "GBR", "USA")),
        ("(//JOINT S//REL)", Ownership.JOINT, ()),
    ],
)
def test_whose_classification_it_is(text, ownership, owners):
    marking = parse(text)
    assert (marking.ownership, marking.owners) == (ownership, owners)


@pytest.mark.parametrize(
    ("text", "banner", "portion"),
    [
        ("CUI", "CUI", "(CUI)"),
        ("CONTROLLED//SP-CTI/PRVCY//NOFORN", "CUI//SP-CTI/PRVCY//NOFORN", "(CUI//SP-CTI/PRVCY//NF)"),
        ("SECRET//CUI//NOFORN", "SECRET//CUI//NOFORN", "(S//CUI//NF)"),
    ],
)
def test_controlled_unclassified_information(text, banner, portion):
    marking = parse(text)
    assert (rendering.banner(marking), rendering.portion(marking)) == (banner, portion)


@pytest.mark.parametrize(
    ("text", "rule", "suggestion"),
    [
        ("secret//noforn", "uppercase", "SECRET//NOFORN"),
        ("TS//SI//NF", "banner-level-abbreviated", "TOP SECRET//SI//NOFORN"),
        ("(SECRET//NF)", "portion-level-spelled-out", "(S//NF)"),
        ("SECRET//NOFORN/ORCON", "value-order", "SECRET//ORCON/NOFORN"),
        ("SECRET//REL TO GBR, USA", "rel-usa-first", "SECRET//REL TO USA, GBR"),
        ("SECRET//REL TO USA, AUS AND GBR", "rel-and", "SECRET//REL TO USA, AUS, GBR"),
        ("SECRET//NOFORN//", "empty-category", "SECRET//NOFORN"),
        ("SECRET//NOFORN/REL TO USA, GBR", "noforn-with-rel-to", None),
        ("SECRET//NOT A MARKING", "not-in-register", None),
        ("SECRET//COMINT", "not-in-register", None),
        ("CUI//FOUO", "fouo-superseded", None),
        ("SECRET//CUI//PRVCY//NOFORN", "not-in-register", None),
        ("TOP SECRET//SI-G//NOFORN", "si-g-needs-orcon", None),
    ],
)
def test_a_refusal_names_the_rule_and_the_nearest_right_form(text, rule, suggestion):
    error = refusal(text)
    assert (error.rule, error.suggestion) == (rule, suggestion)
    assert error.code == "marking.invalid"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "()",
        "//",
        "(//)",
        " SECRET",
        "SECRET\n",
        "SECRET//NO\u200bFORN",
        "SECRE\u0422",
        "SECRET\x00",
        "SECRET//" + "SI/" * MAX_MARKING_CHARACTERS,
        "SECRET//-",
        "SECRET//SI-",
        "SECRET//SAR-",
        "SECRET//FGI ",
        "//JOINT ",
        "//JOINT SECRET",
        "//USA SECRET",
        "(//NATO S)",
        "SECRET//FGI USA",
        "SECRET//DISPLAY ONLY USA",
        "//JOINT SECRET USA//REL TO USA, GBR",
    ],
)
def test_odd_text_is_refused(text):
    refusal(text)


@given(st.text(alphabet="TSCU/ -,()ANFRELOUGBXI1\x00é", max_size=40))
def test_any_text_is_taken_or_refused_and_what_is_taken_comes_back(text):
    try:
        marking = parse(text)
    except MarkingError:
        return
    rendered = rendering.banner(marking) if form_of(text) is Form.BANNER else rendering.portion(marking)
    assert parse(rendered) == marking


def test_every_valid_portion_comes_back_from_its_text(portions):
    for marking in portions:
        assert parse(rendering.portion(marking), Form.PORTION) == marking


def test_the_pool_of_portions_holds_every_kind(portions):
    seen = frozenset().union(*(marking.controls for marking in portions))
    assert len(seen) == 27
    assert {marking.ownership for marking in portions} == set(Ownership)
    assert {marking.level for marking in portions} == set(Level)
    assert sum(bool(marking.sci) for marking in portions) > 100
    assert sum(bool(marking.sap) for marking in portions) > 100


def test_eyes_only_is_read_only_when_asked():
    assert refusal("(S//USA/CAN/GBR EYES ONLY)").rule == "eyes-only"
    assert parse("(S//USA/CAN/GBR EYES ONLY)", legacy=True) == parse("(S//REL TO USA, CAN, GBR)")


def test_a_portion_takes_the_lists_it_leaves_to_the_banner():
    banner = parse("//JOINT SECRET GBR USA//REL TO USA, FVEY")
    assert with_banner(parse("(//JOINT S//REL)"), banner) == banner
    assert with_banner(parse("(S//REL TO USA, DEU)"), banner).rel_to == ("DEU",)


def test_a_program_known_by_its_nickname_has_no_portion_mark():
    marking = parse("TOP SECRET//SPECIAL ACCESS REQUIRED-BUTTER POPCORN//NOFORN")
    assert rendering.banner(marking) == "TOP SECRET//SAR-BUTTER POPCORN//NOFORN"
    with pytest.raises(MarkingError) as refused:
        rendering.portion(marking)
    assert refused.value.rule == "sap-abbreviation"
