"""What is written and not sent is there again after a lock, an idle lock, a close and a crash."""

import threading

import pytest
from PySide6.QtCore import Qt

from govdesk.domain.turn import Draft, Role
from govdesk.errors import DiskFullError
from govdesk.gui.composer import LARGE_PASTE_CHARACTERS
from tests.fakes import FakeDesk, Script, finding, policy


def again(desk):
    """The desk of the fresh, locked process that takes this one's place."""
    fresh = FakeDesk(desk.policy)
    fresh.store = desk.store
    fresh.chat = type(fresh.chat)(desk.store)
    fresh.drafts = desk.drafts
    return fresh


def write(qtbot, window, text):
    box = window.workspace.page.composer.box
    box.setFocus()
    qtbot.keyClicks(box, text)


def box(window):
    return window.workspace.page.composer.box.toPlainText()


def settled(qtbot, window):
    qtbot.waitUntil(lambda: window.tasks.running == 0)
    qtbot.wait(1)
    qtbot.waitUntil(lambda: window.tasks.running == 0)


@pytest.mark.parametrize("leave", ["key", "idle", "close"])
def test_the_draft_and_the_place_are_back(qtbot, enter, leave):
    now = [0.0]
    desk = FakeDesk(policy(idle_lock_seconds=100), clock=lambda: now[0])
    identity = desk.store.put("Port study", [(Role.USER, "a"), (Role.ASSISTANT, "b")])
    window = enter(desk)
    window.workspace.side._choose(window.workspace.side.model.index(0, 0))
    settled(qtbot, window)
    write(qtbot, window, "not sent yet")
    if leave == "key":
        qtbot.keyClick(window, Qt.Key.Key_L, Qt.KeyboardModifier.ControlModifier)
        assert "lock" in desk.calls
    elif leave == "idle":
        now[0] = 101
        window.idle.look()
        assert "lock" in desk.calls
    else:
        window.close()
    assert desk.drafts.draft == Draft(identity, "not sent yet")
    assert desk.drafts.threads == {"govdesk-task"}
    window = enter(again(desk))
    settled(qtbot, window)
    assert box(window) == "not sent yet"
    assert window.workspace.page.shown == identity
    assert window.workspace.title.text() == "Port study"
    assert len(window.workspace.page.transcript.views) == 2
    assert window.workspace.page.composer.why_not.text() == ""


def test_a_crash_loses_little(qtbot, enter, desk):
    window = enter(desk)
    window.workspace.drafts._due.setInterval(20)
    write(qtbot, window, "soon kept")
    qtbot.waitUntil(lambda: desk.drafts.draft == Draft(None, "soon kept"))
    write(qtbot, window, " and on")
    qtbot.waitUntil(lambda: desk.drafts.draft == Draft(None, "soon kept and on"))
    settled(qtbot, window)
    kept = len(desk.drafts.keeps)
    qtbot.wait(60)
    assert len(desk.drafts.keeps) == kept  # nothing changed, nothing is written


def test_what_was_sent_is_no_draft_any_more(qtbot, enter, ask, desk):
    window = enter(desk)
    window.workspace.drafts._due.setInterval(20)
    write(qtbot, window, "a question")
    qtbot.waitUntil(lambda: desk.drafts.draft is not None)
    desk.chat.script = Script(wait_for=threading.Event())
    window.workspace.page.composer.send_button.click()
    qtbot.waitUntil(lambda: desk.drafts.draft is not None and desk.drafts.draft.text == "")
    window.workspace.page.stop()
    qtbot.waitUntil(lambda: not window.workspace.page.running)
    settled(qtbot, window)
    assert desk.drafts.draft.text == ""


def test_a_draft_that_redaction_changed_says_so_once(qtbot, enter, desk):
    window = enter(desk)
    desk.drafts.found["call 123-45-6789"] = ("call [US_SSN]", (finding("US_SSN", 5, 16),))
    write(qtbot, window, "call 123-45-6789")
    window.lock()
    window = enter(again(desk))
    settled(qtbot, window)
    assert box(window) == "call [US_SSN]"
    said = window.workspace.page.composer.why_not
    assert "US_SSN" in said.text()
    assert "Redaction changed" in said.text()
    write(qtbot, window, "!")
    assert said.text() == ""


def test_a_draft_that_policy_blocks_is_told_now_and_after_the_lock(qtbot, enter, desk):
    window = enter(desk)
    window.workspace.drafts._due.setInterval(20)
    desk.drafts.found["the key"] = ("", (finding("SECRET.PRIVATE_KEY"),))
    write(qtbot, window, "the key")
    said = window.workspace.page.composer.why_not
    qtbot.waitUntil(lambda: "would not survive" in said.text())
    assert box(window) == "the key"
    settled(qtbot, window)
    window.lock()
    window = enter(again(desk))
    settled(qtbot, window)
    assert box(window) == ""
    assert "was not kept" in window.workspace.page.composer.why_not.text()


def test_a_draft_that_cannot_be_kept_is_said_and_stays_in_the_box(qtbot, enter, desk):
    window = enter(desk)
    window.workspace.drafts._due.setInterval(20)
    desk.drafts.problem = DiskFullError("The disk is full.", todo="Free some space.")
    write(qtbot, window, "words")
    qtbot.waitUntil(lambda: "Free some space." in window.workspace.page.composer.why_not.text())
    assert box(window) == "words"
    desk.drafts.problem = None
    write(qtbot, window, " more")
    qtbot.waitUntil(lambda: desk.drafts.draft == Draft(None, "words more"))
    settled(qtbot, window)


def test_a_long_draft_comes_back_beside_the_box_and_whole(qtbot, enter, desk):
    text = "word " * LARGE_PASTE_CHARACTERS
    desk.drafts.draft = Draft(None, text)
    window = enter(desk)
    settled(qtbot, window)
    assert box(window) == ""
    assert window.workspace.page.composer.prompt == text


def test_words_typed_before_the_draft_was_read_stay_too(qtbot, enter, desk):
    desk.drafts.draft = Draft(None, "kept")
    gate = threading.Event()
    kept = desk.drafts.kept
    desk.drafts.kept = lambda: (gate.wait(10), kept())[1]
    window = enter(desk, wait=False)
    write(qtbot, window, "new")
    gate.set()
    settled(qtbot, window)
    assert box(window) == "kept\n\nnew"
