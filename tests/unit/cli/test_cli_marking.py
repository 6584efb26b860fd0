import argparse
import json

import pytest

from govdesk.cli import marking


def run(capsys, *arguments):
    parser = argparse.ArgumentParser()
    marking.add_arguments(parser)
    code = marking.run(parser.parse_args(arguments))
    return code, capsys.readouterr().out


def test_check_prints_one_object_a_marking(capsys):
    code, out = run(capsys, "check", "--json", "(S//NF)", "SECRET//NF")
    right, wrong = map(json.loads, out.splitlines())
    assert code == 1
    assert right == {
        "valid": True,
        "kind": "portion",
        "banner": "SECRET//NOFORN",
        "portion": "(S//NF)",
        "rule": None,
        "why": None,
        "where": None,
        "suggestion": None,
        "warnings": [],
    }
    assert (wrong["valid"], wrong["kind"], wrong["banner"]) == (False, "banner", None)
    assert (wrong["rule"], wrong["where"], wrong["suggestion"]) == ("wrong-form", "NF", "SECRET//NOFORN")
    assert wrong["why"]


@pytest.mark.parametrize(
    ("text", "banner", "portion", "warnings"),
    [
        ("SECRET//RD", "SECRET//RD", "(S//RD)", ["rd-frd-without-noforn"]),
        ("(S//REL)", None, "(S//REL)", ["rel-abbreviation-needs-banner"]),
        ("(//FGI S//NF)", "SECRET//FGI//NOFORN", "(//FGI S//NF)", []),
        ("(S//ANB)", "SECRET//ANB", "(S//ANB)", ["unpublished-control-system"]),
        ("SECRET//SAR-BUTTER POPCORN", "SECRET//SAR-BUTTER POPCORN", None, []),
    ],
)
def test_check_gives_both_forms_where_they_are_known(capsys, text, banner, portion, warnings):
    code, out = run(capsys, "check", "--json", text)
    found = json.loads(out)
    assert code == 0
    assert (found["banner"], found["portion"], found["warnings"]) == (banner, portion, warnings)


def test_kind_can_be_said(capsys):
    assert run(capsys, "check", "--kind", "portion", "SECRET")[0] == 1
    assert run(capsys, "check", "--kind", "banner", "SECRET")[0] == 0


def test_text_that_is_printed_cannot_steer_the_terminal(capsys):
    _, out = run(capsys, "check", "SECRET\x1b[2J")
    assert "\x1b" not in out


def test_rollup(capsys):
    assert run(capsys, "rollup", "(S//NF)", "(TS//SI-G//OC/NF)") == (0, "TOP SECRET//SI-G//ORCON/NOFORN\n")
    code, out = run(capsys, "rollup", "--json", "(S//REL TO USA, GBR)", "(S//USA/GBR EYES ONLY)")
    assert code == 0
    assert json.loads(out) == {
        "banner": "SECRET//REL TO USA, GBR",
        "portion": "(S//REL TO USA, GBR)",
        "rules": [],
    }


def test_rollup_of_something_that_is_not_valid(capsys):
    code, out = run(capsys, "rollup", "--json", "(S//NF)", "(S//WHAT IS IT)")
    assert code == 1
    assert json.loads(out) == {"banner": None, "portion": None, "rules": ["not-in-register"]}
    assert run(capsys, "rollup", "(S//NF)", "(S//WHAT IS IT)")[0] == 1
