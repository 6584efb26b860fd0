"""How long the next answers may get: short, usual or long, with the number of tokens behind the words."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt

from govdesk.domain.turn import Length
from govdesk.gui import words
from govdesk.gui.parts import Button, announce

_WORDS = {
    Length.SHORT: "Short answers",
    Length.USUAL: "Usual answers",
    Length.LONG: "Long answers",
}


class LengthButton(Button):
    """Each press chooses the next length; no list opens, which would cover the banner below.

    It holds for every message that is sent from now on, until it is changed or the window locks.
    """

    def __init__(self) -> None:
        super().__init__(_WORDS[Length.USUAL])
        self.setProperty("kind", "quiet")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAutoDefault(False)
        self.chosen = Length.USUAL
        self._context_tokens = 0
        self.clicked.connect(self._next)
        self._say()

    def sizeHint(self) -> QSize:
        """As wide as its longest words, whichever it shows."""
        width = self.fontMetrics().horizontalAdvance
        more = max(map(width, _WORDS.values())) - width(self.text())
        return super().sizeHint() + QSize(more, 0)

    def minimumSizeHint(self) -> QSize:
        """No narrower."""
        return self.sizeHint()

    def set_context(self, context_tokens: int) -> None:
        """The model sees so many tokens; 0: it is not known yet."""
        self._context_tokens = context_tokens
        self._say()

    def _next(self) -> None:
        lengths = list(_WORDS)
        self.chosen = lengths[(lengths.index(self.chosen) + 1) % len(lengths)]
        self._say()
        announce(self, f"{self.text()}. {self.toolTip()}")

    def _say(self) -> None:
        said = "How long an answer may get, with what a model thinks before it."
        if self._context_tokens:
            most = min(self.chosen.tokens(self._context_tokens), self._context_tokens)
            seen = words.number(self._context_tokens)
            said = (
                f"At most {words.number(most)} tokens, with what a model thinks before it; less when the "
                f"conversation takes all {seen} tokens that the model can see."
            )
        said += " Press for another length."
        self.setText(_WORDS[self.chosen])
        self.setAccessibleName(self.text())
        self.setToolTip(said)
        self.setAccessibleDescription(said)
