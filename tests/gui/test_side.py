"""Choosing, searching, renaming, deleting: nothing is destroyed by one key press."""

import threading

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QPushButton

from govdesk.domain.turn import Role
from govdesk.errors import CorruptDatabaseError
from govdesk.gui.conversation_list import ROW_ROLE, conversation_of, hit_text
from govdesk.gui.dialogs import MarkedDialog
from tests.fakes import Script


@pytest.fixture
def window(enter, desk):
    desk.store.put(
        "Port study", [(Role.USER, "About harbours"), (Role.ASSISTANT, "Deep water")], updated_utc_ns=3
    )
    desk.store.put(
        "Budget", [(Role.USER, "About money"), (Role.ASSISTANT, "Not the harbour")], updated_utc_ns=2
    )
    return enter(desk)


def titles(side):
    model = side.model
    return [model.index(at, 0).data() for at in range(model.rowCount())]


def dialog_of(window):
    return next(d for d in window.findChildren(MarkedDialog) if d.isVisible())


def choose(qtbot, window, title):
    side = window.workspace.side
    index = side.model.index(titles(side).index(title), 0)
    qtbot.mouseClick(
        side.list.viewport(), Qt.MouseButton.LeftButton, pos=side.list.visualRect(index).center()
    )
    qtbot.waitUntil(lambda: window.tasks.running == 0)


def test_the_list_shows_the_latest_first_and_opens_one(qtbot, window):
    assert titles(window.workspace.side) == ["Port study", "Budget"]
    choose(qtbot, window, "Budget")
    assert window.workspace.title.text() == "Budget"
    assert window.workspace.page.transcript.views[1].text == "Not the harbour"


def test_search_finds_in_messages_and_opens_the_place(qtbot, window):
    side = window.workspace.side
    qtbot.keyClick(window, Qt.Key.Key_K, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(side.search.hasFocus)
    qtbot.keyClicks(side.search, "harbour")
    qtbot.waitUntil(lambda: side.list.accessibleName() == "Search results")
    assert titles(side) == ["Port study", "Budget"]
    text, places = hit_text(side.model.index(1, 0).data(ROW_ROLE))
    assert text == "GovDesk: Not the harbour"
    assert [text[start : start + length] for start, length in places] == ["harbour"]
    qtbot.keyClick(side.search, Qt.Key.Key_Return)
    assert side.list.hasFocus()
    qtbot.keyClick(side.list, Qt.Key.Key_Down)
    qtbot.keyClick(side.list, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: window.workspace.title.text() == "Budget")
    qtbot.waitUntil(lambda: window.tasks.running == 0)
    window.grab()
    side.search.setText("no such words")
    qtbot.waitUntil(lambda: side.model.rowCount() == 0)
    assert side.words.text() == "Nothing found."
    side.search.clear()
    qtbot.waitUntil(lambda: titles(side) == ["Port study", "Budget"])


def test_rename(qtbot, window, desk):
    choose(qtbot, window, "Budget")
    side = window.workspace.side
    side.list.setFocus()
    qtbot.keyClick(side.list, Qt.Key.Key_F2)
    dialog = dialog_of(window)
    dialog.field.setText("  Money  ")
    qtbot.keyClick(dialog.field, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: "Money" in titles(side))
    qtbot.waitUntil(lambda: window.workspace.title.text() == "Money")
    assert "Budget" not in titles(side)


def test_delete_tells_what_it_means_and_enter_keeps(qtbot, window, desk):
    choose(qtbot, window, "Budget")
    side = window.workspace.side
    side.list.setFocus()
    qtbot.keyClick(side.list, Qt.Key.Key_Delete)
    dialog = dialog_of(window)
    words = " ".join(child.text() for child in dialog.findChildren(type(side.words)))
    assert "cannot be undone" in words
    assert "audit records" in words
    qtbot.keyClick(dialog, Qt.Key.Key_Return)
    qtbot.wait(30)
    assert len(desk.store.conversations()) == 2


def test_delete_deletes_after_the_button(qtbot, window, desk):
    choose(qtbot, window, "Budget")
    side = window.workspace.side
    side.delete_button.click()
    dialog = dialog_of(window)
    button = next(b for b in dialog.findChildren(type(side.delete_button)) if b.text() == "Delete")
    button.click()
    qtbot.waitUntil(lambda: titles(side) == ["Port study"])
    assert window.workspace.title.text() == "New conversation"
    assert [conversation_of(c).title for c in desk.store.conversations()] == ["Port study"]


def accept_delete(window):
    dialog = dialog_of(window)
    next(b for b in dialog.findChildren(QPushButton) if b.text() == "Delete").click()


def test_deleting_while_it_is_answered_stops_the_turn_first(qtbot, window, desk):
    choose(qtbot, window, "Budget")
    page = window.workspace.page
    desk.chat.script = Script(answer=("part",), wait_for=threading.Event())
    page.composer.box.setPlainText("a long one")
    page.composer.send_button.click()
    qtbot.waitUntil(lambda: page._running is not None and bool(page._running.parts))
    running_at_delete = []
    delete = desk.store.delete
    desk.store.delete = lambda identity: (running_at_delete.append(desk.chat.running), delete(identity))
    window.workspace.side.delete_button.click()
    accept_delete(window)
    qtbot.waitUntil(lambda: titles(window.workspace.side) == ["Port study"])
    qtbot.waitUntil(lambda: window.tasks.running == 0)
    assert running_at_delete == [0]
    assert not page.running
    assert window.workspace.title.text() == "New conversation"
    assert not page.transcript.views


def test_search_results_follow_a_renaming_and_a_deletion(qtbot, window, desk):
    side = window.workspace.side
    side.search.setText("harbour")
    qtbot.waitUntil(lambda: side.list.accessibleName() == "Search results")
    side.list.setCurrentIndex(side.model.index(1, 0))
    side.rename()
    dialog = dialog_of(window)
    dialog.field.setText("Money")
    qtbot.keyClick(dialog.field, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: titles(side) == ["Port study", "Money"])
    qtbot.waitUntil(lambda: window.tasks.running == 0)
    side.list.setCurrentIndex(side.model.index(1, 0))
    side.delete()
    accept_delete(window)
    qtbot.waitUntil(lambda: titles(side) == ["Port study"])
    qtbot.waitUntil(lambda: window.tasks.running == 0)
    assert side.search.text() == "harbour"
    assert side.model.index(0, 0).data(ROW_ROLE).snippet


def test_escape_leaves_the_search_before_it_stops_anything(qtbot, window, desk):
    page, side = window.workspace.page, window.workspace.side
    desk.chat.script = Script(answer=("part",), wait_for=threading.Event())
    page.composer.box.setPlainText("a long one")
    page.composer.send_button.click()
    qtbot.waitUntil(lambda: page._running is not None and bool(page._running.parts))
    side.go_to_search()
    qtbot.keyClicks(side.search, "harbour")
    qtbot.keyClick(side.search, Qt.Key.Key_Escape)
    assert side.search.text() == ""
    assert page.running
    qtbot.keyClick(side.search, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: not page.running and window.tasks.running == 0)


def test_the_conversation_that_is_answered_is_marked_in_the_list(qtbot, window, desk):
    choose(qtbot, window, "Budget")
    page, side = window.workspace.page, window.workspace.side
    gate = threading.Event()
    desk.chat.script = Script(wait_for=gate)
    page.composer.box.setPlainText("a long one")
    page.composer.send_button.click()

    def said(title):
        index = side.model.index(titles(side).index(title), 0)
        return index.data(Qt.ItemDataRole.AccessibleTextRole)

    qtbot.waitUntil(lambda: "answering" in said("Budget"))
    assert "answering" not in said("Port study")
    gate.set()
    qtbot.waitUntil(lambda: not page.running and window.tasks.running == 0)
    assert "answering" not in said("Budget")


def test_the_delete_key_in_the_message_box_is_only_a_key(qtbot, window, desk):
    choose(qtbot, window, "Budget")
    qtbot.keyClick(window.workspace.page.composer.box, Qt.Key.Key_Delete)
    assert not [d for d in window.findChildren(MarkedDialog) if d.isVisible()]


def test_rename_and_delete_need_a_choice(window):
    window.workspace.new()
    side = window.workspace.side
    assert not side.rename_button.isEnabled()
    assert not side.delete_button.isEnabled()


def test_a_store_that_fails_is_explained(qtbot, window, desk):
    desk.store.problem = CorruptDatabaseError("The history is damaged.", todo="Use the backup.")
    window.workspace.side.refresh()
    qtbot.waitUntil(lambda: bool(window.workspace.page.transcript.views))
    assert "Use the backup." in window.workspace.page.transcript.views[-1].note.text()


def test_no_label_interprets_markup(qtbot, window, desk):
    desk.store.put("<img src='file:///etc/passwd'><b>t</b>", [])
    window.workspace.side.refresh()
    qtbot.waitUntil(lambda: len(titles(window.workspace.side)) == 3)
    choose(qtbot, window, "<img src='file:///etc/passwd'><b>t</b>")
    assert window.workspace.title.text().startswith("<img")
    for one in window.findChildren(QLabel):
        assert one.textFormat() is Qt.TextFormat.PlainText, one.text()


def test_hidden_characters_in_titles_are_seen(qtbot, window, desk):
    desk.store.put("a\u202eb", [])
    window.workspace.side.refresh()
    qtbot.waitUntil(lambda: "a⟨U+202E⟩b" in titles(window.workspace.side))
    window.grab()
