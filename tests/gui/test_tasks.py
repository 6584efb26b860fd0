"""Slow work runs elsewhere, results arrive here, one ending each, no thread is left."""

import threading

from govdesk.errors import BugError, WrongPassphraseError
from govdesk.gui.tasks import InOrder, Tasks, unexpected


def test_events_arrive_in_order_on_the_gui_thread(qtbot):
    tasks, got, threads, done = Tasks(), [], set(), []

    def work():
        threads.add(threading.current_thread())
        yield from range(500)

    def event(value):
        assert threading.current_thread() is threading.main_thread()
        got.append(value)

    tasks.iterate(work, event, lambda: done.append(len(got)), done.append)
    qtbot.waitUntil(lambda: bool(done))
    assert got == list(range(500))
    assert done == [500]
    assert threading.main_thread() not in threads
    assert tasks.running == 0


def test_an_error_ends_the_task_once_after_its_events(qtbot):
    tasks, got = Tasks(), []

    def work():
        yield 1
        raise WrongPassphraseError("no")

    tasks.iterate(work, got.append, lambda: got.append("done"), got.append)
    qtbot.waitUntil(lambda: tasks.running == 0)
    assert got[0] == 1
    assert isinstance(got[1], WrongPassphraseError)
    assert len(got) == 2


def test_an_unforeseen_error_is_explained_without_its_message(qtbot):
    tasks, failed = Tasks(), []

    def work():
        raise ValueError("the prompt said: hunter2")

    tasks.call(work, lambda _: failed.append("done"), failed.append)
    qtbot.waitUntil(lambda: bool(failed))
    assert isinstance(failed[0], BugError)
    words = failed[0].explain()
    assert "hunter2" not in words
    assert "ValueError at" in words
    assert unexpected(KeyError("x")).explain()


def test_end_waits_and_delivers_nothing_more(qtbot):
    tasks, got, gate = Tasks(), [], threading.Event()

    def work():
        gate.wait(5)
        yield 1

    tasks.iterate(work, got.append, lambda: got.append("done"), got.append)
    assert not tasks.end(0.05)
    gate.set()
    assert tasks.end(5)
    qtbot.waitUntil(lambda: tasks.running == 0)
    assert got == []


def test_the_binding_counts_references_to_none(qtbot):
    """PySide6 6.12.0 under Python 3.11 loses one with each void call, and aborts thousands later (decision 0008)."""
    import sys

    from PySide6.QtCore import QObject

    thing = QObject()
    before = sys.getrefcount(None)
    for _ in range(1000):
        thing.setObjectName("x")
    assert abs(sys.getrefcount(None) - before) < 100


def test_a_later_state_is_never_overwritten_by_an_earlier_one():
    written = []
    in_order = InOrder()
    earlier = in_order.next(lambda: written.append("earlier") or "earlier")
    later = in_order.next(lambda: written.append("later") or "later")
    assert later() == "later"
    assert earlier() is None
    assert written == ["later"]
    assert in_order.next(lambda: written.append("latest") or "latest")() == "latest"
    assert written == ["later", "latest"]
