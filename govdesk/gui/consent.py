"""The policy's consent text, verbatim, before anything else, until an explicit click (AC-8)."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QHBoxLayout, QPlainTextEdit

from govdesk.errors import GovDeskError
from govdesk.gui.desk import Desk
from govdesk.gui.parts import CardPage, button
from govdesk.gui.tasks import Tasks

_TEXT_HEIGHT, _SMALLEST_TEXT_HEIGHT = 260, 120


class _Text(QPlainTextEdit):
    """As high as reads well, and less where the screen is small."""

    def sizeHint(self) -> QSize:
        """What reads well."""
        return QSize(super().sizeHint().width(), _TEXT_HEIGHT)


class ConsentPage(CardPage):
    """Shows the text; `accepted` comes after the consent is on record, `declined` at once."""

    accepted = Signal()
    declined = Signal()

    def __init__(self, desk: Desk, tasks: Tasks) -> None:
        consent = desk.policy.policy.consent
        super().__init__(consent.title)
        self._desk, self._tasks = desk, tasks
        # The text is the signed policy's and is shown to the letter: no Markdown, nothing written out.
        self.text = _Text(consent.text)
        self.text.setObjectName("consent")
        self.text.setReadOnly(True)
        self.text.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.text.setTabChangesFocus(True)
        self.text.setMinimumHeight(_SMALLEST_TEXT_HEIGHT)
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

    def _record(self) -> None:
        self.agree.setEnabled(False)
        self._tasks.call(
            lambda: self._desk.record_consent("click"), lambda _: self.accepted.emit(), self._failed
        )

    def _failed(self, error: GovDeskError) -> None:
        self.agree.setEnabled(True)
        self.say_problem(error)
