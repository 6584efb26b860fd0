"""Stop counts from the first moment: what is stopped before the model was asked never reaches it."""

from __future__ import annotations

import pytest

from govdesk.domain.ids import TurnId
from govdesk.domain.inference import Count
from govdesk.domain.record import Entry, Event
from govdesk.domain.turn import Ended, ModelInfo, Outcome
from govdesk.errors import ModelError
from tests.unit.chat.test_chat_service import MODEL, Line


def test_stopped_before_the_model_is_loaded() -> None:
    line = Line()
    append = line.audit.append

    def stop_at_the_intent(entry: Entry):
        if entry.event is Event.TURN_INTENT:
            line.chat.cancel()
        return append(entry)

    line.audit.append = stop_at_the_intent  # type: ignore[method-assign]
    line.inference.model = lambda: pytest.fail("the model was loaded")  # type: ignore[method-assign]
    ended = line.run()[-1]
    assert isinstance(ended, Ended) and ended.outcome is Outcome.CANCELLED
    assert "inference" not in line.log.steps
    assert line.audit.outcomes() == ["cancelled"]


def test_stopped_while_the_model_is_loaded() -> None:
    line = Line()

    def load() -> ModelInfo:
        line.chat.cancel()
        return MODEL

    line.inference.model = load  # type: ignore[method-assign]
    ended = line.run()[-1]
    assert isinstance(ended, Ended) and ended.outcome is Outcome.CANCELLED
    assert "inference" not in line.log.steps
    assert line.audit.outcomes() == ["cancelled"]


def test_the_next_turn_is_not_stopped() -> None:
    line = Line()
    line.chat.cancel()
    line.inference.cancelled = False
    ended = line.run()[-1]
    assert isinstance(ended, Ended) and ended.outcome is Outcome.COMPLETED


def test_stopped_while_it_is_counted_the_question_is_not_put_and_nothing_is_stored() -> None:
    line = Line()
    counts = []

    def count(turn: TurnId, history: object) -> Count:
        counts.append(history)
        line.chat.cancel()
        return Count(10**6)

    line.inference.count = count  # type: ignore[attr-defined]
    events = list(line.chat.run_turn(None, "word " * 20_000))
    (ended,) = events
    assert isinstance(ended, Ended) and ended.outcome is Outcome.CANCELLED and ended.code == "cancelled"
    assert len(counts) == 1
    assert "store prompt" not in line.log.steps and "inference" not in line.log.steps
    assert line.audit.outcomes() == ["cancelled"]


def test_a_model_that_cannot_be_loaded_is_tried_once() -> None:
    line = Line()
    tries = []

    def load() -> ModelInfo:
        tries.append(1)
        raise ModelError("The model file is missing.", code="model.missing")

    line.inference.model = load  # type: ignore[method-assign]
    ended = line.run()[-1]
    assert isinstance(ended, Ended)
    assert (ended.outcome, ended.code) == (Outcome.FAILED, "model.missing")
    assert len(tries) == 1
    assert line.log.steps.index("turn.intent") < line.log.steps.index("store prompt")
    assert line.store.codes[ended.turn] == "model.missing"
