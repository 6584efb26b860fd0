"""What stands unsent in the message box, and the place, survive a lock, a close and nearly all of a crash.

Kept a while after it changed, at once when the box is emptied, and when the window leaves the session;
always off the GUI thread, and in order: a later state is never overwritten by an earlier one.
"""

from __future__ import annotations

from PySide6.QtCore import QObject, QTimer, Signal

from govdesk.chat.ports import Drafts
from govdesk.domain.ids import ConversationId
from govdesk.domain.turn import Draft
from govdesk.errors import GovDeskError
from govdesk.gui import words
from govdesk.gui.chat_page import ChatPage
from govdesk.gui.tasks import InOrder, Tasks

KEEP_AFTER_MS = 10_000
_BLOCKED = "Policy does not let this draft be stored ({found}): it would not survive a lock."
_WAS_BLOCKED = "The last draft was not kept: policy does not let it be stored ({found})."
_CHANGED = "Your draft is back. Redaction changed it when it was kept: {found}."


class DraftKeeper(QObject):
    """`place` carries the conversation that was open, once, after `restore`.

    Args:
        drafts: keeps it.
        page: its message box and the conversation it shows.
        tasks: where the work is done.
    """

    place = Signal(str)

    def __init__(self, drafts: Drafts, page: ChatPage, tasks: Tasks) -> None:
        super().__init__(page)
        self._drafts, self._page, self._tasks = drafts, page, tasks
        self._ready = False
        self._told = False
        self._last: tuple[ConversationId | None, str] = (None, "")
        self._in_order = InOrder()
        self._due = QTimer(self)
        self._due.setSingleShot(True)
        self._due.setInterval(KEEP_AFTER_MS)
        self._due.timeout.connect(self.save)
        page.composer.edited.connect(self.changed)

    def restore(self) -> None:
        """Put back what was kept; nothing is kept before that is done."""
        self._tasks.call(self._drafts.kept, self._restored, self._failed)

    def changed(self) -> None:
        """Text or place changed."""
        if not self._page.composer.prompt:
            self._told = False
            self.save()
        elif not self._due.isActive():
            self._due.start()

    def save(self) -> None:
        """Keep what stands there now, unless that is kept already."""
        self._due.stop()
        now = (self._page.shown, self._page.composer.prompt)
        if not self._ready or now == self._last:
            return
        self._last = now
        keep = self._in_order.next(lambda: self._drafts.keep(*now))
        self._tasks.call(keep, self._kept, self._failed)

    def _kept(self, draft: Draft | None) -> None:
        if draft is not None and draft.findings and not draft.text:
            self._tell(_BLOCKED.format(found=words.findings(draft.findings)))

    def _restored(self, draft: Draft | None) -> None:
        self._ready = True
        if draft is None:
            return
        composer = self._page.composer
        meanwhile = composer.prompt
        self._last = (draft.conversation, draft.text)
        if draft.text:
            composer.clear()
            composer.put_back("\n\n".join(part for part in (draft.text, meanwhile) if part))
        if draft.findings:
            said = _CHANGED if draft.text else _WAS_BLOCKED
            composer.say(said.format(found=words.findings(draft.findings)))
        if draft.conversation is not None and self._page.shown is None and not self._page.running:
            self.place.emit(draft.conversation)

    def _failed(self, error: GovDeskError) -> None:
        self._ready = True
        self._last = (None, "")  # what is kept is not known: the next change is kept whole
        self._tell(error.explain())

    def _tell(self, text: str) -> None:
        if not self._told:
            self._told = True
            self._page.composer.say(text)
