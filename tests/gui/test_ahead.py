"""Reading ahead is asked for after a pause, a paste and an opening; never on the GUI thread, never in the way."""

import threading

import pytest
from PySide6.QtCore import QMimeData

from govdesk.domain.turn import Counted, Later, Role
from govdesk.errors import AuditClosedError
from govdesk.gui import ahead_reader
from govdesk.gui.composer import LARGE_PASTE_CHARACTERS
from tests.fakes import Script


@pytest.fixture(autouse=True)
def short_pause(monkeypatch):
    monkeypatch.setattr(ahead_reader, "PAUSE_MS", 20)


def paste(window, text):
    data = QMimeData()
    data.setText(text)
    window.workspace.page.composer.box.insertFromMimeData(data)


def quiet(qtbot, window):
    qtbot.wait(60)
    qtbot.waitUntil(lambda: window.tasks.running == 0)


def test_a_pause_in_typing_is_read_once(qtbot, enter, desk):
    window = enter(desk)
    for text in ("W", "Wh", "What is a port?"):
        window.workspace.page.composer.box.setPlainText(text)
    qtbot.waitUntil(lambda: desk.ahead.reads == [(None, "What is a port?")])
    quiet(qtbot, window)
    assert desk.ahead.reads == [(None, "What is a port?")]
    assert desk.ahead.threads == {"govdesk-task"}
    assert desk.chat.prompts == []


@pytest.mark.parametrize("size", [100, LARGE_PASTE_CHARACTERS + 1])
def test_a_paste_is_read_without_the_pause(qtbot, enter, desk, monkeypatch, size):
    window = enter(desk)
    quiet(qtbot, window)
    monkeypatch.setattr(ahead_reader, "PAUSE_MS", 60_000)
    paste(window, "x" * size)
    qtbot.waitUntil(lambda: desk.ahead.reads == [(None, "x" * size)])


def test_an_opened_conversation_is_read(qtbot, enter, desk):
    identity = desk.store.put("Ports", [(Role.USER, "a"), (Role.ASSISTANT, "b")])
    window = enter(desk)
    quiet(qtbot, window)
    assert desk.ahead.reads == []  # an empty page has nothing to read
    window.workspace.page.open(identity)
    qtbot.waitUntil(lambda: desk.ahead.reads == [(identity, "")])
    quiet(qtbot, window)
    assert desk.ahead.reads == [(identity, "")]


def test_text_that_turns_out_wrong_stops_it_and_text_that_goes_on_does_not(qtbot, enter, desk):
    window = enter(desk)
    box = window.workspace.page.composer.box
    desk.ahead.gate = threading.Event()
    box.setPlainText("What is a port")
    qtbot.waitUntil(lambda: len(desk.ahead.reads) == 1)
    stops = desk.ahead.stops
    box.appendPlainText("and a harbour?")
    assert desk.ahead.stops == stops
    box.setPlainText("Something else")
    assert desk.ahead.stops > stops
    qtbot.waitUntil(lambda: desk.ahead.reads[-1:] == [(None, "Something else")])
    quiet(qtbot, window)


def test_another_conversation_stops_it(qtbot, enter, desk):
    identity = desk.store.put("Ports", [(Role.USER, "a"), (Role.ASSISTANT, "b")])
    window = enter(desk)
    desk.ahead.gate = threading.Event()
    window.workspace.page.composer.box.setPlainText("What")
    qtbot.waitUntil(lambda: desk.ahead.reads == [(None, "What")])
    before = desk.ahead.stops
    window.workspace.page.open(identity)
    qtbot.waitUntil(lambda: desk.ahead.stops > before)
    qtbot.waitUntil(lambda: desk.ahead.reads[-1:] == [(identity, "What")])
    quiet(qtbot, window)


def test_leaving_stops_it(qtbot, enter, desk):
    window = enter(desk)
    window.workspace.leave()
    assert desk.ahead.stops == 1
    qtbot.waitUntil(lambda: window.tasks.running == 0)


def test_nothing_is_read_while_an_answer_comes_and_what_was_written_is_read_after(qtbot, enter, desk, ask):
    window = enter(desk)
    gate = threading.Event()
    desk.chat.script = Script(wait_for=gate)
    page = ask(window, "First", wait=False)
    qtbot.waitUntil(lambda: page.composer.prompt == "")
    reads = len(desk.ahead.reads)
    page.composer.box.setPlainText("Second")
    qtbot.wait(80)
    assert len(desk.ahead.reads) == reads
    gate.set()
    qtbot.waitUntil(lambda: not page.running)
    qtbot.waitUntil(lambda: desk.ahead.reads[-1:] == [(page.shown, "Second")])
    quiet(qtbot, window)


def test_the_meter_is_exact_once_it_was_counted_and_says_how_much_too_long(qtbot, enter, desk):
    window = enter(desk)
    composer = window.workspace.page.composer
    desk.ahead.results = [Counted(1234, 7936), Counted(8000, 7936)]
    composer.box.setPlainText("What is a port?")
    assert "estimate" in composer.meter_words.text()
    qtbot.waitUntil(lambda: composer.meter_words.text() == "context 1,234 of 8,192 tokens")
    composer.box.setPlainText("What is a port? More.")
    assert "estimate" in composer.meter_words.text()
    qtbot.waitUntil(lambda: composer.meter_words.text() == "context 8,000 of 8,192 tokens")
    assert composer.why_not.text().startswith("This is 64 tokens too long for the model.")
    assert composer.send_button.isEnabled()
    quiet(qtbot, window)


def test_what_comes_too_soon_is_read_later(qtbot, enter, desk):
    window = enter(desk)
    desk.ahead.results = [Later(0.03)]
    window.workspace.page.composer.box.setPlainText("What is a port?")
    qtbot.waitUntil(lambda: desk.ahead.reads == [(None, "What is a port?")] * 2)
    quiet(qtbot, window)


def test_a_failure_is_quiet_and_not_tried_again_until_something_changes(qtbot, enter, desk):
    window = enter(desk)
    desk.ahead.problem = AuditClosedError("closed")
    page = window.workspace.page
    page.composer.box.setPlainText("What is a port?")
    qtbot.waitUntil(lambda: len(desk.ahead.reads) == 1)
    quiet(qtbot, window)
    assert len(desk.ahead.reads) == 1
    assert page.composer.why_not.text() == ""
    assert page.transcript.views == ()
    page.composer.box.setPlainText("What is a harbour?")
    qtbot.waitUntil(lambda: len(desk.ahead.reads) == 2)
    quiet(qtbot, window)
