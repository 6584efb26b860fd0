"""What does not fit is put before the person, in plain words and before anything is sent or cut."""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QScrollArea, QVBoxLayout

from govdesk.domain.turn import OldTurn, TooLong
from govdesk.gui import words
from govdesk.gui.parts import OneLine, announce, button, label

_LISTED = 4
"""So many of the turns are named."""
_LEAST_HEIGHT = 90


class FullPanel(QScrollArea):
    """Three ways on, above the message box: `dropping`, `summarising` or `shortening` is chosen."""

    dropping = Signal()
    summarising = Signal()
    shortening = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("The message does not fit")
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setWidgetResizable(True)
        self.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._room = _LEAST_HEIGHT
        content = QFrame()
        content.setObjectName("notice")
        self.what = label("", "")
        self.lines = [OneLine("", "muted") for _ in range(_LISTED + 1)]
        self.drop = button("", name="Leave out the oldest turns", tip="Later turns are without them, too.")
        self.summarise = button("", name="Summarise the oldest turns", tip="A turn of its own, shown.")
        self.shorten = button("Shorten the message", tip="Back to the message box; nothing is sent.")
        self.drop.clicked.connect(self.dropping)
        self.summarise.clicked.connect(self.summarising)
        self.shorten.clicked.connect(self.shortening)
        ways = QVBoxLayout()
        ways.setSpacing(6)
        for way in (self.drop, self.summarise, self.shorten):
            row = QHBoxLayout()
            row.addWidget(way)
            row.addStretch(1)
            ways.addLayout(row)
        self._column = column = QVBoxLayout(content)
        column.setContentsMargins(14, 10, 14, 10)
        column.setSpacing(6)
        column.addWidget(self.what)
        for line in self.lines:
            column.addWidget(line)
        column.addLayout(ways)
        self.setWidget(content)
        self.hide()

    def set_room(self, height: int) -> None:
        """It may be so high; where it needs more, it scrolls."""
        self._room = max(_LEAST_HEIGHT, height)
        self._fit()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Narrower, its words need more lines."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            QTimer.singleShot(
                0, self, self._fit
            )  # not within a resizing: the viewport would keep the old one

    def _fit(self) -> None:
        around = self.contentsMargins()
        width = self.width() - around.left() - around.right()  # without a scroll bar, where none is needed
        needed = self._column.totalHeightForWidth(width) + around.top() + around.bottom()
        self.setFixedHeight(min(self._room, needed))

    def ask(self, too_long: TooLong) -> None:
        """Show what does not fit and what can be done."""
        self.what.setText(words.too_long(too_long))
        for line, text in zip(self.lines, _listed(too_long.oldest), strict=True):
            line.say(text)
            line.setVisible(bool(text))
        freed = words.number(too_long.freed_tokens)
        self.drop.setText(f"Leave out {words.oldest(len(too_long.oldest))} (frees {freed} tokens)")
        self.drop.setVisible(bool(too_long.oldest))
        self.summarise.setText(f"Summarise {words.oldest(len(too_long.to_summarise))} first")
        self.summarise.setVisible(bool(too_long.to_summarise))
        for way in (self.drop, self.summarise):
            way.setAccessibleName(way.text())
        self.show()
        self._fit()
        self.verticalScrollBar().setValue(0)
        announce(self, words.too_long(too_long))


def _listed(oldest: tuple[OldTurn, ...]) -> list[str]:
    """One line for each of the first turns, and one for the rest."""
    lines = [_line(turn) for turn in oldest[:_LISTED]]
    rest = len(oldest) - len(lines)
    lines.append(f"… and {words.number(rest)} more" if rest else "")
    return lines[:-1] + [""] * (_LISTED + 1 - len(lines)) + lines[-1:]


def _line(turn: OldTurn) -> str:
    said = "the summary of older turns" if turn.is_summary else f"“{turn.begins}”"
    return f"{words.clock_time(turn.created_utc_ns)}  {said}"
