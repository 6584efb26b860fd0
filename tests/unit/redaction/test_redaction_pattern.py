import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govdesk.redaction.pattern import PatternError, compile_pattern


@pytest.mark.parametrize(
    "source",
    ["a*", "a+", "a{2,}", ".x", "(a)", "(?P<name>a)", "a)", "(?:a", "a{0,2}", "(?:a|)", "a{3}?", "a{1,9999}",
     "(?=ab)c", "(?<=abca)c", "(?!a{2})c", "a{3,2}", r"a\1", "(?i:a)", "", "^", "?", "[a"],
)  # fmt: skip
def test_what_is_unbounded_or_outside_the_language_is_refused(source: str) -> None:
    with pytest.raises(PatternError):
        compile_pattern(source)


def test_lengths_are_computed() -> None:
    pattern = compile_pattern("a(?:bc|d{2,5}){1,3}e?", left="x")
    assert (pattern.shortest, pattern.longest) == (3, 17)


SOURCES = [
    ("ab{1,3}c", "", ""), ("(?:ab|abc)d", "x", "y"), (r"a{2,4}\bb?", "", "a"), ("^a[bc]{1,2}$", "", ""), ("(?:a?b){2,3}c", "a", "c"),
    ("a(?!b)[a-c]{1,2}(?<!c)", "", ""), ("(?:a|b{1,2}(?:c|ab)){1,2}", "c", "a"), ("(?P<span>a|ab)(?:c|bc)", "", ""), (r"\Bab", "", ""), ("b(?<![ac][xy]b)a{1,2}", "", ""), ("(?P<span>a{1,3})(?:b(?!a)|(?![ab]))", "", ""),
]  # fmt: skip


@pytest.mark.parametrize(("source", "left", "right"), SOURCES)
@settings(max_examples=300, deadline=None)
@given(head=st.text("abcxy \n", max_size=8), tail=st.text("abcxy \n", max_size=6))
def test_where_the_prefix_does_not_match_nothing_that_follows_changes_the_outcome(
    source: str, left: str, right: str, head: str, tail: str
) -> None:
    pattern = compile_pattern(source, left, right)
    for place in range(len(head)):
        if pattern.prefix.match(head, place):
            continue
        now, later = pattern.search.match(head, place), pattern.search.match(head + tail, place)
        assert (now and now.span()) == (later and later.span())


@pytest.mark.parametrize(("source", "left", "right"), SOURCES)
@settings(max_examples=200, deadline=None)
@given(text=st.text("abcxy \n", max_size=12))
def test_the_prefix_matches_at_every_cut_of_every_match(
    source: str, left: str, right: str, text: str
) -> None:
    pattern = compile_pattern(source, left, right)
    for place in range(len(text)):
        match = pattern.search.match(text, place)
        for cut in range(place + 1, match.end() + 1 if match else 0):
            assert pattern.prefix.match(text[:cut], place)
