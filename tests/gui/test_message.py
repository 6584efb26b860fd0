"""What stands under and above a message: how it ended, who answered, and a copy with its marking."""

import threading

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

from tests.fakes import Script


def note(view):
    return view.note.text() if view.note.isVisibleTo(view) else ""


def test_an_answer_that_was_cut_says_so_live_and_after_reopening(qtbot, enter, ask, desk):
    window = enter(desk)
    cut = (
        "The answer reached its limit of 20 tokens and stops here. Ask it to go on, or allow a longer answer."
    )
    desk.chat.script = Script(explanation=cut, code="length")
    page = ask(window, "x")
    assert note(page.transcript.views[-1]) == cut
    page.open(page.shown)
    qtbot.waitUntil(lambda: window.tasks.running == 0)
    assert note(page.transcript.views[-1]) == cut


def test_which_model_answered_is_there_after_reopening(qtbot, enter, ask, desk):
    window = enter(desk)
    page = ask(window, "x")
    live = page.transcript.views[-1].details.text()
    assert live.startswith("SmolLM2-135M-Instruct Q8_0 · ")
    page.open(page.shown)
    qtbot.waitUntil(lambda: window.tasks.running == 0)
    assert page.transcript.views[-1].details.text() == live


def test_a_message_is_copied_by_key_with_its_marking(qtbot, enter, ask, desk):
    window = enter(desk)
    desk.chat.script = Script(answer=("**Bold** \u202e",))
    page = ask(window, "x")
    for view, text in zip(page.transcript.views, ("x", "**Bold** ⟨U+202E⟩"), strict=True):
        QApplication.clipboard().clear()
        assert view.copy.focusPolicy() == Qt.FocusPolicy.StrongFocus
        assert "Copy this message" in view.copy.accessibleName()
        view.copy.setFocus()
        qtbot.keyClick(view.copy, Qt.Key.Key_Return)
        assert QApplication.clipboard().text() == f"UNCLASSIFIED\n\n{text}"
        assert view.copy.text() == "Copied"


def test_an_answer_that_still_comes_cannot_be_copied_without_its_marking(qtbot, enter, ask, desk):
    window = enter(desk)
    desk.chat.script = Script(answer=("part",), wait_for=threading.Event())
    page = ask(window, "x", wait=False)
    qtbot.waitUntil(lambda: page._running is not None and bool(page._running.parts))
    assert not page.transcript.views[-1].copy.isVisibleTo(page)
    page.stop()
    qtbot.waitUntil(lambda: not page.running and window.tasks.running == 0)
    assert page.transcript.views[-1].copy.isVisible()
