"""Consent, set-up, unlock, lock: in this order, each said plainly."""

import threading

import pytest
from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtWidgets import QApplication, QLabel, QLineEdit, QPushButton, QWidget

from govdesk.app import new_profile
from govdesk.config import Profile
from govdesk.domain.policy import ConsentText
from govdesk.domain.turn import Role
from govdesk.errors import AuditClosedError, DiskFullError, KeySlotError
from govdesk.gui.consent import ConsentPage
from govdesk.gui.dialogs import MarkedDialog
from govdesk.gui.new_passphrase import NewPassphrasePage
from govdesk.gui.setup import SetupPage
from govdesk.gui.unlock import UnlockPage
from tests.fakes import CODE, PASSPHRASE, Clock, FakeDesk, policy


def test_consent_text_is_verbatim_and_needs_a_click(qtbot, open_window, desk):
    window = open_window(desk)
    page = window.page
    assert isinstance(page, ConsentPage)
    assert page.text.toPlainText() == desk.policy.policy.consent.text
    for key in (Qt.Key.Key_Return, Qt.Key.Key_Escape, Qt.Key.Key_Space):
        qtbot.keyClick(page.text, key)
    assert desk.calls == []
    assert window.page is page
    page.agree.click()
    qtbot.waitUntil(lambda: isinstance(window.page, UnlockPage))
    assert desk.calls == ["consent click"]


def test_consent_that_cannot_be_recorded_opens_nothing(qtbot, open_window, desk):
    desk.problems["consent click"] = AuditClosedError("The audit log is closed.", todo="Free some space.")
    window = open_window(desk)
    window.page.agree.click()
    qtbot.waitUntil(window.page.problem.isVisible)
    assert "Free some space." in window.page.problem.text()
    assert isinstance(window.page, ConsentPage)
    assert window.page.agree.isEnabled()


def test_leaving_instead_of_agreeing_closes(open_window, desk):
    window = open_window(desk)
    window.page.leave.click()
    assert not window.isVisible()
    assert desk.calls == []


def test_consent_text_with_markup_is_not_interpreted(open_window):
    in_force = policy()
    text = "<b>Bold</b> **not** &amp; http://x.invalid"
    changed = type(in_force.policy)(
        **{
            name: ConsentText("T", text) if name == "consent" else getattr(in_force.policy, name)
            for name in in_force.policy.__struct_fields__
        }
    )
    desk = FakeDesk(type(in_force)(changed, in_force.source, in_force.sha384))
    assert open_window(desk).page.text.toPlainText() == text


@pytest.fixture
def setup_page(qtbot, open_window):
    desk = FakeDesk(profile_exists=False)
    window = open_window(desk)
    window.page.agree.click()
    qtbot.waitUntil(lambda: isinstance(window.page, SetupPage))
    return window, window.page, desk


def test_setup_says_live_why_a_passphrase_is_not_good(setup_page, qtbot):
    _, page, desk = setup_page
    assert not page.choice.accept.isEnabled()
    qtbot.keyClicks(page.choice.first, "short")
    assert page.choice.reason.text().startswith(desk.passphrase_problem("short"))
    assert "unrelated words" in page.choice.reason.text()
    page.choice.first.setText(PASSPHRASE)
    assert "again" in page.choice.reason.text()
    page.choice.second.setText(PASSPHRASE + "x")
    assert "not the same" in page.choice.reason.text()
    assert not page.choice.accept.isEnabled()
    page.choice.second.setText(PASSPHRASE)
    assert page.choice.accept.isEnabled()
    assert page.choice.first.echoMode() is QLineEdit.EchoMode.Password
    page.choice.show_text.click()
    assert page.choice.first.echoMode() is page.choice.second.echoMode() is QLineEdit.EchoMode.Normal


def test_setup_shows_the_recovery_code_once_and_unlocks(setup_page, qtbot):
    window, page, desk = setup_page
    page.choice.first.setText(PASSPHRASE)
    page.choice.second.setText(PASSPHRASE)
    qtbot.keyClick(page.choice.second, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: page.code.text() == CODE)
    assert desk.threads["create"] == "govdesk-task"
    assert page.choice.first.text() == page.choice.second.text() == ""
    assert not page.proceed.isEnabled()
    page.wrote.click()
    page.proceed.click()
    qtbot.waitUntil(lambda: window.workspace is not None)
    qtbot.waitUntil(lambda: window.tasks.running == 0)
    assert desk.calls[:3] == ["consent click", "create", "unlock"]


def test_setup_that_fails_says_so_and_can_be_repeated(setup_page, qtbot):
    _, page, desk = setup_page
    desk.problems["create"] = KeySlotError("The disk is full.", todo="Free some space.")
    page.choice.first.setText(PASSPHRASE)
    page.choice.second.setText(PASSPHRASE)
    page.choice.accept.click()
    qtbot.waitUntil(page.problem.isVisible)
    assert "Free some space." in page.problem.text()
    assert page.choice.accept.isEnabled()


@pytest.fixture
def unlock_page(qtbot, open_window, desk):
    window = open_window(desk)
    window.page.agree.click()
    qtbot.waitUntil(lambda: isinstance(window.page, UnlockPage))
    return window, window.page, desk


def test_unlock_runs_off_the_gui_thread_and_says_that_it_works(unlock_page, qtbot):
    window, page, desk = unlock_page
    desk.unlock_gate = threading.Event()
    page.field.setText(PASSPHRASE)
    qtbot.keyClick(page.field, Qt.Key.Key_Return)
    assert page.working.isVisible()
    assert "Unlocking" in page.words.text()
    assert not page.field.isEnabled()
    desk.unlock_gate.set()
    qtbot.waitUntil(lambda: window.workspace is not None)
    qtbot.waitUntil(lambda: window.tasks.running == 0)
    assert desk.threads["unlock"] == "govdesk-task"


def test_a_wrong_passphrase_is_said_and_can_be_corrected(unlock_page, qtbot):
    window, page, _ = unlock_page
    page.field.setText("wrong")
    page.unlock_button.click()
    qtbot.waitUntil(page.problem.isVisible)
    assert "Nothing was changed." in page.problem.text()
    assert page.field.isEnabled()
    page.field.setText(PASSPHRASE)
    page.unlock_button.click()
    qtbot.waitUntil(lambda: window.workspace is not None)
    qtbot.waitUntil(lambda: window.tasks.running == 0)


def test_an_empty_passphrase_asks_nobody(unlock_page, qtbot):
    _, page, desk = unlock_page
    page.unlock_button.click()
    assert "unlock" not in desk.calls


def test_the_recovery_code_unlocks_too(unlock_page, qtbot):
    window, page, desk = unlock_page
    page.field.setText("typed before")
    page.other.click()
    assert page.field.text() == ""
    assert page.field.accessibleName() == "Recovery code"
    page.field.setText(CODE)
    page.unlock_button.click()
    qtbot.waitUntil(lambda: isinstance(window.page, NewPassphrasePage))
    assert window.workspace is None
    window.page.keep.click()
    qtbot.waitUntil(lambda: window.workspace is not None)
    qtbot.waitUntil(lambda: window.tasks.running == 0)
    assert "recovery" in desk.calls
    assert "unlock" not in desk.calls
    assert "reset" not in desk.calls


@pytest.fixture
def recovered(unlock_page, qtbot):
    """The page after the recovery code opened the profile."""
    window, page, desk = unlock_page
    page.other.click()
    page.field.setText(CODE)
    page.unlock_button.click()
    qtbot.waitUntil(lambda: isinstance(window.page, NewPassphrasePage))
    return window, window.page, desk


def test_after_the_recovery_code_a_new_passphrase_can_be_chosen(recovered, qtbot):
    window, page, desk = recovered
    page.choice.first.setText("a wholly new passphrase")
    page.choice.second.setText("a wholly new passphrase")
    page.choice.accept.click()
    qtbot.waitUntil(lambda: window.workspace is not None)
    qtbot.waitUntil(lambda: window.tasks.running == 0)
    assert desk.reset == (CODE, "a wholly new passphrase")
    assert desk.threads["reset"] == "govdesk-task"


def test_a_passphrase_that_cannot_be_replaced_says_so_and_lets_go_on(recovered, qtbot):
    window, page, desk = recovered
    desk.problems["reset"] = DiskFullError("The disk is full.", kept="The old passphrase still holds.")
    page.choice.first.setText(PASSPHRASE)
    page.choice.second.setText(PASSPHRASE)
    page.choice.accept.click()
    qtbot.waitUntil(page.problem.isVisible)
    assert "still holds" in page.problem.text()
    page.keep.click()
    qtbot.waitUntil(lambda: window.workspace is not None and window.tasks.running == 0)


def test_a_history_without_its_keys_is_said_before_any_passphrase(open_window, qtbot, tmp_path):
    profile = Profile(tmp_path)
    profile.database.write_bytes(b"x")
    desk = FakeDesk(profile_exists=False)
    desk.profile_problem = new_profile.problem(profile)
    window = open_window(desk)
    window.page.agree.click()
    qtbot.waitUntil(lambda: not isinstance(window.page, ConsentPage))
    said = " ".join(one.text() for one in window.page.findChildren(QLabel))
    assert "the keys that open it are missing" in said
    assert "backup" in said
    assert not window.page.findChildren(QLineEdit)
    profile.unfinished_key_slots.touch()  # what a crash during set-up left: set-up makes it afresh
    assert new_profile.problem(profile) is None


def code_page(page, qtbot):
    page.choice.first.setText(PASSPHRASE)
    page.choice.second.setText(PASSPHRASE)
    page.choice.accept.click()
    qtbot.waitUntil(lambda: page.code.text() == CODE)


def test_closing_on_the_recovery_code_asks_first(setup_page, qtbot):
    window, page, _ = setup_page
    code_page(page, qtbot)
    qtbot.waitUntil(lambda: window.tasks.running == 0)
    window.close()
    dialog = window.findChild(MarkedDialog)
    assert window.isVisible()
    assert "have not confirmed" in " ".join(one.text() for one in dialog.findChildren(QLabel))
    qtbot.keyClick(dialog, Qt.Key.Key_Return)  # Enter stays
    qtbot.waitUntil(lambda: not dialog.isVisible())
    assert window.isVisible()
    assert page.code.text() == CODE
    window.close()
    dialog = next(one for one in window.findChildren(MarkedDialog) if one.isVisible())
    next(one for one in dialog.findChildren(QPushButton) if one.text() == "Close").click()
    qtbot.waitUntil(lambda: not window.isVisible())


def test_closing_is_not_asked_about_once_the_code_is_confirmed(setup_page, qtbot):
    window, page, _ = setup_page
    code_page(page, qtbot)
    qtbot.waitUntil(lambda: window.tasks.running == 0)
    page.wrote.click()
    window.close()
    assert not window.isVisible()


def test_the_page_with_the_recovery_code_locks_when_nobody_is_there(qtbot, open_window):
    clock = Clock()
    desk = FakeDesk(policy(idle_lock_seconds=100), profile_exists=False, clock=clock)
    window = open_window(desk)
    window.page.agree.click()
    qtbot.waitUntil(lambda: isinstance(window.page, SetupPage))
    page = window.page
    code_page(page, qtbot)
    qtbot.waitUntil(lambda: window.tasks.running == 0)
    clock.now = 101
    window.idle.look()
    assert desk.calls.count("lock") == 1
    assert window.page is not page
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    assert not [field for field in window.findChildren(QLineEdit) if CODE in field.text()]


def test_a_first_unlocking_that_fails_still_shows_the_code_and_can_be_repeated(setup_page, qtbot):
    window, page, desk = setup_page
    desk.problems["unlock"] = AuditClosedError("The audit log is closed.", todo="Free some space.")
    code_page(page, qtbot)
    qtbot.waitUntil(page.problem.isVisible)
    del desk.problems["unlock"]
    page.wrote.click()
    page.proceed.click()
    qtbot.waitUntil(lambda: window.workspace is not None and window.tasks.running == 0)


def test_no_part_of_a_page_ever_opens_as_a_window_of_its_own(qtbot, qapp, open_window, ask):
    class Shows(QObject):
        def __init__(self):
            super().__init__()
            self.seen = set()

        def eventFilter(self, watched, event):
            if event.type() is QEvent.Type.Show and isinstance(watched, QWidget) and watched.isWindow():
                self.seen.add(type(watched).__name__)
            return False

    shows = Shows()
    qapp.installEventFilter(shows)
    desk = FakeDesk(profile_exists=False)
    desk.store.put("One", [(Role.USER, "a"), (Role.ASSISTANT, "b")])
    window = open_window(desk)
    window.page.agree.click()
    qtbot.waitUntil(lambda: isinstance(window.page, SetupPage))
    window.page.choice.first.setText(PASSPHRASE)
    window.page.choice.second.setText(PASSPHRASE)
    window.page.choice.accept.click()
    qtbot.waitUntil(lambda: window.page.code.text() == CODE)
    window.page.wrote.click()
    window.page.proceed.click()
    qtbot.waitUntil(lambda: window.workspace is not None)
    qtbot.waitUntil(lambda: window.tasks.running == 0)
    ask(window, "x")
    window.workspace.page.open(desk.store.conversations()[0].id)
    qtbot.waitUntil(lambda: window.tasks.running == 0)
    qapp.removeEventFilter(shows)
    assert shows.seen == {"Window"}
