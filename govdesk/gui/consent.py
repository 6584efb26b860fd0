"""The policy's consent text, verbatim, before anything else, until an explicit click (AC-8)."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QPlainTextEdit

from govdesk.errors import GovDeskError
from govdesk.gui.desk import Desk
from govdesk.gui.parts import CardPage, button
from govdesk.gui.tasks import Tasks

_TEXT_HEIGHT, _SMALLEST_TEXT_HEIGHT = 260, 120
_FRAME = 8
"""Room for the scroll area's own frame."""


class ConsentPage(CardPage):
    """Shows the text; `accepted` comes after the consent is on record, `declined` at once."""

    accepted = Signal()
    declined = Signal()

    def __init__(self, desk: Desk, tasks: Tasks) -> None:
        consent = desk.policy.policy.consent
        super().__init__(consent.title)
        self._desk, self._tasks = desk, tasks
        # The text is the signed policy's and is shown to the letter: no Markdown, nothing written out.
        self.text = QPlainTextEdit(consent.text)
        self.text.setObjectName("consent")
        self.text.setReadOnly(True)
        self.text.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.text.setTabChangesFocus(True)
        self.text.setFixedHeight(_TEXT_HEIGHT)
        self.text.setAccessibleName(f"{consent.title}: {consent.text}")
        self.agree = button("I agree", "primary", name="I agree to these terms")
        self.leave = button("Leave", name="Leave GovDesk without agreeing")
        self.agree.clicked.connect(self._record)
        self.leave.clicked.connect(self.declined)
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(self.leave)
        row.addWidget(self.agree)
        self.card.addWidget(self.text, 1)
        self.card.addWidget(self.problem)
        self.card.addLayout(row)
        self.focus_first = self.text

    def resizeEvent(self, event: QResizeEvent) -> None:
        """The buttons stay in sight: a small screen takes its room from the text, which scrolls."""
        super().resizeEvent(event)
        others = self.needed_height(event.size().width()) - self.text.height()
        room = event.size().height() - others - _FRAME
        self.text.setFixedHeight(max(_SMALLEST_TEXT_HEIGHT, min(_TEXT_HEIGHT, room)))

    def _record(self) -> None:
        self.agree.setEnabled(False)
        self._tasks.call(
            lambda: self._desk.record_consent("click"), lambda _: self.accepted.emit(), self._failed
        )

    def _failed(self, error: GovDeskError) -> None:
        self.agree.setEnabled(True)
        self.say_problem(error)
