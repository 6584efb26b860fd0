import pytest
from hypothesis import given
from hypothesis import strategies as st

from govdesk.redaction.fold import OffsetMap, fold, fold_character


@pytest.mark.parametrize(
    ("given_text", "folded"),
    [
        ("plain ASCII ~\t\r\n", "plain ASCII ~\t\r\n"),
        ("99-99\x0099\x1b[\x7f", "99-9999["),
        ("page\x0cpage\x0bline", "page\npage\nline"),
        ("192。0｡2.7", "192.0.2.7"),
        ("219·09•9999", "219-09-9999"),
        ("ՏEСRЕT ᏚᎬᏟᎡᎬᎢ", "SECRET SECRET"),
        ("１２３－４５", "123-45"),
        ("٣٤५๖", "3456"),
        ("𝟏𝟚𝓢𝐒①⑴²", "12SS112"),
        ("–—‑−﹣", "-----"),
        ("a\u00a0b\u2009c\u3000d", "a b c d"),
        ("ЅЕСRЕТ ΤΟΡ", "SECRET TOP"),
        ("a\u200bb\u00adc\u2060d\U000e0041e\ufe0ff\u202eg", "abcdefg"),
        ("e\u0301é", "ee"),
        ("x＠y．z", "x@y.z"),
        ("漢字 مرحبا", "漢字 مرحبا"),
        ("a\u2028b", "a\nb"),
    ],
)
def test_what_looks_alike_folds_alike(given_text: str, folded: str) -> None:
    assert fold(given_text)[0] == folded


@given(st.text(), st.text())
def test_the_fold_never_depends_on_neighbours(one: str, other: str) -> None:
    assert fold(one)[0] + fold(other)[0] == fold(one + other)[0]
    assert fold(one)[0] == "".join(fold_character(character) or "" for character in one)


@given(st.text(alphabet=st.sampled_from("a1-é\u200b\u0301😀\u00ad１")))
def test_offsets_lead_back_to_the_character_that_was_folded(text: str) -> None:
    folded, drops = fold(text)
    offsets = OffsetMap(drops)
    for place, character in enumerate(folded):
        assert fold_character(text[offsets.given(place)]) == character
    forgetful = OffsetMap()
    forgetful.extend(0, drops)
    for place in range(len(folded)):
        forgetful.forget(place)
        assert forgetful.given(place) == offsets.given(place)


@given(st.text())
def test_lower_case_never_changes_the_length_of_a_folded_text(text: str) -> None:
    folded, _ = fold(text)
    assert len(folded.lower()) == len(folded)
    assert "".join(character.lower() for character in folded) == folded.lower()


def test_spans_grow_over_what_was_dropped_before_them() -> None:
    folded, drops = fold("a \u200b\u200b1\u200b2 b")
    offsets = OffsetMap(drops)
    assert offsets.span_start(folded.index("1")) == 2
    assert offsets.given(folded.index(" b")) == 7
