"""Opens the profile with passphrase or recovery code; a wrong one is said plainly and loses nothing."""

from __future__ import annotations

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QHBoxLayout, QLineEdit

from govdesk.errors import GovDeskError
from govdesk.gui.desk import Desk, Unlocked
from govdesk.gui.parts import CardPage, busy, button, label, passphrase_field
from govdesk.gui.tasks import Tasks


class UnlockPage(CardPage):
    """`unlocked` carries what the desk gave, and the recovery code if that opened it."""

    unlocked = Signal(object, str)

    def __init__(self, desk: Desk, tasks: Tasks) -> None:
        super().__init__("Unlock GovDesk")
        self._desk, self._tasks = desk, tasks
        self._with_code = False
        self.words = label("", "muted")
        self.field = passphrase_field("Passphrase")
        self.field.returnPressed.connect(self._unlock)
        self.working = busy("Unlocking")
        self.unlock_button = button("Unlock", "primary")
        self.unlock_button.clicked.connect(self._unlock)
        self.other = button("", "quiet")
        self.other.clicked.connect(self._switch)
        row = QHBoxLayout()
        row.addWidget(self.other)
        row.addStretch(1)
        row.addWidget(self.unlock_button)
        for widget in (self.words, self.field, self.problem, self.working):
            self.card.addWidget(widget)
        self.card.addLayout(row)
        self.setTabOrder(self.field, self.unlock_button)
        self.setTabOrder(self.unlock_button, self.other)
        self.focus_first = self.field
        self._say()

    def _switch(self) -> None:
        self._with_code = not self._with_code
        self.field.clear()
        self.problem.hide()
        self._say()
        self.field.setFocus()

    def _say(self) -> None:
        if self._with_code:
            self.words.setText("Type the recovery code you wrote down when the profile was made.")
            self.other.setText("Use the passphrase")
            self.field.setEchoMode(QLineEdit.EchoMode.Normal)
        else:
            self.words.setText("Your conversations are encrypted on this computer. Type your passphrase.")
            self.other.setText("Use the recovery code")
            self.field.setEchoMode(QLineEdit.EchoMode.Password)
        name = "Recovery code" if self._with_code else "Passphrase"
        self.field.setAccessibleName(name)
        self.field.setPlaceholderText(name)
        self.other.setAccessibleName(self.other.text())

    def _unlock(self) -> None:
        secret = self.field.text()
        if not secret or not self.field.isEnabled():
            return
        self._set_working(working=True)
        opens = self._desk.unlock_with_recovery if self._with_code else self._desk.unlock
        code = secret if self._with_code else ""

        def opened(unlocked: Unlocked) -> None:
            self.field.clear()
            self.words.setText("Opening…")
            self.unlocked.emit(unlocked, code)

        self._tasks.call(lambda: opens(secret), opened, self._failed)

    def _failed(self, error: GovDeskError) -> None:
        self._set_working(working=False)
        self._say()
        self.say_problem(error)
        self.field.selectAll()
        self.field.setFocus()

    def _set_working(self, *, working: bool) -> None:
        for widget in (self.field, self.unlock_button, self.other):
            widget.setEnabled(not working)
        self.working.setVisible(working)
        if working:
            self.problem.hide()
            self.words.setText("Unlocking… it takes a second or two on purpose: guessing is slow, too.")
