"""Every control has a name and can be reached and used with the keyboard alone."""

import threading

import pytest
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QAccessible, QKeyEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QApplication,
    QLineEdit,
    QPlainTextEdit,
    QProgressBar,
    QTextEdit,
    QWidget,
)

from govdesk.domain.turn import Role
from govdesk.errors import AuditClosedError
from govdesk.gui import dialogs, parts
from govdesk.gui.setup import SetupPage
from govdesk.gui.unlock import UnlockPage
from tests.fakes import CODE, PASSPHRASE, PROBES, FakeDesk, Script, finding

INTERACTIVE = (QAbstractButton, QLineEdit, QPlainTextEdit, QTextEdit, QAbstractItemView, QProgressBar)


def controls(root):
    for widget in root.findChildren(QWidget):
        own = not widget.objectName().startswith("qt_") and not isinstance(widget.parent(), QLineEdit)
        corner = widget.metaObject().className().startswith(("QTableCorner", "QHeaderView"))
        if isinstance(widget, INTERACTIVE) and own and not corner:
            yield widget


def all_named(root):
    found = list(controls(root))
    assert found
    for widget in found:
        assert widget.accessibleName().strip(), f"{widget} {getattr(widget, 'text', str)()!r} has no name"


def all_reachable(root):
    for widget in controls(root):
        if widget.isVisible() and widget.isEnabled() and not isinstance(widget, QProgressBar):
            assert widget.focusPolicy() & Qt.FocusPolicy.TabFocus, widget.accessibleName()


def tab_round(qtbot, window):
    """The names that Tab visits, until it comes back to the first."""
    names, seen = [], set()
    for _ in range(80):
        focus = QApplication.focusWidget()
        if focus in seen:
            return names
        seen.add(focus)
        names.append(focus.accessibleName())
        qtbot.keyClick(focus, Qt.Key.Key_Tab)
    raise AssertionError(names)


def test_names_and_reach_on_entry_pages(qtbot, open_window, desk):
    window = open_window(desk)
    all_named(window)
    all_reachable(window)
    window.page.agree.click()
    qtbot.waitUntil(lambda: isinstance(window.page, UnlockPage))
    all_named(window)
    all_reachable(window)
    fresh = open_window(FakeDesk(profile_exists=False))
    fresh.page.agree.click()
    qtbot.waitUntil(lambda: isinstance(fresh.page, SetupPage))
    all_named(fresh)
    all_reachable(fresh)


def at_code(qtbot, window):
    window.page.agree.click()
    qtbot.waitUntil(lambda: isinstance(window.page, SetupPage))
    window.page.choice.first.setText(PASSPHRASE)
    window.page.choice.second.setText(PASSPHRASE)
    window.page.choice.accept.click()
    qtbot.waitUntil(lambda: window.page.code.text() == CODE and window.tasks.running == 0)
    return window.page.code


def test_a_screen_reader_can_read_the_recovery_code(qtbot, open_window):
    window = open_window(FakeDesk(profile_exists=False))
    code = at_code(qtbot, window)
    assert code.hasFocus()
    read = QAccessible.queryAccessibleInterface(code)
    assert read.text(QAccessible.Text.Name) == "Recovery code"
    assert read.text(QAccessible.Text.Value) == CODE
    assert read.state().readOnly
    letters = read.textInterface()
    assert letters.text(0, letters.characterCount()) == CODE
    all_named(window)
    all_reachable(window)
    window._may_close = True


def test_the_recovery_code_does_not_reach_the_clipboard(qtbot, open_window):
    window = open_window(FakeDesk(profile_exists=False))
    code = at_code(qtbot, window)
    QApplication.clipboard().setText("before")
    code.selectAll()
    for key in (Qt.Key.Key_C, Qt.Key.Key_X, Qt.Key.Key_Insert):
        qtbot.keyClick(code, key, Qt.KeyboardModifier.ControlModifier)
    assert QApplication.clipboard().text() == "before"
    assert code.text() == CODE
    window._may_close = True


@pytest.fixture
def announced(monkeypatch):
    """What a screen reader is told."""
    said = []

    class Told:
        @staticmethod
        def updateAccessibility(event):
            said.append(event.message())

    monkeypatch.setattr(parts, "QAccessible", Told)
    return said


def test_errors_on_entry_pages_are_announced(qtbot, open_window, announced):
    desk = FakeDesk()
    desk.problems["consent click"] = AuditClosedError("The audit log is closed.")
    window = open_window(desk)
    window.page.agree.click()
    qtbot.waitUntil(window.page.problem.isVisible)
    assert announced == ["The audit log is closed."]
    del desk.problems["consent click"]
    window.page.agree.click()
    qtbot.waitUntil(lambda: isinstance(window.page, UnlockPage))
    window.page.field.setText("wrong")
    window.page.unlock_button.click()
    qtbot.waitUntil(window.page.problem.isVisible)
    assert "does not open the profile" in announced[-1]
    fresh = FakeDesk(profile_exists=False)
    fresh.problems["create"] = AuditClosedError("The disk is full.")
    window = open_window(fresh)
    window.page.agree.click()
    qtbot.waitUntil(lambda: isinstance(window.page, SetupPage))
    window.page.choice.first.setText(PASSPHRASE)
    window.page.choice.second.setText(PASSPHRASE)
    window.page.choice.accept.click()
    qtbot.waitUntil(window.page.problem.isVisible)
    assert announced[-1] == "The disk is full."
    window.refuse(AuditClosedError("It cannot run."))
    assert announced[-1] == "It cannot run."


def test_answers_and_failures_are_announced(enter, ask, desk, announced):
    window = enter(desk)
    ask(window, "x")
    assert announced[-1] == "Answer: Hello there."
    desk.chat.script = Script(before=AuditClosedError("The log is closed."))
    ask(window, "y")
    assert announced[-1] == "The log is closed."


@pytest.mark.parametrize("key", [Qt.Key.Key_Return, Qt.Key.Key_Enter, Qt.Key.Key_Space])
def test_a_button_with_the_focus_is_pressed_by(qtbot, open_window, desk, key):
    window = open_window(desk)
    window.page.agree.setFocus()
    qtbot.keyClick(window.page.agree, key)
    qtbot.waitUntil(lambda: isinstance(window.page, UnlockPage))


def test_a_key_that_is_held_presses_a_button_once(qtbot, desk):
    pressed = []
    made = parts.button("x")
    qtbot.addWidget(made)
    made.clicked.connect(lambda: pressed.append(1))
    for repeated in (False, True, True):
        event = QKeyEvent(
            QEvent.Type.KeyPress, Qt.Key.Key_Return, Qt.KeyboardModifier.NoModifier, "\r", repeated
        )
        QApplication.sendEvent(made, event)
    assert pressed == [1]


def test_enter_in_a_dialog_presses_the_button_with_the_focus(qtbot, desk):
    dialog = dialogs.confirm_delete(desk.policy, "Title", None)
    qtbot.addWidget(dialog)
    dialog.show()
    delete = next(b for b in dialog.findChildren(QAbstractButton) if b.text() == "Delete")
    delete.setFocus()
    qtbot.keyClick(delete, Qt.Key.Key_Return)
    assert dialog.result() == dialogs.MarkedDialog.DialogCode.Accepted


def test_names_and_reach_in_the_workspace(qtbot, enter, ask, desk):
    many = [(Role.USER if i % 2 == 0 else Role.ASSISTANT, f"Message {i}") for i in range(120)]
    identity = desk.store.put("Many", many)
    window = enter(desk)
    window.workspace.page.open(identity)
    qtbot.waitUntil(lambda: len(window.workspace.page.transcript.views) == 50)
    desk.chat.script = Script(prompt_findings=(finding("US_SSN"),))
    ask(window, "x")
    all_named(window)
    all_reachable(window)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: dialogs.message(p, "Title", "Text", None),
        lambda p: dialogs.confirm_delete(p, "Title", None),
        lambda p: dialogs.confirm_close(p, None),
        lambda p: dialogs.RenameDialog(p, "Title", None),
        lambda p: dialogs.network_dialog(p, PROBES, None),
        lambda p: dialogs.findings_dialog(p, (finding("US_SSN"),), None),
        lambda p: dialogs.shortcuts_dialog(p, None),
    ],
)
def test_names_and_reach_in_dialogs_and_escape_closes(qtbot, desk, make):
    dialog = make(desk.policy)
    qtbot.addWidget(dialog)
    dialog.show()
    all_named(dialog)
    all_reachable(dialog)
    assert dialog.accessibleName()
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    assert not dialog.isVisible()


def test_tab_visits_every_control_and_comes_back(qtbot, enter, ask, desk):
    desk.store.put("One", [(Role.USER, "a"), (Role.ASSISTANT, "b")])
    window = enter(desk)
    ask(window, "x")
    box = window.workspace.page.composer.box
    box.setPlainText("draft")
    window.activateWindow()
    box.setFocus()
    qtbot.waitUntil(box.hasFocus)
    names = tab_round(qtbot, window)
    for name in (
        "Message",
        "Send the message",
        "New conversation",
        "Search titles and messages",
        "Conversations",
        "Rename the conversation",
        "Delete the conversation",
        "Keyboard shortcuts",
        "Lock GovDesk",
        "You, message",
        "GovDesk, message",
        "network: none ✓",
    ):
        assert name in names, name


def test_the_whole_way_by_keyboard_alone(qtbot, open_window):
    """First run to an answer, a new conversation, search and lock: keys only."""
    desk = FakeDesk(profile_exists=False)
    window = open_window(desk)
    window.activateWindow()
    qtbot.waitUntil(lambda: QApplication.focusWidget() is not None)

    def key(which, modifier=Qt.KeyboardModifier.NoModifier):
        qtbot.keyClick(QApplication.focusWidget() or window, which, modifier)

    def type_in(text):
        qtbot.keyClicks(QApplication.focusWidget(), text)

    def to(name):
        for _ in range(40):
            if QApplication.focusWidget().accessibleName() == name:
                return
            key(Qt.Key.Key_Tab)
        raise AssertionError(f"Tab does not reach {name}")

    to("I agree to these terms")
    key(Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: isinstance(window.page, SetupPage))
    to("New passphrase")
    type_in(PASSPHRASE)
    key(Qt.Key.Key_Return)
    type_in(PASSPHRASE)
    key(Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: window.page.code.text() == CODE)
    to("I wrote it down and put it in a safe place")
    key(Qt.Key.Key_Space)
    to("Continue")
    key(Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: window.workspace is not None and window.tasks.running == 0)
    page = window.workspace.page
    qtbot.waitUntil(page.composer.box.hasFocus)
    desk.chat.script = Script(answer=("A harbour is deep.",))
    type_in("What is a harbour?")
    key(Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: not page.running and window.tasks.running == 0)
    assert page.transcript.views[1].text == "A harbour is deep."
    key(Qt.Key.Key_N, Qt.KeyboardModifier.ControlModifier)
    assert page.shown is None
    key(Qt.Key.Key_K, Qt.KeyboardModifier.ControlModifier)
    type_in("deep")
    side = window.workspace.side
    qtbot.waitUntil(lambda: side.list.accessibleName() == "Search results")
    key(Qt.Key.Key_Return)
    key(Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: page.shown is not None)
    qtbot.waitUntil(lambda: window.tasks.running == 0)
    key(Qt.Key.Key_M, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(page.composer.box.hasFocus)
    key(Qt.Key.Key_F1)
    dialog = next(d for d in window.findChildren(dialogs.MarkedDialog) if d.isVisible())
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    desk.chat.script = Script(wait_for=threading.Event())
    window.activateWindow()
    page.composer.box.setFocus()
    type_in("again")
    key(Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: page._running is not None and page._running.turn is not None)
    key(Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: not page.running and window.tasks.running == 0)
    key(Qt.Key.Key_L, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: "lock" in desk.calls)
