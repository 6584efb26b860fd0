"""Small controls that every page uses, each with a name for screen readers."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, QTimer
from PySide6.QtGui import (
    QAccessible,
    QAccessibleAnnouncementEvent,
    QKeyEvent,
    QKeySequence,
    QPainter,
    QPaintEvent,
    QPalette,
)
from PySide6.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from govdesk.domain.text import visible
from govdesk.errors import GovDeskError

CARD_WIDTH = 560
_MAX_PASSPHRASE_CHARACTERS = 1024


def label(text: str = "", kind: str = "", *, wrap: bool = True) -> QLabel:
    """Plain text, never rich: hidden characters written out."""
    made = QLabel(visible(text))
    made.setTextFormat(Qt.TextFormat.PlainText)
    made.setWordWrap(wrap)
    if wrap:
        # Never `Maximum`: that is the height at the label's own favourite width; narrower, it needs more.
        size = QSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        size.setHeightForWidth(True)
        made.setSizePolicy(size)
    if kind:
        made.setProperty("kind", kind)
    return made


class OneLine(QLabel):
    """One line of plain text that ends in … where there is no room; the tool tip has it whole.

    Args:
        text: the first one.
        kind: for the style sheet.
        letters: about how many stay in sight however little room there is.
    """

    def __init__(self, text: str = "", kind: str = "", letters: int = 4) -> None:
        super().__init__()
        self._letters = letters
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Preferred)
        if kind:
            self.setProperty("kind", kind)
        self.say(text)

    def say(self, text: str) -> None:
        """Show another text, hidden characters written out."""
        self.setText(visible(text))
        self.setToolTip(self.text())

    def minimumSizeHint(self) -> QSize:
        """A few letters, or all of a shorter text."""
        height = super().minimumSizeHint().height()
        few = self._letters * self.fontMetrics().averageCharWidth()
        return QSize(min(few, super().sizeHint().width()), height)

    def paintEvent(self, event: QPaintEvent) -> None:
        """As much as there is room for."""
        del event
        painter = QPainter(self)
        area = self.contentsRect()
        shown = self.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideRight, area.width())
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        painter.drawText(area, int(self.alignment()), shown)


class Button(QPushButton):
    """A push button that Enter presses, too, when it has the focus; Qt alone takes Space only."""

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter presses once, however long the key is held."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if not event.isAutoRepeat():
                self.click()
            return
        super().keyPressEvent(event)


def button(text: str, kind: str = "", *, name: str = "", tip: str = "") -> QPushButton:
    """A push button reachable by Tab.

    Args:
        text: shown on it.
        kind: `primary`, `danger`, `quiet`, `chip` or nothing.
        name: accessible name, where the text alone does not say what it does.
        tip: longer words, shortcut included.
    """
    made = Button(text)
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


class ShownOnce(QLineEdit):
    """A secret to be read and written down: a screen reader reads it letter by letter, nothing copies it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setReadOnly(True)
        self.setProperty("kind", "code")
        self.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.setAccessibleName(name)
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.NoContextMenu)
        self.setDragEnabled(False)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Arrows move through it; the clipboard, which every program can read, does not get it."""
        if event.matches(QKeySequence.StandardKey.Copy) or event.matches(QKeySequence.StandardKey.Cut):
            return
        super().keyPressEvent(event)


class CardPage(QWidget):
    """A page with one card in the middle; add to `card`. It scrolls where the screen is too small for it."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.setObjectName("page")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        frame = QFrame()
        frame.setObjectName("card")
        frame.setMaximumWidth(CARD_WIDTH)
        self.card = QVBoxLayout(frame)
        self.card.setContentsMargins(28, 24, 28, 24)
        self.card.setSpacing(10)
        self.card.addWidget(label(title, "title"))
        # Between stretches, never by an alignment: an aligned widget is not asked how high its wrapped
        # words are at its width, and they would be cut.
        row = QHBoxLayout()
        row.addStretch(1)
        row.addWidget(frame, 1000)
        row.addStretch(1)
        content = QWidget()
        content.setObjectName("cards")
        self._column = QVBoxLayout(content)
        self._column.setContentsMargins(16, 16, 16, 16)
        self._column.addStretch(1)
        self._column.addLayout(row)
        self._column.addStretch(2)
        self._area = QScrollArea()
        self._area.setWidgetResizable(True)
        self._area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._area.setWidget(content)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._area)
        self.problem = label("", "error")
        self.problem.hide()
        self.focus_first: QWidget | None = None

    def take_focus(self) -> None:
        """Put the focus on the control that comes first; Qt's focus proxies would break the order of Tab."""
        if self.focus_first is not None:
            self.focus_first.setFocus()

    def needed_height(self, width: int) -> int:
        """How high the page is when nothing has to scroll."""
        return self._column.totalHeightForWidth(width)

    def say_problem(self, error: GovDeskError) -> None:
        """Show an error on the card, say it to a screen reader, and bring it into sight."""
        self.problem.setText(visible(error.explain()))
        self.problem.show()
        announce(self, error.explain())
        QTimer.singleShot(0, self.problem, lambda: self._area.ensureWidgetVisible(self.problem))


def announce(source: QWidget, text: str) -> None:
    """Let a screen reader say it, without moving the focus (WCAG 4.1.3)."""
    QAccessible.updateAccessibility(QAccessibleAnnouncementEvent(source, text))


def restyle(widget: QWidget) -> None:
    """Apply the style sheet again after a property that it selects on changed."""
    widget.style().unpolish(widget)
    widget.style().polish(widget)
