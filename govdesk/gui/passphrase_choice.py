"""A new passphrase, typed twice, with the reasons why not while it is typed."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QLineEdit, QPushButton, QVBoxLayout, QWidget

from govdesk.gui.desk import Desk
from govdesk.gui.parts import button, label, passphrase_field

_ADVICE = " Four or more unrelated words are easy to remember and hard to guess."


class PassphraseChoice(QWidget):
    """`chosen` carries a passphrase that policy accepts, typed twice the same.

    Args:
        desk: judges the passphrase.
        words: of the button.
        name: what the button does, for screen readers.
        beside: stands before the button, when given.
    """

    chosen = Signal(str)

    def __init__(self, desk: Desk, words: str, name: str, beside: QPushButton | None = None) -> None:
        super().__init__()
        self._desk = desk
        self.first = passphrase_field("New passphrase")
        self.second = passphrase_field("New passphrase again")
        self.first.setPlaceholderText("Passphrase")
        self.second.setPlaceholderText("The same again")
        self.reason = label("", "muted")
        self.reason.setMinimumHeight(self.reason.fontMetrics().lineSpacing() * 2)
        self.reason.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.show_text = QCheckBox("Show what I type")
        self.show_text.setAccessibleName("Show what I type")
        self.accept = button(words, "primary", name=name)
        self.first.textChanged.connect(self._check)
        self.second.textChanged.connect(self._check)
        self.first.returnPressed.connect(self.second.setFocus)
        self.second.returnPressed.connect(self._choose)
        self.show_text.toggled.connect(self._show_text)
        self.accept.clicked.connect(self._choose)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(10)
        column.addWidget(self.first)
        column.addWidget(self.second)
        column.addWidget(self.reason)
        row = QHBoxLayout()
        row.addWidget(self.show_text)
        row.addStretch(1)
        if beside is not None:
            row.addWidget(beside)
        row.addWidget(self.accept)
        column.addLayout(row)
        self._check()

    def clear(self) -> None:
        """Forget what was typed."""
        self.first.clear()
        self.second.clear()

    def _show_text(self, shown: bool) -> None:
        mode = QLineEdit.EchoMode.Normal if shown else QLineEdit.EchoMode.Password
        self.first.setEchoMode(mode)
        self.second.setEchoMode(mode)

    def _check(self) -> None:
        """The reason why not, while typing; none before the first character."""
        first, second = self.first.text(), self.second.text()
        objection = self._desk.passphrase_problem(first) if first else ""
        why = objection + _ADVICE if objection else ""
        if not why and first and second and first != second:
            why = "The two are not the same yet."
        elif not why and first and not second:
            why = "Good. Now type it again."
        elif not why and first:
            why = "Good. Both are the same."
        self.reason.setText(why)
        self.accept.setEnabled(bool(first) and first == second and not objection)

    def _choose(self) -> None:
        if self.accept.isEnabled():
            self.chosen.emit(self.first.text())
