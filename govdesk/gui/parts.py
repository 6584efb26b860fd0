"""Small controls that every page uses, each with a name for screen readers."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QFrame,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from govdesk.domain.text import visible

CARD_WIDTH = 560
_MAX_PASSPHRASE_CHARACTERS = 1024


def label(text: str = "", kind: str = "", *, wrap: bool = True) -> QLabel:
    """Plain text, never rich: hidden characters written out."""
    made = QLabel(visible(text))
    made.setTextFormat(Qt.TextFormat.PlainText)
    made.setWordWrap(wrap)
    if wrap:  # as high as its lines, and no higher
        size = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Maximum)
        size.setHeightForWidth(True)
        made.setSizePolicy(size)
    if kind:
        made.setProperty("kind", kind)
    return made


def button(text: str, kind: str = "", *, name: str = "", tip: str = "") -> QPushButton:
    """A push button reachable by Tab.

    Args:
        text: shown on it.
        kind: `primary`, `danger`, `quiet`, `chip` or nothing.
        name: accessible name, where the text alone does not say what it does.
        tip: longer words, shortcut included.
    """
    made = QPushButton(text)
    made.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    made.setAutoDefault(False)
    made.setAccessibleName(name or text.replace("&", ""))
    if kind:
        made.setProperty("kind", kind)
    if tip:
        made.setToolTip(tip)
        made.setAccessibleDescription(tip)
    return made


def passphrase_field(name: str) -> QLineEdit:
    """A line for a passphrase: not shown, not learned by input methods, no undo of what was typed."""
    made = QLineEdit()
    made.setEchoMode(QLineEdit.EchoMode.Password)
    made.setMaxLength(_MAX_PASSPHRASE_CHARACTERS)
    made.setInputMethodHints(
        Qt.InputMethodHint.ImhSensitiveData
        | Qt.InputMethodHint.ImhHiddenText
        | Qt.InputMethodHint.ImhNoPredictiveText
        | Qt.InputMethodHint.ImhNoAutoUppercase
    )
    made.setAccessibleName(name)
    return made


def busy(name: str) -> QProgressBar:
    """A bar without an end, for work whose length is not known."""
    made = QProgressBar()
    made.setRange(0, 0)
    made.setTextVisible(False)
    made.setAccessibleName(name)
    made.hide()
    return made


class CardPage(QWidget):
    """A page with one card in the middle; add to `card`."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.setObjectName("page")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        frame = QFrame()
        frame.setObjectName("card")
        self.card = QVBoxLayout(frame)
        self.card.setContentsMargins(28, 24, 28, 24)
        self.card.setSpacing(10)
        self.card.addWidget(label(title, "title"))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 16, 16, 16)
        layout.addStretch(1)
        frame.setFixedWidth(CARD_WIDTH)
        layout.addWidget(frame, 0, Qt.AlignmentFlag.AlignHCenter)
        layout.addStretch(2)
        self.focus_first: QWidget | None = None

    def take_focus(self) -> None:
        """Put the focus on the control that comes first; Qt's focus proxies would break the order of Tab."""
        if self.focus_first is not None:
            self.focus_first.setFocus()


def restyle(widget: QWidget) -> None:
    """Apply the style sheet again after a property that it selects on changed."""
    widget.style().unpolish(widget)
    widget.style().polish(widget)
