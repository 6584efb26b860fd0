"""Stop counts from the first moment: what is stopped before the model was asked never reaches it."""

from __future__ import annotations

import pytest

from govdesk.domain.record import Entry, Event
from govdesk.domain.turn import Ended, ModelInfo, Outcome
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
