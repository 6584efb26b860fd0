"""First run: a passphrase chosen with the reasons live, and a recovery code that is shown once."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QLineEdit, QStackedLayout, QVBoxLayout, QWidget

from govdesk.errors import GovDeskError
from govdesk.gui.desk import Desk, Unlocked
from govdesk.gui.parts import CardPage, busy, button, label, passphrase_field
from govdesk.gui.tasks import Tasks


class SetupPage(CardPage):
    """Two steps; `unlocked` carries what the desk gave at the end."""

    unlocked = Signal(object)

    def __init__(self, desk: Desk, tasks: Tasks) -> None:
        super().__init__("Set up GovDesk")
        self._desk, self._tasks = desk, tasks
        self._passphrase = ""
        self._steps = QStackedLayout()
        self.card.addLayout(self._steps)  # first: a stack without a parent opens its page as a window
        self._steps.addWidget(self._passphrase_step())
        self._steps.addWidget(self._recovery_step())
        self.problem = label("", "error")
        self.problem.hide()
        self.working = busy("Working")
        self.card.addWidget(self.problem)
        self.card.addWidget(self.working)
        self.focus_first = self.first
        self._check()

    def _passphrase_step(self) -> QWidget:
        minimum = self._desk.policy.policy.session.minimum_passphrase_characters
        self.first = passphrase_field("New passphrase")
        self.second = passphrase_field("New passphrase again")
        self.first.setPlaceholderText("Passphrase")
        self.second.setPlaceholderText("The same again")
        self.reason = label("", "muted")
        self.reason.setMinimumHeight(self.reason.fontMetrics().lineSpacing() * 2)
        self.reason.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.show_text = QCheckBox("Show what I type")
        self.show_text.setAccessibleName("Show what I type")
        self.create_button = button("Create", "primary", name="Create the profile")
        self.first.textChanged.connect(self._check)
        self.second.textChanged.connect(self._check)
        self.first.returnPressed.connect(self.second.setFocus)
        self.second.returnPressed.connect(self._create)
        self.show_text.toggled.connect(self._show_text)
        self.create_button.clicked.connect(self._create)
        step, layout = _step()
        layout.addWidget(
            label(
                "Your conversations will be encrypted on this computer with a passphrase of your own. "
                f"Use at least {minimum} characters: a few words that nobody would put together.",
                "muted",
            )
        )
        layout.addWidget(self.first)
        layout.addWidget(self.second)
        layout.addWidget(self.reason)
        row = QHBoxLayout()
        row.addWidget(self.show_text)
        row.addStretch(1)
        row.addWidget(self.create_button)
        layout.addLayout(row)
        return step

    def _recovery_step(self) -> QWidget:
        self.code = label("", "code")
        self.code.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.code.setMinimumHeight(3 * self.code.fontMetrics().lineSpacing())
        self.code.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.code.setAccessibleName("Recovery code")
        self.wrote = QCheckBox("I wrote it down and put it in a safe place")
        self.wrote.setAccessibleName(self.wrote.text())
        self.proceed = button("Continue", "primary")
        self.proceed.setEnabled(False)
        self.wrote.toggled.connect(self.proceed.setEnabled)
        self.proceed.clicked.connect(self._unlock)
        step, layout = _step()
        layout.addWidget(
            label(
                "This recovery code opens your conversations if you forget the passphrase. It is shown only "
                "now and kept nowhere. Write it on paper and keep it as your rules for such papers say.",
                "muted",
            )
        )
        layout.addWidget(self.code)
        row = QHBoxLayout()
        row.addWidget(self.wrote)
        row.addStretch(1)
        row.addWidget(self.proceed)
        layout.addLayout(row)
        return step

    def _show_text(self, shown: bool) -> None:
        mode = QLineEdit.EchoMode.Normal if shown else QLineEdit.EchoMode.Password
        self.first.setEchoMode(mode)
        self.second.setEchoMode(mode)

    def _check(self) -> None:
        """The reason why not, while typing; none before the first character."""
        first, second = self.first.text(), self.second.text()
        why = self._desk.passphrase_problem(first) if first else ""
        if not why and first and second and first != second:
            why = "The two are not the same yet."
        elif not why and first and not second:
            why = "Good. Now type it again."
        elif not why and first:
            why = "Good. Both are the same."
        self.reason.setText(why)
        self.create_button.setEnabled(
            bool(first) and first == second and not self._desk.passphrase_problem(first)
        )

    def _create(self) -> None:
        if not self.create_button.isEnabled():
            return
        self._passphrase = self.first.text()
        passphrase = self._passphrase
        self._set_working(working=True)
        self._tasks.call(lambda: self._desk.create_profile(passphrase), self._created, self._failed)

    def _created(self, code: str) -> None:
        self._set_working(working=False)
        self.first.clear()
        self.second.clear()
        self.code.setText(code)
        self._steps.setCurrentIndex(1)
        self.code.setFocus()

    def _unlock(self) -> None:
        passphrase = self._passphrase
        self._set_working(working=True)
        self._tasks.call(lambda: self._desk.unlock(passphrase), self._opened, self._failed)

    def _opened(self, opened: Unlocked) -> None:
        self._passphrase = ""
        self.code.clear()
        self.unlocked.emit(opened)

    def _failed(self, error: GovDeskError) -> None:
        self._set_working(working=False)
        self.problem.setText(error.explain())
        self.problem.show()

    def _set_working(self, *, working: bool) -> None:
        step = self._steps.currentWidget()
        if step is not None:
            step.setEnabled(not working)
        self.working.setVisible(working)
        if working:
            self.problem.hide()


def _step() -> tuple[QWidget, QVBoxLayout]:
    step = QWidget()
    layout = QVBoxLayout(step)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(10)
    return step, layout
