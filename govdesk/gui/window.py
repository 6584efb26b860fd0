"""The window: always bannered, shows nothing of a session before consent and unlock, blank once locked."""

from __future__ import annotations

from PySide6.QtCore import QRect, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import QApplication, QHBoxLayout, QMainWindow, QStackedWidget, QWidget

from govdesk.errors import GovDeskError
from govdesk.gui import dialogs, theme
from govdesk.gui.banner import Bannered
from govdesk.gui.consent import ConsentPage
from govdesk.gui.desk import Desk, Unlocked
from govdesk.gui.idle import IdleWatch
from govdesk.gui.new_passphrase import NewPassphrasePage
from govdesk.gui.parts import CardPage, announce, button, label
from govdesk.gui.setup import SetupPage
from govdesk.gui.tasks import Tasks
from govdesk.gui.unlock import UnlockPage
from govdesk.gui.workspace import Workspace

_SIZE = QSize(1180, 760)
_SMALLEST = QSize(720, 480)
_FRAME = QSize(16, 48)
"""What a window manager puts around a window, at most; not known before the window is on screen."""
_WAIT_SECONDS = 5.0


class Window(QMainWindow):
    """Pages in order: starting, consent, set-up or unlock, workspace; blank when locked.

    `locked` asks for the end of the process.

    Args:
        desk: what the window may use.
        available: the part of the screen that windows may cover; the one it opens on when not given.
    """

    raise_asked = Signal()
    locked = Signal()

    def __init__(self, desk: Desk, available: QRect | None = None) -> None:
        super().__init__()
        self._desk = desk
        self.tasks = Tasks()
        self.workspace: Workspace | None = None
        self._open = False
        self._locked = False
        self._may_close = False
        self.setWindowTitle("GovDesk")  # neutral: other programs can read window titles
        self._pages = QStackedWidget()
        self.setCentralWidget(Bannered(desk.policy, self._pages))
        self._fit(self.screen().availableGeometry() if available is None else available)
        self.idle = IdleWatch(desk)
        self.idle.idle.connect(self.lock)
        self.raise_asked.connect(self._come_to_front, Qt.ConnectionType.QueuedConnection)
        desk.on_raise(self.raise_asked.emit)
        self._go(_words_page("GovDesk", "Starting…"))

    @property
    def page(self) -> QWidget | None:
        """The page on screen."""
        return self._pages.currentWidget()

    def start(self) -> None:
        """The walls are up: ask for consent."""
        page = ConsentPage(self._desk, self.tasks)
        page.accepted.connect(self._consented)
        page.declined.connect(self.close)
        self._go(page)

    def refuse(self, error: GovDeskError, title: str = "GovDesk cannot run here") -> None:
        """GovDesk may not go on: say why, and offer only to leave."""
        page = _words_page(title, error.explain())
        leave = button("Close GovDesk", "primary")
        leave.clicked.connect(self.close)
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(leave)
        page.card.addLayout(row)
        self._go(page)
        leave.setFocus()
        announce(page, error.explain())

    def say_unexpected(self, error: GovDeskError) -> None:
        """A calm dialog for an error that nobody foresaw."""
        dialog = dialogs.message(self._desk.policy, "Something went wrong", error.explain(), self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def lock(self) -> None:
        """Blank the window, stop what runs, and end this process: a fresh, locked one takes its place.

        Qt keeps copies of shown text that nothing can wipe; only the end of the process does.
        """
        if not self._open or self._locked:
            return
        self._locked = True
        try:
            self._leave_session("Locking…")
            self._desk.lock()
            self.tasks.end(_WAIT_SECONDS)
        finally:
            self.locked.emit()

    def end(self) -> None:
        """Close without asking: the desktop or an administrator ends GovDesk."""
        self._may_close = True
        self.close()

    def restyle(self) -> None:
        """The system's colour scheme changed."""
        application = QApplication.instance()
        if isinstance(application, QApplication):
            theme.apply(application, theme.in_force())
        if self.workspace is not None:
            self.workspace.restyle()

    def closeEvent(self, event: QCloseEvent) -> None:
        """Keep draft and answer first. Ask before a recovery code is lost for good."""
        page = self.page
        if isinstance(page, SetupPage) and page.code_unconfirmed and not (self._locked or self._may_close):
            event.ignore()
            self._ask_to_close()
            return
        if not self._locked:
            self._locked = True
            self._leave_session("Closing…")
            self.tasks.end(_WAIT_SECONDS)
        event.accept()

    def _ask_to_close(self) -> None:
        if any(dialog.isVisible() for dialog in self.findChildren(dialogs.MarkedDialog)):
            return

        def close() -> None:
            self._may_close = True
            QTimer.singleShot(0, self, self.close)  # once the dialog is done with itself

        dialog = dialogs.confirm_close(self._desk.policy, self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.accepted.connect(close)
        dialog.open()

    def _fit(self, available: QRect) -> None:
        """Never larger than the screen: the lower banner must not fall off it."""
        room = (available.size() - _FRAME).expandedTo(QSize(1, 1))
        self.setMinimumSize(_SMALLEST.boundedTo(room))
        self.resize(_SIZE.boundedTo(room))
        if _SIZE.boundedTo(room) != _SIZE:
            self.setWindowState(self.windowState() | Qt.WindowState.WindowMaximized)

    def _leave_session(self, words: str) -> None:
        self.idle.end()
        if self.workspace is not None:
            self.workspace.leave()
        for dialog in self.findChildren(dialogs.MarkedDialog):
            dialog.reject()
        self._go(_words_page("GovDesk", words))
        self.repaint()

    def _consented(self) -> None:
        problem = self._desk.profile_problem
        if problem is not None:
            self.refuse(problem, "This profile cannot be opened")
        elif self._desk.profile_exists:
            unlock = UnlockPage(self._desk, self.tasks)
            unlock.unlocked.connect(self._unlocked)
            self._go(unlock)
        else:
            setup = SetupPage(self._desk, self.tasks)
            setup.opened.connect(self._guard)
            setup.unlocked.connect(self._enter)
            self._go(setup)

    def _guard(self) -> None:
        """The session is unlocked: from now on it locks when nobody is there."""
        self._open = True
        application = QApplication.instance()
        if application is not None:
            self.idle.watch(application)

    def _unlocked(self, unlocked: Unlocked, recovery_code: str) -> None:
        self._guard()
        if not recovery_code:
            self._enter(unlocked)
            return
        page = NewPassphrasePage(self._desk, self.tasks, unlocked, recovery_code)
        page.unlocked.connect(self._enter)
        self._go(page)

    def _enter(self, unlocked: Unlocked) -> None:
        if self._locked:
            return
        self.workspace = Workspace(self._desk, unlocked, self.tasks)
        self.workspace.lock.connect(self.lock)
        self._go(self.workspace)

    def _go(self, page: CardPage | Workspace) -> None:
        """Show this page and drop the last one."""
        last = self._pages.currentWidget()
        if page is not self.workspace:
            self.workspace = None
        self._pages.addWidget(page)
        self._pages.setCurrentWidget(page)
        if last is not None:
            self._pages.removeWidget(last)
            last.deleteLater()
        page.take_focus()

    def _come_to_front(self) -> None:
        if self.isMinimized():
            self.showNormal()
        self.raise_()
        self.activateWindow()


def _words_page(title: str, text: str) -> CardPage:
    page = CardPage(title)
    page.card.addWidget(label(text))
    return page
