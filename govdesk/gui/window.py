"""The window: always bannered, shows nothing of a session before consent and unlock, blank once locked."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QCloseEvent
from PySide6.QtWidgets import QApplication, QHBoxLayout, QMainWindow, QStackedWidget, QWidget

from govdesk.errors import GovDeskError
from govdesk.gui import dialogs, theme
from govdesk.gui.banner import Bannered
from govdesk.gui.consent import ConsentPage
from govdesk.gui.desk import Desk, Unlocked
from govdesk.gui.idle import IdleWatch
from govdesk.gui.parts import CardPage, button, label
from govdesk.gui.setup import SetupPage
from govdesk.gui.tasks import Tasks
from govdesk.gui.unlock import UnlockPage
from govdesk.gui.workspace import Workspace

_SIZE = (1180, 760)
_SMALLEST = (720, 480)
_WAIT_SECONDS = 5.0


class Window(QMainWindow):
    """Pages in order: starting, consent, set-up or unlock, workspace; blank when locked.

    `locked` asks for the end of the process.
    """

    raise_asked = Signal()
    locked = Signal()

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self.tasks = Tasks()
        self.workspace: Workspace | None = None
        self._locked = False
        self.setWindowTitle("GovDesk")  # neutral: other programs can read window titles
        self._pages = QStackedWidget()
        self.setCentralWidget(Bannered(desk.policy, self._pages))
        self.resize(*_SIZE)
        self.setMinimumSize(*_SMALLEST)
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

    def refuse(self, error: GovDeskError) -> None:
        """GovDesk may not run: say why, and offer only to leave."""
        page = _words_page("GovDesk cannot run here", error.explain())
        leave = button("Close GovDesk", "primary")
        leave.clicked.connect(self.close)
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(leave)
        page.card.addLayout(row)
        self._go(page)
        leave.setFocus()

    def say_unexpected(self, error: GovDeskError) -> None:
        """A calm dialog for an error that nobody foresaw."""
        dialog = dialogs.message(self._desk.policy, "Something went wrong", error.explain(), self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def lock(self) -> None:
        """Blank the window, stop what runs, and end this process: a fresh, locked one takes its place.

        Qt keeps copies of shown text that nothing can wipe; only the end of the process does.
        """
        if self.workspace is None or self._locked:
            return
        self._locked = True
        self._leave_session("Locking…")
        self._desk.lock()
        self.locked.emit()

    def restyle(self) -> None:
        """The system's colour scheme changed."""
        application = QApplication.instance()
        if isinstance(application, QApplication):
            theme.apply(application, theme.in_force())
        if self.workspace is not None:
            self.workspace.restyle()

    def closeEvent(self, event: QCloseEvent) -> None:
        """Stop a running turn first: what came is kept."""
        if not self._locked:
            self._locked = True
            self._leave_session("Closing…")
        event.accept()

    def _leave_session(self, words: str) -> None:
        self.idle.end()
        if self.workspace is not None and self.workspace.running:
            self.workspace.stop()
        for dialog in self.findChildren(dialogs.MarkedDialog):
            dialog.reject()
        self._go(_words_page("GovDesk", words))
        self.workspace = None
        self.repaint()
        self.tasks.end(_WAIT_SECONDS)

    def _consented(self) -> None:
        page: SetupPage | UnlockPage
        if self._desk.profile_exists:
            page = UnlockPage(self._desk, self.tasks)
        else:
            page = SetupPage(self._desk, self.tasks)
        page.unlocked.connect(self._unlocked)
        self._go(page)

    def _unlocked(self, unlocked: Unlocked) -> None:
        self.workspace = Workspace(self._desk, unlocked, self.tasks)
        self.workspace.lock.connect(self.lock)
        self._go(self.workspace)
        application = QApplication.instance()
        if application is not None:
            self.idle.watch(application)

    def _go(self, page: CardPage | Workspace) -> None:
        """Show this page and drop the last one."""
        last = self._pages.currentWidget()
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
