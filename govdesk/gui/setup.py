"""First run: a passphrase chosen with the reasons live, and a recovery code that is shown once.

The profile is unlocked as soon as it is made, so that the idle lock guards the page with the code too.
"""

from __future__ import annotations

from collections.abc import Iterator

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QStackedLayout, QVBoxLayout, QWidget

from govdesk.errors import GovDeskError
from govdesk.gui.desk import Desk, Unlocked
from govdesk.gui.parts import CardPage, ShownOnce, busy, button, label
from govdesk.gui.passphrase_choice import PassphraseChoice
from govdesk.gui.tasks import Tasks


class SetupPage(CardPage):
    """Two steps; `opened` when the session is unlocked, `unlocked` carries what the desk gave at the end."""

    opened = Signal()
    unlocked = Signal(object)

    def __init__(self, desk: Desk, tasks: Tasks) -> None:
        super().__init__("Set up GovDesk")
        self._desk, self._tasks = desk, tasks
        self._passphrase = ""
        self._unlocked: Unlocked | None = None
        self._steps = QStackedLayout()
        self.card.addLayout(self._steps)  # first: a stack without a parent opens its page as a window
        self._steps.addWidget(self._passphrase_step())
        self._steps.addWidget(self._recovery_step())
        self.working = busy("Working")
        self.card.addWidget(self.problem)
        self.card.addWidget(self.working)
        self.focus_first = self.choice.first

    @property
    def code_unconfirmed(self) -> bool:
        """True while the code is on screen and the person has not said that it is written down."""
        return self._steps.currentIndex() == 1 and not self.wrote.isChecked()

    def _passphrase_step(self) -> QWidget:
        minimum = self._desk.policy.policy.session.minimum_passphrase_characters
        self.choice = PassphraseChoice(self._desk, "Create", "Create the profile")
        self.choice.chosen.connect(self._create)
        step, layout = _step()
        layout.addWidget(
            label(
                "Your conversations will be encrypted on this computer with a passphrase of your own. "
                f"Use at least {minimum} characters: a few words that nobody would put together.",
                "muted",
            )
        )
        layout.addWidget(self.choice)
        return step

    def _recovery_step(self) -> QWidget:
        self.code = ShownOnce("Recovery code")
        self.wrote = QCheckBox("I wrote it down and put it in a safe place")
        self.wrote.setAccessibleName(self.wrote.text())
        self.proceed = button("Continue", "primary")
        self.proceed.setEnabled(False)
        self.wrote.toggled.connect(self._may_proceed)
        self.proceed.clicked.connect(self._leave)
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
        layout.addStretch(1)
        return step

    def _create(self, passphrase: str) -> None:
        self._passphrase = passphrase
        self._begin_work()
        self.choice.setEnabled(False)

        def work() -> Iterator[str | Unlocked]:
            yield self._desk.create_profile(passphrase)
            yield self._desk.unlock(passphrase)

        self._tasks.iterate(work, self._came, self._end_work, self._failed)

    def _came(self, value: str | Unlocked) -> None:
        if isinstance(value, str):
            self.choice.clear()
            self.code.setText(value)
            self.code.setCursorPosition(0)
            self._steps.setCurrentIndex(1)
            self.code.setFocus()
        else:
            self._passphrase = ""
            self._unlocked = value
            self.opened.emit()
            self._may_proceed()

    def _leave(self) -> None:
        """Go on; when the first unlocking failed, try it again."""
        if self._unlocked is not None:
            self.code.clear()
            self.unlocked.emit(self._unlocked)
            return
        passphrase = self._passphrase
        self._begin_work()
        self._may_proceed()

        def opened(unlocked: Unlocked) -> None:
            self._came(unlocked)
            self._end_work()
            self._leave()

        self._tasks.call(lambda: self._desk.unlock(passphrase), opened, self._failed)

    def _failed(self, error: GovDeskError) -> None:
        self._end_work()
        self.say_problem(error)

    def _begin_work(self) -> None:
        self.working.show()
        self.problem.hide()

    def _end_work(self) -> None:
        self.working.hide()
        self.choice.setEnabled(True)
        self._may_proceed()

    def _may_proceed(self) -> None:
        self.proceed.setEnabled(self.wrote.isChecked() and self.working.isHidden())


def _step() -> tuple[QWidget, QVBoxLayout]:
    step = QWidget()
    layout = QVBoxLayout(step)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.setSpacing(10)
    return step, layout
