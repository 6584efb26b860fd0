"""Lock: by hand, when nobody is there, after a suspend; the window is blank then."""

import threading

import pytest
from PySide6.QtCore import QEvent, QPoint, Qt
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QApplication

from govdesk.session.state import LockReason
from tests.fakes import Clock, FakeDesk, policy


def test_lock_blanks_the_window_and_tells_the_desk_once(qtbot, enter, ask, desk):
    window = enter(desk)
    ask(window, "A question with words to hide")
    window.workspace.lock_button.click()
    window.lock()
    assert desk.calls.count("lock") == 1
    assert window.workspace is None
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    texts = [w.text() for w in window.findChildren(object) if hasattr(w, "text") and callable(w.text)]
    assert not any("words to hide" in str(text) for text in texts)


def test_lock_stops_a_running_turn_first(enter, ask, desk):
    window = enter(desk)
    desk.chat.script.wait_for = threading.Event()
    ask(window, "long", wait=False)
    window.lock()
    assert desk.chat.running == 0
    assert "lock" in desk.calls


def test_closing_stops_a_running_turn_first(enter, ask, desk):
    window = enter(desk)
    desk.chat.script.wait_for = threading.Event()
    ask(window, "long", wait=False)
    window.close()
    assert desk.chat.running == 0
    assert "lock" not in desk.calls


def test_nothing_locks_before_unlock(open_window, desk):
    window = open_window(desk)
    window.lock()
    assert "lock" not in desk.calls


def test_idle_time_locks(qtbot, enter):
    desk = FakeDesk(policy(idle_lock_seconds=1))
    window = enter(desk)
    qtbot.waitUntil(lambda: "lock" in desk.calls, timeout=4000)
    assert window.workspace is None


def move(widget):
    place = QPoint(1, 1)
    event = QMouseEvent(
        QEvent.Type.MouseMove,
        place,
        widget.mapToGlobal(place),
        Qt.MouseButton.NoButton,
        Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier,
    )
    QApplication.sendEvent(widget, event)


@pytest.fixture
def watched(qapp, enter):
    """An unlocked window whose idle time of 100 s goes by a clock that the test moves."""
    clock = Clock()
    desk = FakeDesk(policy(idle_lock_seconds=100), clock=clock)
    return enter(desk), desk, clock


def test_activity_starts_the_idle_time_again(watched):
    window, desk, clock = watched
    clock.now = 99
    move(window)
    clock.now = 198
    window.idle.look()
    assert "lock" not in desk.calls
    clock.now = 199
    window.idle.look()
    window.idle.look()
    assert desk.calls.count("lock") == 1
    assert desk.session.lock_reason is LockReason.IDLE


def test_the_first_move_after_a_suspend_does_not_save_the_session(watched):
    window, desk, clock = watched
    clock.now = 5000
    move(window)
    assert desk.calls.count("lock") == 1
    assert window.workspace is None
    assert desk.session.lock_reason is LockReason.IDLE


def test_a_second_start_brings_the_window_to_the_front(qtbot, open_window, desk):
    window = open_window(desk)
    window.showMinimized()
    thread = threading.Thread(target=desk.raise_window)
    thread.start()
    thread.join()
    qtbot.waitUntil(lambda: not window.isMinimized())
