"""The messages of one conversation; only some fifty of them are ever built, however many there are."""

from __future__ import annotations

from PySide6.QtCore import QRect, Qt, QTimer, Signal
from PySide6.QtWidgets import QHBoxLayout, QScrollArea, QVBoxLayout, QWidget

from govdesk.domain.ids import TurnId
from govdesk.domain.turn import Message
from govdesk.gui import words
from govdesk.gui.message import MessageView
from govdesk.gui.parts import button, label
from govdesk.gui.theme import Theme

STEP = 50
_AT_ONCE = 10
"""What fills a screen is built at once, the rest of a step one by one while nothing else is due."""
_COLUMN_WIDTH = 880
_AT_END_PIXELS = 24
_SMALLEST_HEIGHT = 16
"""It shrinks first: what is written and said below it must stay whole on the smallest screen."""


class Transcript(QScrollArea):
    """Shows a window of `STEP` messages, and more on request; follows the end while the person is there.

    Args:
        empty_title: for a conversation without messages.
        empty_words: under it.
    """

    why = Signal(tuple)

    def __init__(self, empty_title: str, empty_words: str) -> None:
        super().__init__()
        self.setWidgetResizable(True)
        self.setAccessibleName("Messages")
        self.setMinimumHeight(_SMALLEST_HEIGHT)
        # Always, or the text would jump sideways when an answer grows past the page.
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._messages: tuple[Message, ...] = ()
        self._first = self._last = 0
        self._theme: Theme | None = None
        self._views: list[MessageView] = []
        self.earlier = button("Show earlier", "quiet", name="Show earlier messages")
        self.later = button("Show later", "quiet", name="Show later messages")
        self.earlier.clicked.connect(self._show_earlier)
        self.later.clicked.connect(self._show_later)
        self.empty = QWidget()
        said = QVBoxLayout(self.empty)
        said.setContentsMargins(8, 48, 8, 8)
        said.setSpacing(10)
        said.addWidget(label(empty_title, "title"))
        said.addWidget(label(empty_words, "muted"))
        self.column = QVBoxLayout()
        self.column.setSpacing(10)
        middle = QWidget()
        middle.setMaximumWidth(_COLUMN_WIDTH)
        outer = QVBoxLayout(middle)
        outer.setContentsMargins(14, 14, 14, 14)
        outer.setSpacing(10)
        outer.addWidget(self.earlier)
        outer.addWidget(self.empty)
        outer.addLayout(self.column)
        outer.addWidget(self.later)
        outer.addStretch(1)
        content = QWidget()
        content.setObjectName("transcript")
        row = QHBoxLayout(content)
        row.setContentsMargins(0, 0, 0, 0)
        row.addStretch(1)
        row.addWidget(middle, 1000)
        row.addStretch(1)
        self.setWidget(content)
        self._content = content
        self._rest = QTimer(self)
        self._rest.setInterval(0)
        self._rest.timeout.connect(self._build_one)
        self._floor = 0
        self._follow = True
        bar = self.verticalScrollBar()
        bar.setEnabled(False)
        bar.rangeChanged.connect(self._range_changed)
        bar.valueChanged.connect(self._moved)

    def show_messages(self, messages: tuple[Message, ...], theme: Theme, turn: TurnId | None = None) -> None:
        """Show a conversation's end, or the place of a turn in it.

        Args:
            messages: all of them; those out of sight cost nothing.
            theme: colours.
            turn: put this turn into view instead of the end.
        """
        self._clear()
        self._messages, self._theme = messages, theme
        self.empty.setVisible(not messages)
        self._first = self._floor = max(0, len(messages) - STEP)
        self._last = len(messages)
        target = next((i for i, m in enumerate(messages) if turn is not None and m.turn == turn), None)
        if target is not None and target < self._first:
            self._first = self._floor = max(0, target - STEP // 2)
            self._last = min(len(messages), self._first + STEP)
        if target is None:
            self._first = max(self._floor, self._last - _AT_ONCE)
        for message in messages[self._first : self._last]:
            self._put(MessageView(message, theme), len(self._views))
        self._say_rest()
        if self._first > self._floor:
            self._rest.start()
        self._follow = target is None
        if not messages:
            self._follow = False  # words about an empty conversation are read from their start
            self.verticalScrollBar().setValue(0)
        elif target is not None:
            view = self._views[target - self._first]
            QTimer.singleShot(0, view, lambda: self._bring(view))
        else:
            self.to_end()

    def add(self, view: MessageView) -> None:
        """Add a message at the end, after going there."""
        if self._last < len(self._messages) and self._theme is not None:
            self.show_messages(self._messages, self._theme)
        self.empty.hide()
        self._put(view, len(self._views))
        self.to_end()

    def to_end(self) -> None:
        """Go to the last message and stay with it."""
        self._follow = True
        bar = self.verticalScrollBar()
        bar.setValue(bar.maximum())

    @property
    def views(self) -> tuple[MessageView, ...]:
        """The messages that are built, from the first to the last."""
        return tuple(self._views)

    def _put(self, view: MessageView, at: int) -> None:
        view.why.connect(self.why)
        self._views.insert(at, view)
        self.column.insertWidget(at, view)

    def _build_one(self) -> None:
        if self._first <= self._floor or self._theme is None:
            self._rest.stop()
            return
        self._build_earlier(self._first - 1)

    def _build_earlier(self, start: int) -> None:
        """Build the messages from `start` to the first that is there; what is on screen stays in place."""
        if self._theme is None:
            return
        bar = self.verticalScrollBar()
        below = bar.maximum() - bar.value()
        follow = self._follow
        for at, message in enumerate(self._messages[start : self._first]):
            self._put(MessageView(message, self._theme), at)
        self._first = start
        self._say_rest()
        if not follow:
            QTimer.singleShot(0, self, lambda: bar.setValue(bar.maximum() - below))

    def _clear(self) -> None:
        self._rest.stop()
        for view in self._views:
            self.column.removeWidget(view)
            view.hide()
            view.deleteLater()
        self._views = []

    def _show_earlier(self) -> None:
        self._rest.stop()
        self._follow = False
        self._build_earlier(max(0, self._first - STEP))

    def _show_later(self) -> None:
        if self._theme is None:
            return
        end = min(len(self._messages), self._last + STEP)
        self._follow = False
        for message in self._messages[self._last : end]:
            self._put(MessageView(message, self._theme), len(self._views))
        self._last = end
        self._say_rest()

    def _say_rest(self) -> None:
        before, after = self._first, len(self._messages) - self._last
        self.earlier.setText(f"Show earlier ({words.number(before)} more)")
        self.earlier.setVisible(before > 0)
        self.later.setText(f"Show later ({words.number(after)} more)")
        self.later.setVisible(after > 0)

    def _bring(self, view: MessageView) -> None:
        place = QRect(view.mapTo(self._content, view.rect().topLeft()), view.size())
        self.verticalScrollBar().setValue(max(0, place.top() - 20))

    def _range_changed(self, _minimum: int, maximum: int) -> None:
        self.verticalScrollBar().setEnabled(maximum > 0)  # without a handle when all is on screen
        if self._follow:
            self.verticalScrollBar().setValue(maximum)

    def _moved(self, value: int) -> None:
        self._follow = value >= self.verticalScrollBar().maximum() - _AT_END_PIXELS
