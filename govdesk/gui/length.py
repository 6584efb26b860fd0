"""How long the next answers may get: short, usual or long, with the number of tokens behind the words."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QSizePolicy

from govdesk.domain.turn import Length
from govdesk.gui import words

_WORDS = {
    Length.SHORT: "Short answers",
    Length.USUAL: "Usual answers",
    Length.LONG: "Long answers",
}


class LengthChoice(QComboBox):
    """Holds for every message that is sent from now on, until it is changed or the window locks."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("How long answers may get")
        self.view().setAccessibleName("Lengths of answers")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        for length, said in _WORDS.items():
            self.addItem(said, length)
        self.setCurrentIndex(self.findData(Length.USUAL))
        self.currentIndexChanged.connect(self._say)
        self._context_tokens = 0
        self._say()

    @property
    def chosen(self) -> Length:
        """What is chosen."""
        return list(_WORDS)[self.currentIndex()]

    def set_context(self, context_tokens: int) -> None:
        """The model sees so many tokens; 0: it is not known yet."""
        self._context_tokens = context_tokens
        self._say()

    def _say(self) -> None:
        said = "How long an answer may get, with what a model thinks before it."
        if self._context_tokens:
            most = min(self.chosen.tokens(self._context_tokens), self._context_tokens)
            seen = words.number(self._context_tokens)
            said = (
                f"At most {words.number(most)} tokens, with what a model thinks before it; less when the "
                f"conversation takes all {seen} tokens that the model can see."
            )
        self.setToolTip(said)
        self.setAccessibleDescription(said)
