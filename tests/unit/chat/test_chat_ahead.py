"""What the window relies on in reading ahead: the fake that its tests use and the real one keep it alike."""

from __future__ import annotations

import threading

import pytest

from govdesk.domain.ids import ConversationId
from govdesk.domain.turn import Counted, Later
from govdesk.errors import UsageError, WorkerError
from tests.fakes import FakeAhead
from tests.security.test_nothing_reaches_the_model_early import Line


def real() -> object:
    return Line().ahead


def fake() -> object:
    made = FakeAhead()
    made.results = [Counted(12, 48)]
    return made


@pytest.fixture(params=[real, fake], ids=["real", "fake"])
def ahead(request):
    return request.param()


def test_it_says_what_was_counted_or_when_to_ask_again_or_nothing(ahead) -> None:
    assert ahead.read(None, "What is a port?") == Counted(12, 48)
    again = ahead.read(None, "What is a port? And a harbour?")
    assert again is None or (isinstance(again, Later) and again.seconds > 0)


def test_a_stop_is_always_allowed_from_any_thread_and_spoils_nothing(ahead) -> None:
    ahead.stop()
    thread = threading.Thread(target=ahead.stop)
    thread.start()
    thread.join(10)
    assert ahead.read(None, "What is a port?") == Counted(12, 48)


def test_what_fails_raises_an_error_that_explains_itself() -> None:
    line = Line()
    line.ahead._inference.read_ahead = _fail  # type: ignore[method-assign]
    with pytest.raises(WorkerError):
        line.ahead.read(None, "What is a port?")
    assert line.log.steps == ["draft.read intent", "draft.read failure"]
    assert line.log.entries[-1].fields["code"] == "worker.crashed"
    made = FakeAhead()
    made.problem = UsageError("no")
    with pytest.raises(UsageError):
        made.read(None, "What is a port?")


def _fail(*_: object) -> None:
    raise WorkerError("It crashed.", code="worker.crashed")


def test_a_draft_longer_than_any_context_is_left_for_the_sending() -> None:
    line = Line()
    assert line.ahead.read(None, "x" * 400_001) is None
    assert line.ahead.read(None, "") is None
    assert line.log.steps == []


def test_a_conversation_that_is_gone_is_on_record_as_a_failure() -> None:
    line = Line()
    line.store.problem = UsageError("gone", code="storage.no-conversation")
    with pytest.raises(UsageError):
        line.ahead.read(ConversationId("c9"), "")
    assert line.log.steps == ["draft.read intent", "draft.read failure"]
