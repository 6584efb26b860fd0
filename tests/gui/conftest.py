"""Offscreen, Qt's warnings fail, no thread outlives its test."""

import os
import threading
import time

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6.QtCore import QEvent, QtMsgType, qInstallMessageHandler
from PySide6.QtWidgets import QApplication

from govdesk.gui import theme
from govdesk.gui.window import Window
from tests.fakes import PASSPHRASE, FakeDesk

# The offscreen platform's own, about nothing of ours.
HARMLESS = ("propagateSizeHints", "does not support raise()")


@pytest.fixture(scope="session")
def qapp_args():
    return ["govdesk"]


@pytest.fixture(autouse=True)
def nothing_left_over(qapp):
    """Qt says nothing at all, and all our threads end."""
    said = []

    def listen(kind, _context, text):
        if kind != QtMsgType.QtDebugMsg and not any(word in text for word in HARMLESS):
            said.append(text)

    before = set(threading.enumerate())
    last = qInstallMessageHandler(listen)
    yield
    QApplication.processEvents()
    qInstallMessageHandler(last)
    deadline = time.monotonic() + 5
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        QApplication.processEvents()
        time.sleep(0.01)
    assert not set(threading.enumerate()) - before, "threads left over"
    assert not said


@pytest.fixture
def desk():
    return FakeDesk()


@pytest.fixture
def open_window(qtbot, qapp):
    """A window on its consent page."""
    windows = []
    qapp.setStyle("Fusion")
    theme.apply(qapp, theme.LIGHT)

    def open_it(desk):
        window = Window(desk)
        windows.append(window)
        window.show()
        window.activateWindow()
        qtbot.waitUntil(window.isActiveWindow)
        window.start()
        return window

    yield open_it
    for window in windows:
        window.close()
        window.deleteLater()
    # Gone for good: an old window that dies in the next test takes the activation with it.
    qapp.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
    qapp.processEvents()


@pytest.fixture
def enter(qtbot, open_window):
    """A window with an unlocked workspace whose model is loaded."""

    def enter_it(desk, *, wait=True):
        window = open_window(desk)
        window.page.agree.click()
        qtbot.waitUntil(lambda: hasattr(window.page, "unlock_button"))
        window.page.field.setText(PASSPHRASE)
        window.page.unlock_button.click()
        qtbot.waitUntil(lambda: window.workspace is not None)
        if wait:
            qtbot.waitUntil(lambda: window.tasks.running == 0)
        window.activateWindow()
        qtbot.waitUntil(window.isActiveWindow)
        return window

    return enter_it


@pytest.fixture
def ask(qtbot):
    """Types a message, sends it, and waits for the end of the turn."""

    def ask_it(window, text, *, wait=True):
        page = window.workspace.page
        page.composer.box.setPlainText(text)
        page.composer.send_button.click()
        assert page.running
        if wait:
            qtbot.waitUntil(lambda: not page.running)
            qtbot.waitUntil(lambda: window.tasks.running == 0)
        return page

    return ask_it
