"""What a model is given of a conversation."""

import pytest

from govdesk.domain.ids import TurnId
from govdesk.domain.turn import Message, Outcome, Preset, Role, Sampling, remembered


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
