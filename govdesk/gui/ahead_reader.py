"""Asks for reading ahead: an opened conversation, a paste, a pause in typing; never on the GUI thread.

It says nothing to the person but the exact count: what policy would deny is said when it is sent.
"""

from __future__ import annotations

from PySide6.QtCore import QObject, QTimer

from govdesk.chat.ports import Ahead
from govdesk.domain.ids import ConversationId
from govdesk.domain.turn import AheadResult, Counted, Later
from govdesk.errors import GovDeskError
from govdesk.gui.chat_page import ChatPage
from govdesk.gui.tasks import Tasks

PAUSE_MS = 700
"""Nobody types for so long in the middle of a word."""
_PASTED_MS = 30


class AheadReader(QObject):
    """Reads what stands in a page's box, one reading at a time.

    Args:
        ahead: checks, records and reads.
        page: its message box and the conversation it shows.
        tasks: where the work is done.
    """

    def __init__(self, ahead: Ahead, page: ChatPage, tasks: Tasks) -> None:
        super().__init__(page)
        self._ahead, self._page, self._tasks = ahead, page, tasks
        self._reading: tuple[ConversationId | None, str] | None = None
        self._last: tuple[ConversationId | None, str] = (None, "")
        self._due = QTimer(self)
        self._due.setSingleShot(True)
        self._due.timeout.connect(self._read)
        page.composer.edited.connect(self._edited)
        page.composer.pasted.connect(lambda: self._due.start(_PASTED_MS))
        page.settled.connect(self._edited)

    def stop(self) -> None:
        """The window leaves the session: what is read now will not be sent."""
        self._due.stop()
        self._ahead.stop()

    def _now(self) -> tuple[ConversationId | None, str]:
        return self._page.shown, self._page.composer.prompt

    def _edited(self) -> None:
        """Text or place changed: what is read and does not begin the new text is not read on."""
        conversation, prompt = self._now()
        if self._reading is not None and not (
            self._reading[0] == conversation and prompt.startswith(self._reading[1])
        ):
            self._ahead.stop()
        self._due.start(PAUSE_MS)

    def _read(self) -> None:
        now = self._now()
        if self._reading is not None or not self._page.can_read or now in (self._last, (None, "")):
            return
        self._reading = now
        self._tasks.call(lambda: self._ahead.read(*now), self._done, self._failed)

    def _done(self, result: AheadResult) -> None:
        read, self._reading = self._reading, None
        if read is None:
            return
        match result:
            case Later(seconds=seconds):
                self._due.start(max(1, round(1000 * seconds)))
                return
            case Counted():
                self._page.composer.set_counted(read[1], result)
        self._last = read
        if self._now() != read and not self._due.isActive():
            self._due.start(PAUSE_MS)

    def _failed(self, error: GovDeskError) -> None:
        """Sending will say what is wrong; until something changes it is not tried again."""
        del error
        self._last = self._reading or self._last
        self._reading = None
