"""What a model is given of a conversation."""

import pytest

from govdesk.domain.ids import TurnId
from govdesk.domain.turn import Message, Outcome, Role, remembered


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
