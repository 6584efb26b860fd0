"""What may come next is looked up in one step per token, and is what came there the last time."""

from __future__ import annotations

import random

import pytest

from govdesk.worker.lookup import KEY_TOKENS, MOST_FITTING, Lookup


def test_the_last_place_with_the_same_end_goes_on() -> None:
    lookup = Lookup([1, 2, 3, 4, 5, 9, 1, 2, 3, 7, 8, 1, 2, 3])
    assert lookup.fitting() == KEY_TOKENS
    assert lookup.draft(2) == [7, 8]
    lookup.add(4)
    assert lookup.fitting() == 4
    assert lookup.draft(9) == [5, 9, 1, 2, 3, 7, 8, 1, 2]


def test_nothing_is_found_in_what_never_repeats() -> None:
    lookup = Lookup(list(range(50)))
    assert lookup.fitting() == 0
    assert lookup.draft(5) == []
    assert Lookup([]).draft(5) == []
    assert Lookup([1, 1]).fitting() == 0


@pytest.mark.parametrize("seed", range(20))
def test_it_finds_what_a_search_finds(seed: int) -> None:
    chance = random.Random(seed)
    tokens = [chance.randrange(4) for _ in range(200)]
    lookup = Lookup(tokens[:100])
    for token in tokens[100:]:
        lookup.add(token)
    end = tokens[-KEY_TOKENS:]
    places = [n for n in range(KEY_TOKENS, len(tokens)) if tokens[n - KEY_TOKENS : n] == end]
    assert lookup.draft(5) == (tokens[places[-1] : places[-1] + 5] if places else [])
    fitting = 0
    while (
        places
        and fitting < min(MOST_FITTING, places[-1])
        and tokens[-1 - fitting] == tokens[places[-1] - 1 - fitting]
    ):
        fitting += 1
    assert lookup.fitting() == fitting


def test_a_token_costs_the_same_however_long_the_text_is() -> None:
    class Counted(list):  # type: ignore[type-arg]
        looked = 0

        def __getitem__(self, at):  # type: ignore[no-untyped-def]
            Counted.looked += 1
            return super().__getitem__(at)

    costs = []
    for length in (100, 10_000):
        lookup = Lookup([n % 50 for n in range(length)])
        lookup._tokens = Counted(lookup._tokens)
        Counted.looked = 0
        lookup.add(length % 50)
        lookup.fitting()
        lookup.draft(16)
        costs.append(Counted.looked)
    assert costs[0] == costs[1] <= 2 * MOST_FITTING + 4
