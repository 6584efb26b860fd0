"""After the recovery code opened the profile: a new passphrase in place of the forgotten one."""

from __future__ import annotations

from PySide6.QtCore import Signal

from govdesk.errors import GovDeskError
from govdesk.gui.desk import Desk, Unlocked
from govdesk.gui.parts import CardPage, busy, button, label
from govdesk.gui.passphrase_choice import PassphraseChoice
from govdesk.gui.tasks import Tasks


class NewPassphrasePage(CardPage):
    """`unlocked` when it is replaced, or the person keeps the old one; carries what the desk gave.

    Args:
        desk: replaces it.
        tasks: where that runs.
        unlocked: what the desk gave for the recovery code.
        code: the recovery code that just opened the profile.
    """

    unlocked = Signal(object)

    def __init__(self, desk: Desk, tasks: Tasks, unlocked: Unlocked, code: str) -> None:
        super().__init__("Choose a new passphrase")
        self._desk, self._tasks, self._unlocked, self._code = desk, tasks, unlocked, code
        self.keep = button("Not now", name="Keep the old passphrase")
        self.keep.clicked.connect(self._leave)
        self.choice = PassphraseChoice(desk, "Replace", "Replace the passphrase", self.keep)
        self.choice.chosen.connect(self._replace)
        self.working = busy("Replacing the passphrase")
        self.card.addWidget(
            label(
                "The recovery code opened your conversations. If you forgot the passphrase, replace it now: "
                "the old one then opens nothing any more. The recovery code stays as it is.",
                "muted",
            )
        )
        for widget in (self.choice, self.problem, self.working):
            self.card.addWidget(widget)
        self.focus_first = self.choice.first

    def _replace(self, passphrase: str) -> None:
        code = self._code
        self.choice.setEnabled(False)
        self.problem.hide()
        self.working.show()
        self._tasks.call(
            lambda: self._desk.reset_passphrase(code, passphrase), lambda _: self._leave(), self._failed
        )

    def _leave(self) -> None:
        self._code = ""
        self.choice.clear()
        self.unlocked.emit(self._unlocked)

    def _failed(self, error: GovDeskError) -> None:
        self.working.hide()
        self.choice.setEnabled(True)
        self.say_problem(error)
