"""A model that loops is noticed, however its text is cut up; what only looks like it is not."""

from __future__ import annotations

import random

import pytest

from govdesk.inference.repetition import MAX_PHRASE_CHARACTERS, MIN_CHARACTERS, MIN_TIMES, Repetition

PROSE = " ".join(
    f"In year {year} the harbour took {year * 7 % 91} ships of grain." for year in range(1800, 1950)
)


def _fed(text: str, piece: int = 7) -> int | None:
    """After how many characters it was noticed."""
    watch = Repetition()
    for start in range(0, len(text), piece):
        if watch.feed(text[start : start + piece]):
            return start + piece
    return None


@pytest.mark.parametrize(
    "phrase", ["a", "0, ", "The harbour is quiet. ", "\n", "| 1 | 2 |\n", "é𝄞", "x" * 39 + "y"]
)
@pytest.mark.parametrize("piece", [1, 7, 64, 5000])
def test_a_loop_is_noticed(phrase: str, piece: int) -> None:
    text = PROSE + phrase * (2 * max(MIN_TIMES, MIN_CHARACTERS // len(phrase)))
    found = _fed(text, piece)
    assert found is not None
    assert found <= len(PROSE) + max(MIN_CHARACTERS, MIN_TIMES * len(phrase)) + piece + len(phrase)


def test_a_loop_of_the_longest_phrase_is_noticed_and_of_a_longer_one_is_not() -> None:
    words = random.Random(7)
    longest = "".join(words.choice("abcdefgh ") for _ in range(MAX_PHRASE_CHARACTERS))
    assert _fed(longest * (MIN_TIMES + 1)) is not None
    assert _fed((longest + "!") * (MIN_TIMES + 1)) is None


@pytest.mark.parametrize(
    "text",
    [
        PROSE,
        "-" * 300 + PROSE,
        "\n".join(f"| {row} | 0 | 0 | 0 | 0 |" for row in range(200)),
        "Again and again. " * (MIN_TIMES - 1) + PROSE,
        "".join(f"{number} " for number in range(2000)),
        "".join(f"{PROSE[row * 31 : row * 31 + 60]}, as in every row of this table.\n" for row in range(100)),
        PROSE[:300] * (MIN_TIMES - 1),
        "",
    ],
)
def test_what_is_no_loop(text: str) -> None:
    assert _fed(text) is None


def test_a_loop_that_ends_before_it_is_long_is_none() -> None:
    watch = Repetition()
    assert not watch.feed("ab" * (MIN_CHARACTERS // 2 - 1))
    assert not watch.feed(" and so on; ")
    assert not watch.feed(PROSE)
