"""What a model is given of a conversation."""

import pytest

from govdesk.domain.ids import TurnId
from govdesk.domain.turn import Length, Message, Outcome, Preset, Role, Sampling, remembered


def turn(name, answer, outcome):
    asked = Message(Role.USER, f"question {name}", TurnId(name), 1)
    return (asked, Message(Role.ASSISTANT, answer, TurnId(name), 1, outcome=outcome))


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.DENIED, Outcome.INTERRUPTED, Outcome.COMPLETED])
def test_a_turn_that_ended_without_an_answer_is_left_out_with_its_question(outcome):
    good = turn("a", "answer", Outcome.COMPLETED)
    running = turn("c", "", None)
    assert remembered((*good, *turn("b", "", outcome), *running)) == (*good, *running)


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.CANCELLED, Outcome.INTERRUPTED])
def test_what_came_of_an_answer_stays(outcome):
    messages = turn("a", "half an ans", outcome)
    assert remembered(messages) == messages


def test_presets_go_from_the_same_answer_again_to_a_free_one():
    precise, balanced, creative = (preset.sampling() for preset in Preset)
    assert precise.temperature == 0.0
    assert balanced == Sampling()
    assert precise.temperature < balanced.temperature < creative.temperature
    assert creative.min_p > 0.0


def test_a_record_holds_integers_of_a_sampling_and_nothing_of_a_grammar():
    numbers = Sampling(temperature=0.2, top_p=0.95, min_p=0.05, seed=7, grammar='root ::= "secret"').numbers()
    assert numbers == {
        "max_tokens": 512,
        "temperature_thousandths": 200,
        "top_p_thousandths": 950,
        "min_p_thousandths": 50,
        "top_k": 40,
        "repeat_penalty_thousandths": 1100,
        "grammar_characters": 17,
        "seed": 7,
    }
    assert "seed" not in Sampling().numbers()


def test_a_length_is_a_number_once_the_context_is_known():
    short, usual, long = (Sampling(length=length, seed=1) for length in Length)
    for sampling in (short, usual, long):
        assert "max_tokens" not in sampling.numbers()
        assert sampling.limited(8192).length is None
    assert [one.limited(8192).max_tokens for one in (short, usual, long)] == [256, 1024, 4096]
    assert [one.limited(2048).max_tokens for one in (short, usual, long)] == [256, 512, 1024]
    assert usual.limited(1_000_000).max_tokens == 4096
    given = Sampling(max_tokens=7)
    assert given.limited(8192) is given


@pytest.mark.parametrize(
    ("outcome", "text", "code", "whole"),
    [
        (Outcome.COMPLETED, "a", "end", True),
        (Outcome.COMPLETED, "a", "", True),
        (Outcome.COMPLETED, "a", "length", False),
        (Outcome.COMPLETED, "a", "loop", False),
        (Outcome.COMPLETED, "", "end", False),
        (Outcome.CANCELLED, "a", "cancelled", False),
    ],
)
def test_an_answer_is_whole_when_it_came_to_its_own_end(outcome, text, code, whole):
    message = Message(Role.ASSISTANT, text, TurnId("t"), 0, outcome=outcome, code=code)
    assert message.is_whole is whole
