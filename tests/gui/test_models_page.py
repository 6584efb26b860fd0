"""The models page: states in words, import with progress, stop and go on; nothing waits on the GUI thread."""

import threading
from dataclasses import replace

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QLabel

from govdesk.domain.models import ModelState, RefusedLine, Which
from govdesk.errors import ModelError
from govdesk.gui import dialogs
from govdesk.gui.model_dialogs import ImportDialog
from tests.fakes import FakeDesk, model_line
from tests.gui.test_access import all_named, all_reachable, tab_round

HOSTILE = "Evil\u202eledoM <b>bold</b> \x1b[31m"


@pytest.fixture
def opened(qtbot, enter, desk):
    """A window on its models page."""

    def open_it(made=desk):
        window = enter(made)
        window.workspace.models_button.click()
        qtbot.waitUntil(lambda: window.tasks.running == 0)
        return window, window.workspace.models

    return open_it


def settle(qtbot, window):
    qtbot.waitUntil(lambda: window.tasks.running == 0)


def test_each_state_is_said_with_what_policy_forbids(qtbot, opened, desk):
    desk.models.lines = [
        model_line(),
        model_line("b", state=ModelState.NOT_APPROVED, why="set by your organisation", chosen=False),
        model_line(
            "c", state=ModelState.MISSING, chosen=False, fit_words="will not fit: needs 22 GB of 16 GB"
        ),
    ]
    desk.models.refused = [
        RefusedLine("/m/old.toml", "model.older", "has version 1; version 2 was here before")
    ]
    _, page = opened()
    rows = [page.list.item(row).text() for row in range(page.list.count())]
    assert page.list.hasFocus()
    assert "ready · answers" in rows[0]
    assert "fast here" in rows[0]
    assert "not approved by policy" in rows[1]
    assert "will not fit: needs 22 GB of 16 GB" in rows[2]
    assert "version 1; version 2 was here before" in page.words.text()
    assert "Q8_0, Q4_0, Q4_K" in page.words.text()
    page.list.setCurrentRow(1)
    assert "set by your organisation" in page.details.toPlainText()


def test_the_details_have_licence_origin_marking_digest_and_template(qtbot, opened, desk):
    window, page = opened()
    settle(qtbot, window)
    shown = page.details.toPlainText()
    for words in (
        "Apache-2.0",
        "Hugging Face",
        "UNCLASSIFIED",
        "bfbfbfbfbfbfbfbf",
        "as signed",
        "{% for",
    ):
        assert words in shown


def test_everything_runs_off_the_gui_thread(qtbot, opened, desk):
    window, page = opened()
    page.bring("/media/x")
    qtbot.waitUntil(lambda: not page.working)
    settle(qtbot, window)
    page.verify_button.click()
    qtbot.waitUntil(lambda: not page.working)
    settle(qtbot, window)
    assert threading.current_thread().name not in desk.models.threads


def test_an_import_shows_its_progress_and_ends_in_the_list(qtbot, opened, desk):
    window, page = opened()
    desk.models.gate = threading.Event()
    page.import_button.click()
    dialog = window.findChild(ImportDialog)
    dialog.field.setText(" /media/ana/MODELS ")
    dialog.accept()
    qtbot.waitUntil(lambda: page.bar.value() == 100)
    assert "1,000 MB of 1,000 MB, 100 %" in page.progress_words.text()
    window.activateWindow()
    qtbot.waitUntil(page.stop_button.hasFocus)
    assert not page.import_button.isEnabled()
    window.workspace.show_chat()  # one may go on working meanwhile
    desk.models.gate.set()
    qtbot.waitUntil(lambda: not page.working)
    settle(qtbot, window)
    assert desk.models.asked == ["/media/ana/MODELS"]
    assert page.list.count() == 2
    assert "Big model, version 2, is imported" in page.progress_words.text()


def test_a_stopped_import_goes_on_with_one_key(qtbot, opened, desk):
    _, page = opened()
    desk.models.gate = threading.Event()
    page.bring("/media/x")
    qtbot.waitUntil(lambda: page.bar.value() == 100 and page.stop_button.hasFocus())
    qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: not page.working)
    assert "goes on from there" in page.problem.text()
    assert page.again_button.hasFocus()
    desk.models.gate.set()
    qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: page.list.count() == 2)
    assert desk.models.asked == ["/media/x", "/media/x"]
    assert page.problem.isHidden()


def test_a_refused_import_says_why_and_offers_no_going_on(qtbot, opened, desk):
    window, page = opened()
    desk.models.problem = ModelError(
        "Not signed.", code="model.manifest-signature", kept="Kept.", todo="Ask."
    )
    page.bring("/media/x")
    qtbot.waitUntil(lambda: not page.working)
    settle(qtbot, window)
    assert page.problem.text() == "Not signed. Kept. Ask."
    assert page.again_button.isHidden()


def test_leaving_the_session_stops_the_import(qtbot, opened, desk):
    window, page = opened()
    desk.models.gate = threading.Event()
    page.bring("/media/x")
    qtbot.waitUntil(lambda: page.bar.value() == 100)
    stop = page._stop
    window.lock()
    assert stop.raised()


def test_removing_asks_first_and_enter_keeps(qtbot, opened, desk):
    desk.models.lines.append(model_line("big", title="Big", imported=True, chosen=False, digest="aa" * 48))
    window, page = opened()
    assert not page.remove_button.isEnabled(), "what came with GovDesk stays"
    page.list.setCurrentRow(1)
    page.list.setFocus()
    qtbot.keyClick(page.list, Qt.Key.Key_Delete)
    dialog = window.findChild(dialogs.MarkedDialog)
    qtbot.keyClick(dialog, Qt.Key.Key_Return)
    settle(qtbot, window)
    assert page.list.count() == 2
    page.remove_button.click()
    dialogs_open = [d for d in window.findChildren(dialogs.MarkedDialog) if d.isVisible()]
    dialogs_open[0].accept()
    qtbot.waitUntil(lambda: page.list.count() == 1)
    assert "was removed" in page.progress_words.text()


def test_a_removal_that_is_refused_is_explained(qtbot, opened, desk):
    desk.models.lines.append(model_line("big", title="Big", imported=True, chosen=False))
    window, page = opened()
    page.list.setCurrentRow(1)
    desk.models.problem = ModelError("It is in use.", code="model.in-use", kept="It was not removed.")
    page.remove_button.click()
    next(d for d in window.findChildren(dialogs.MarkedDialog) if d.isVisible()).accept()
    qtbot.waitUntil(page.problem.isVisible)
    assert "It is in use. It was not removed." in page.problem.text()


def test_a_check_that_finds_damage_says_which_file(qtbot, opened, desk):
    window, page = opened()
    desk.models.problem = ModelError("It does not have the bytes that were signed.")
    page.verify_button.click()
    qtbot.waitUntil(lambda: not page.working)
    settle(qtbot, window)
    assert ", is damaged: /models/x.gguf" in page.progress_words.text()


def test_what_a_manifest_says_is_plain_text_with_nothing_hidden(qtbot, opened, desk):
    desk.models.lines = [model_line(title=HOSTILE, provenance=HOSTILE)]
    _, page = opened()
    for text in (page.list.item(0).text(), page.details.toPlainText()):
        assert "\u202e" not in text
        assert "\x1b" not in text
        assert "<b>bold</b>" in text


def test_an_empty_workstation_says_what_to_do(qtbot, opened, desk):
    desk.models.lines = []
    _, page = opened()
    assert "Import one" in page.words.text()
    assert page.import_button.hasFocus()
    assert not page.remove_button.isEnabled()
    assert not page.verify_button.isEnabled()


def test_by_keyboard_and_with_names(qtbot, opened, desk):
    window, page = opened()
    all_named(window)
    all_reachable(window)
    page.list.setFocus()
    round_ = tab_round(qtbot, window)
    for name in (
        "Models",
        "Details of the model",
        "Import a model from a folder or medium",
        "Back to the conversation",
    ):
        assert name in round_
    qtbot.keyClick(page.list, Qt.Key.Key_Escape)
    assert not window.workspace.showing_models
    assert window.workspace.page.composer.box.hasFocus()
    qtbot.keyClick(window.workspace.page.composer.box, Qt.Key.Key_O, Qt.KeyboardModifier.ControlModifier)
    assert window.workspace.showing_models
    assert window.workspace.title.text() == "Models"
    dialog = ImportDialog(desk.policy, desk.models.look_into, window.tasks, "", window)
    all_named(dialog)
    dialog.deleteLater()


def test_a_new_conversation_leaves_the_page(qtbot, opened):
    window, _ = opened(FakeDesk())
    window.workspace.new()
    assert not window.workspace.showing_models
    assert window.workspace.title.text() == "New conversation"


def test_of_two_versions_the_row_is_meant_in_words_and_in_deed(qtbot, opened, desk):
    desk.models.lines = [
        model_line(
            "big", version=version, title="Big", imported=True, chosen=version == 9, digest=2 * hex_ * 48
        )
        for version, hex_ in ((10, "a"), (9, "b"))
    ]
    window, page = opened()
    for row, version in ((0, 10), (1, 9)):
        page.list.setCurrentRow(row)
        settle(qtbot, window)
        page.verify_button.click()
        qtbot.waitUntil(lambda: not page.working)
        settle(qtbot, window)
        assert desk.models.asked[-1] == Which("big", version, True)
        assert f"Big, version {version}: every file" in page.progress_words.text()
    page.list.setCurrentRow(0)
    page.remove_button.click()
    dialog = next(d for d in window.findChildren(dialogs.MarkedDialog) if d.isVisible())
    assert "Big, version 10" in [one.text() for one in dialog.findChildren(QLabel)]
    dialog.accept()
    qtbot.waitUntil(lambda: page.list.count() == 1)
    assert desk.models.asked[-1] == Which("big", 10, True)
    assert "Big, version 10, was removed" in page.progress_words.text()
    assert "version 9" in page.list.item(0).text()


def test_half_the_memory_is_offered_where_it_can_be_had(qtbot, opened, desk):
    window, page = opened()
    settle(qtbot, window)
    assert page.halve_box.isVisible() and not page.halve_box.isChecked()
    assert "Answers may differ." in page.halve_box.toolTip()
    page.halve_box.click()
    settle(qtbot, window)
    assert desk.models.memory.halved and page.halve_box.isChecked()
    desk.models.problem = ModelError("It cannot be kept.")
    page.halve_box.click()
    settle(qtbot, window)
    assert page.halve_box.isChecked() and "cannot be kept" in page.problem.text()
    desk.models.memory = replace(desk.models.memory, possible=False)
    page.refresh()
    settle(qtbot, window)
    assert not page.halve_box.isVisible()
