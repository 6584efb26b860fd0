"""The message box: what is written is what is sent, and what it costs is said before."""

import threading

import pytest
from PySide6.QtCore import QMimeData, Qt, QUrl

from govdesk.domain.policy import MAX_PROMPT_CHARACTERS
from govdesk.domain.turn import Outcome
from govdesk.errors import WorkerError
from govdesk.gui.composer import LARGE_PASTE_CHARACTERS
from govdesk.gui.estimate import estimated_tokens
from govdesk.gui.message import SHOWN_CHARACTERS
from tests.fakes import DENY, FakeDesk, Script


def test_enter_sends_and_shift_enter_makes_a_line(qtbot, enter, desk):
    window = enter(desk)
    page = window.workspace.page
    box = page.composer.box
    qtbot.keyClicks(box, "one")
    qtbot.keyClick(box, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    qtbot.keyClicks(box, "two")
    assert box.toPlainText() == "one\ntwo"
    before = box.height()
    for _ in range(4):
        qtbot.keyClick(box, Qt.Key.Key_Return, Qt.KeyboardModifier.ShiftModifier)
    assert box.height() > before
    qtbot.keyClick(box, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: not page.running and window.tasks.running == 0)
    assert desk.chat.prompts == ["one\ntwo\n\n\n\n"]


def test_nothing_is_sent_when_there_are_no_words(qtbot, enter, desk):
    window = enter(desk)
    box = window.workspace.page.composer.box
    qtbot.keyClick(box, Qt.Key.Key_Return)
    box.setPlainText("   \n ")
    qtbot.keyClick(box, Qt.Key.Key_Return)
    assert not window.workspace.page.running


def test_the_longest_prompt_is_kept_beside_the_box_and_sent_whole(qtbot, enter, desk):
    window = enter(desk)
    page = window.workspace.page
    typed = "Summarise:"
    text = ("word " * 400_000)[len(typed) + 2 :]  # both with an empty line between: just what policy lets by
    data = QMimeData()
    data.setText(text)
    qtbot.keyClicks(page.composer.box, typed)
    page.composer.box.insertFromMimeData(data)
    window.grab()
    assert len(page.composer.prompt) == MAX_PROMPT_CHARACTERS
    assert page.composer.box.toPlainText() == "Summarise:"
    assert "1,999,988 characters" in page.composer.paste_words.text()
    assert "probably too long" in page.composer.why_not.text()
    assert "choose" not in page.composer.why_not.text()  # it is too long alone
    page.composer.send_button.click()
    qtbot.waitUntil(lambda: not page.running and window.tasks.running == 0)
    assert desk.chat.prompts == ["Summarise:\n\n" + text]
    view = page.transcript.views[0]
    assert len(view.body.document().toPlainText()) == SHOWN_CHARACTERS
    assert "more" in view.more.text()
    view.more.click()
    assert len(view.body.document().toPlainText()) == 2 * SHOWN_CHARACTERS
    assert not page.composer.paste_row.isVisible()


def test_a_prompt_that_policy_would_refuse_for_its_length_is_not_sent(qtbot, enter, desk):
    window = enter(desk)
    composer = window.workspace.page.composer
    data = QMimeData()
    data.setText("x" * MAX_PROMPT_CHARACTERS)
    composer.box.insertFromMimeData(data)
    assert composer.send_button.isEnabled()
    qtbot.keyClicks(composer.box, "y")
    assert not composer.send_button.isEnabled()
    assert "2,000,003 characters" in composer.why_not.text()
    qtbot.keyClick(composer.box, Qt.Key.Key_Return)
    assert not window.workspace.page.running
    assert desk.chat.prompts == []


def test_a_paste_can_be_removed_and_one_that_is_too_large_is_refused(qtbot, enter, desk):
    window = enter(desk)
    composer = window.workspace.page.composer
    composer.box.large_paste.emit("x" * (LARGE_PASTE_CHARACTERS + 1))
    assert composer.prompt
    composer.drop_paste.click()
    assert composer.prompt == ""
    composer.box.large_paste.emit("x" * (MAX_PROMPT_CHARACTERS + 1))
    assert "Nothing of that paste was taken" in composer.why_not.text()
    assert composer.prompt == ""


def test_a_dropped_file_is_not_read(enter, desk, tmp_path):
    box = enter(desk).workspace.page.composer.box
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(tmp_path / "x.txt"))])
    data.setText("file:///x.txt")
    assert not box.canInsertFromMimeData(data)
    box.insertFromMimeData(data)
    assert box.toPlainText() == ""


def test_the_meter_estimates_before_and_is_exact_after(enter, ask, desk):
    window = enter(desk)
    composer = window.workspace.page.composer
    composer.box.setPlainText("x" * 400)
    assert (
        composer.meter_words.text()
        == f"context about {estimated_tokens('x' * 400)} of 8,192 tokens (estimate)"
    )
    ask(window, "y" * 40)
    assert composer.meter_words.text() == "context 60 of 8,192 tokens"


def meter(page):
    return page.composer.meter_words.text()


def test_the_meter_counts_the_running_turn_as_an_estimate(qtbot, enter, ask, desk):
    window = enter(desk)
    page = ask(window, "first")
    assert meter(page) == "context 60 of 8,192 tokens"
    gate = threading.Event()
    desk.chat.script = Script(answer=("An answer.",), wait_for=gate)
    ask(window, "word " * 40, wait=False)
    qtbot.waitUntil(lambda: page._running is not None and bool(page._running.parts))
    known = 60 + estimated_tokens("word " * 40)
    assert meter(page) == f"context about {known} of 8,192 tokens (estimate)"
    gate.set()
    qtbot.waitUntil(lambda: not page.running)
    assert meter(page) == "context 60 of 8,192 tokens"


def test_the_meter_is_an_estimate_after_a_turn_that_failed(qtbot, enter, ask, desk):
    window = enter(desk)
    page = ask(window, "first")
    desk.chat.script = Script(answer=("Half",), during=WorkerError("The model ended."))
    ask(window, "word " * 40)
    assert "(estimate)" in meter(page)
    assert "about 0" not in meter(page)
    fresh = enter(FakeDesk())
    other = fresh.workspace.page
    fresh.workspace._desk.chat.script = Script(answer=("Half",), during=WorkerError("The model ended."))
    ask(fresh, "word " * 40)
    assert "(estimate)" in meter(other)


@pytest.mark.parametrize("how", ["denied", "failed"])
def test_the_meter_keeps_its_count_after_a_turn_that_was_refused(enter, ask, desk, how):
    window = enter(desk)
    page = ask(window, "first")
    scripts = {
        "denied": Script(decision=DENY),
        "failed": Script(answer=(), outcome=Outcome.FAILED, explanation="It does not fit."),
    }
    desk.chat.script = scripts[how]
    ask(window, "word " * 40)
    assert meter(page) == f"context about {60 + estimated_tokens('word ' * 40)} of 8,192 tokens (estimate)"
    page.composer.clear()
    assert meter(page) == "context 60 of 8,192 tokens"


@pytest.mark.parametrize("outcome", [Outcome.FAILED, Outcome.COMPLETED])
def test_a_paste_comes_back_as_a_paste_and_typed_words_as_typed(enter, ask, desk, outcome):
    window = enter(desk)
    composer = window.workspace.page.composer
    pasted = "word " * 20_000
    composer.box.large_paste.emit(pasted)
    desk.chat.script = Script(answer=(), outcome=outcome, explanation="It does not fit.")
    ask(window, "Summarise:")
    assert desk.chat.prompts == [f"Summarise:\n\n{pasted}"]
    if outcome is Outcome.COMPLETED:
        assert composer.prompt == ""
        return
    assert composer.box.toPlainText() == "Summarise:"
    assert "100,000 characters" in composer.paste_words.text()
    assert composer.prompt == f"Summarise:\n\n{pasted}"


def test_the_box_keeps_its_width_whichever_button_is_there(qtbot, enter, desk):
    window = enter(desk)
    composer = window.workspace.page.composer
    widths = set()

    def look():
        qtbot.wait(10)
        widths.add(composer.box.width())

    look()
    composer.set_running(running=True, text_fixed=False)
    look()
    composer.set_stopping()
    look()
    composer.set_running(running=False, text_fixed=False)
    look()
    assert len(widths) == 1


@pytest.mark.parametrize("large", [False, True])
def test_hidden_characters_are_written_out_when_pasted(enter, desk, large):
    composer = enter(desk).workspace.page.composer
    data = QMimeData()
    data.setText("admin\u202etxt.exe\r\n" + "x" * (LARGE_PASTE_CHARACTERS if large else 1))
    composer.box.insertFromMimeData(data)
    assert composer.prompt.startswith("admin⟨U+202E⟩txt.exe\n")
    assert "hidden characters" in composer.why_not.text()


def test_hidden_characters_that_came_otherwise_are_shown_before_anything_is_sent(qtbot, enter, desk):
    window = enter(desk)
    composer = window.workspace.page.composer
    composer.box.insertPlainText("admin\u202etxt.exe")
    qtbot.keyClick(composer.box, Qt.Key.Key_Return)
    assert desk.chat.prompts == []
    assert composer.box.toPlainText() == "admin⟨U+202E⟩txt.exe"
    assert "hidden characters" in composer.why_not.text()
    qtbot.keyClick(composer.box, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: not window.workspace.page.running and window.tasks.running == 0)
    assert desk.chat.prompts == ["admin⟨U+202E⟩txt.exe"]


def test_enter_while_an_answer_runs_says_why_nothing_happens(qtbot, enter, ask, desk):
    window = enter(desk)
    desk.chat.script = Script(wait_for=threading.Event())
    page = ask(window, "x", wait=False)
    qtbot.waitUntil(lambda: page._running is not None and bool(page._running.parts))
    qtbot.keyClicks(page.composer.box, "next")
    qtbot.keyClick(page.composer.box, Qt.Key.Key_Return)
    assert "still coming" in page.composer.why_not.text()
    assert page.composer.box.toPlainText() == "next"
    page.stop()
    qtbot.waitUntil(lambda: not page.running and window.tasks.running == 0)
    assert not page.composer.why_not.isVisible()


def test_sending_waits_for_the_model_but_writing_does_not(qtbot, enter, desk):
    gate = desk.model_gate = threading.Event()
    window = enter(desk, wait=False)
    page = window.workspace.page
    box = page.composer.box
    qtbot.keyClicks(box, "written early")
    qtbot.keyClick(box, Qt.Key.Key_Return)
    assert box.toPlainText() == "written early"
    assert not page.composer.send_button.isEnabled()
    assert "Loading the model" in page.composer.why_not.text()
    assert not page.running
    gate.set()
    qtbot.waitUntil(page.composer.send_button.isEnabled)
    qtbot.keyClick(box, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: not page.running and window.tasks.running == 0)
    assert desk.chat.prompts == ["written early"]


def test_nothing_is_said_of_the_length_of_an_empty_box(qtbot, enter, desk):
    page = enter(desk).workspace.page
    page.composer.set_context(9000, 8192, exact=False)
    assert page.composer.why_not.text() == ""
    page.composer.box.setPlainText("And then?")
    assert "choose what is left out" in page.composer.why_not.text()
    page.composer.clear()
    assert page.composer.why_not.text() == ""


def test_the_focus_is_in_the_box_once_a_button_that_had_it_is_gone(qtbot, enter, desk):
    window = enter(desk)
    page = window.workspace.page
    gate = threading.Event()
    desk.chat.script = Script(wait_for=gate)
    page.composer.box.setPlainText("What is it?")
    page.composer.send_button.setFocus()
    page.composer.send_button.click()
    assert page.composer.box.hasFocus()
    qtbot.waitUntil(lambda: page._running is not None and bool(page._running.parts))
    page.composer.stop_button.setFocus()
    page.composer.stop_button.click()
    qtbot.waitUntil(lambda: not page.running and window.tasks.running == 0)
    assert page.composer.box.hasFocus()
