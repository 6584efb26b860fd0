import pytest

from govdesk.errors import MarkingError
from govdesk.marking.spillage import exceeds


@pytest.mark.parametrize(
    ("text", "unclassified", "secret", "secret_noforn", "top_secret", "released"),
    [
        ("(U)", False, False, False, False, False),
        ("UNCLASSIFIED", False, False, False, False, False),
        ("UNCLASSIFIED//FOUO", True, False, False, False, False),
        ("CUI", True, False, False, False, False),
        ("(C)", True, False, False, False, True),
        ("(S//NF)", True, True, False, False, True),
        ("SECRET//NF", True, True, False, False, True),
        ("secret // noforn", True, True, False, False, True),
        ("(S//REL TO USA, GBR)", True, False, False, False, True),
        ("(S//REL TO USA, FVEY, JPN)", True, False, False, False, False),
        ("(//GBR S)", True, False, False, False, True),
        ("(//NS)", True, True, True, True, True),
        ("(S//RS/NF)", True, True, False, False, True),
        ("TOP SECRET//SI//NOFORN", True, True, True, False, True),
        ("TOP SECRET//HCS-P//NOFORN", True, True, True, True, True),
        ("TOP SECRET//SAR-BP//NOFORN", True, True, True, True, True),
        ("(S//RD//NF)", True, True, True, True, True),
        ("(TS//UNKNOWN WORD//NF)", True, True, True, False, True),
        ("TOP SECRET - UNKNOWN WORD", True, True, True, False, True),
        ("Cosmic Top Secret!", True, True, True, False, True),
        ("nothing of the kind", False, False, False, False, False),
        ("", False, False, False, False, False),
    ],
)
def test_exceeds(text, unclassified, secret, secret_noforn, top_secret, released):
    highs = (
        "UNCLASSIFIED",
        "SECRET",
        "SECRET//NOFORN",
        "TOP SECRET//SI/TK//NOFORN",
        "SECRET//REL TO USA, FVEY",
    )
    found = tuple(exceeds(text, high) for high in highs)
    assert found == (unclassified, secret, secret_noforn, top_secret, released)


def test_a_system_high_that_is_no_marking_is_said():
    with pytest.raises(MarkingError):
        exceeds("(S)", "SECRIT")
