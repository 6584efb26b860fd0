"""Thinking is closed, named and counted; it opens by key, streams while open, and is there after re-opening."""

import threading

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

from govdesk.chat.endings import THOUGHT_CUT, ending_words
from govdesk.domain.turn import Outcome, Thinking, Usage
from govdesk.gui import theme, thinking
from govdesk.gui.thinking import ThinkingPanel
from tests.fakes import MODEL, Script, finding

THOUGHTS = ("First I look ", "at **both** sides.")


def panel_of(page):
    views = page.transcript.views
    return views[-1].thinking if views else None


def shown(panel):
    return panel.body.toPlainText() if panel.body.isVisibleTo(panel) else ""


def test_it_is_closed_and_opens_by_key(qtbot, enter, ask, desk):
    window = enter(desk)
    desk.chat.script = Script(thinking=THOUGHTS)
    page = ask(window, "x")
    view, panel = page.transcript.views[-1], panel_of(page)
    assert view.body.toPlainText() == "Hello there."
    assert panel.isVisibleTo(view) and shown(panel) == ""
    assert panel.toggle.text() == "▸ Thinking (12 s)"
    assert panel.toggle.accessibleName() == "Thinking, 12 seconds in all: show"
    assert panel.toggle.focusPolicy() == Qt.FocusPolicy.StrongFocus
    panel.toggle.setFocus()
    for key in (Qt.Key.Key_Return, Qt.Key.Key_Space):
        qtbot.keyClick(panel.toggle, key)
        assert shown(panel) == "First I look at both sides."
        assert panel.toggle.text() == "▾ Thinking (12 s)"
        assert panel.toggle.accessibleName().endswith(": hide")
        assert panel.body.accessibleName() == "GovDesk, thinking"
        qtbot.keyClick(panel.toggle, key)
        assert shown(panel) == ""


def test_it_stands_above_the_answer(qtbot, enter, ask, desk):
    window = enter(desk)
    desk.chat.script = Script(thinking=THOUGHTS)
    page = ask(window, "x")
    view = page.transcript.views[-1]
    view.thinking.toggle.click()
    qtbot.waitUntil(lambda: view.thinking.y() + view.thinking.height() <= view.body.y())
    assert view.thinking.y() > 0


def test_an_answer_without_it_says_nothing_of_it(enter, ask, desk):
    page = ask(enter(desk), "x")
    assert panel_of(page) is None


def test_it_is_there_after_reopening(qtbot, enter, ask, desk):
    window = enter(desk)
    desk.chat.script = Script(thinking=THOUGHTS, thinking_findings=(finding("US_SSN"),))
    page = ask(window, "x")
    page.open(page.shown)
    qtbot.waitUntil(lambda: window.tasks.running == 0)
    panel = panel_of(page)
    assert panel.toggle.text() == "▸ Thinking (12 s)" and shown(panel) == ""
    panel.toggle.click()
    assert shown(panel) == "First I look at both sides."
    asked = []
    page.why.connect(asked.append)
    assert panel.chip.isVisibleTo(panel) and "US_SSN" in panel.chip.accessibleName()
    panel.chip.click()
    assert asked == [(finding("US_SSN"),)]


@pytest.mark.parametrize("opened", [False, True])
def test_it_streams_while_it_is_open_and_costs_nothing_while_it_is_not(
    qtbot, enter, ask, desk, opened, monkeypatch
):
    rendered = []
    original = thinking.LiveText.feed
    monkeypatch.setattr(
        thinking.LiveText, "feed", lambda self, text: (rendered.append(text), original(self, text))
    )
    window = enter(desk)
    gate = threading.Event()
    desk.chat.script = Script(thinking=("One. ", "Two. "), answer=(), wait_for=gate, explanation="…")
    page = ask(window, "x", wait=False)
    qtbot.waitUntil(lambda: panel_of(page) is not None and panel_of(page).text == "One. Two. ")
    panel, view = panel_of(page), page.transcript.views[-1]
    assert panel.toggle.text() == "▸ Thinking… (0 s)"
    assert panel.toggle.accessibleName() == "Thinking, 0 seconds so far: show"
    assert not view.status.isVisible() and not view.progress.isVisible()
    assert rendered == []
    if opened:
        panel.toggle.click()
        qtbot.waitUntil(lambda: shown(panel) == "One. Two.")
        view.think("Three.", 0.0)
        qtbot.waitUntil(lambda: shown(panel) == "One. Two. Three.")
    gate.set()
    qtbot.waitUntil(lambda: not page.running)
    assert panel.toggle.isChecked() is opened
    assert panel.toggle.text() == f"{'▾' if opened else '▸'} Thinking (12 s)"
    assert shown(panel) == ("One. Two." if opened else ""), "what was stored is what counts"
    assert rendered == ([] if not opened else ["One. Two. ", "Three."])


def test_it_is_over_when_the_answer_begins(qtbot, enter, ask, desk):
    window = enter(desk)
    gate = threading.Event()
    desk.chat.script = Script(thinking=("One. ",), answer=("Answer.",), wait_for=gate)
    page = ask(window, "x", wait=False)
    qtbot.waitUntil(lambda: page._running is not None and page._running.parts == ["Answer."])
    assert panel_of(page).toggle.text() == "▸ Thinking (0 s)"
    gate.set()
    qtbot.waitUntil(lambda: not page.running)


def test_a_conversation_that_is_reopened_while_the_model_thinks_has_all_of_it(qtbot, enter, ask, desk):
    window = enter(desk)
    gate = threading.Event()
    desk.chat.script = Script(thinking=("One. ", "Two. "), answer=(), wait_for=gate, explanation="…")
    page = ask(window, "x", wait=False)
    qtbot.waitUntil(lambda: page._running is not None and len(page._running.thoughts) == 2)
    page.open(page.shown)
    qtbot.waitUntil(lambda: panel_of(page) is not None and panel_of(page).text == "One. Two. ")
    gate.set()
    qtbot.waitUntil(lambda: not page.running)


def test_only_the_answer_is_copied_and_spoken(qtbot, enter, ask, desk):
    window = enter(desk)
    desk.chat.script = Script(thinking=THOUGHTS, answer=("Answer.",))
    page = ask(window, "x")
    page.transcript.views[-1].copy.click()
    assert QApplication.clipboard().text() == "UNCLASSIFIED\n\nAnswer."


def test_a_model_that_only_thought_says_so_live_and_after_reopening(qtbot, enter, ask, desk):
    window = enter(desk)
    said = ending_words(THOUGHT_CUT, MODEL, Usage(40, 40, 20, 0.4, 1.0))
    desk.chat.script = Script(thinking=THOUGHTS, answer=(), code=THOUGHT_CUT, explanation=said)
    page = ask(window, "x")
    for _ in range(2):
        view = page.transcript.views[-1]
        assert view.note.isVisibleTo(view) and view.note.text() == said and "20 tokens" in said
        assert view.thinking.isVisibleTo(view)
        page.open(page.shown)
        qtbot.waitUntil(lambda: window.tasks.running == 0)


def test_long_thinking_is_shown_in_steps(qtbot):
    panel = ThinkingPanel(theme.LIGHT)
    qtbot.addWidget(panel)
    panel.show()
    text = "word " * (thinking.SHOWN_CHARACTERS // 4)
    panel.end(Thinking(text, (), 1.2))
    assert panel.toggle.accessibleName() == "Thinking, 1 second in all: show"
    panel.toggle.click()
    assert len(shown(panel)) <= thinking.SHOWN_CHARACTERS and panel.more.isVisible()
    panel.more.click()
    assert len(shown(panel)) >= len(text) - 1 and not panel.more.isVisible()
    panel.toggle.click()
    assert not panel.more.isVisible()


def test_stopped_in_it_keeps_it(qtbot, enter, ask, desk):
    window = enter(desk)
    gate = threading.Event()
    desk.chat.script = Script(thinking=("One. ",), answer=(), wait_for=gate)
    page = ask(window, "x", wait=False)
    qtbot.waitUntil(lambda: page._running is not None and page._running.thoughts == ["One. "])
    page.stop()
    qtbot.waitUntil(lambda: not page.running)
    assert panel_of(page).text == "One. "
    assert desk.store.messages(page.shown)[-1].outcome is Outcome.CANCELLED
