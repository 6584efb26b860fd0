"""A half-written text shows as what it becomes, and loses no letter."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govdesk.gui.half_written import as_if_ended


@pytest.mark.parametrize(
    ("so_far", "shown"),
    [
        ("3. *", ""),
        ("a\n3. *", "a"),
        ("a **", "a"),
        ("a **b", "a **b**"),
        ("a **b*", "a **b**"),
        ("a `b *", "a `b *`"),
        ("2 * 3", "2 * 3"),
        ("snake_case", "snake_case"),
        (r"\*a", r"\*a"),
        ("```\na **b", "```\na **b"),
        ("```\na\n``", "```\na\n"),
    ],
)
def test_a_half_written_text_is_shown_as_what_it_becomes(so_far, shown):
    assert as_if_ended(so_far) == shown


@given(st.text(alphabet="ab12. \n*_`-#>~|\\(", max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_half_written_text_keeps_its_letters(text):
    shown = as_if_ended(text)
    assert [c for c in shown if c in "ab"] == [c for c in text if c in "ab"]
