"""Conversations and search hits as item models: ten thousand of them cost what is on screen."""

from __future__ import annotations

from PySide6.QtCore import QAbstractListModel, QModelIndex, QPersistentModelIndex, QRect, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetrics, QPainter, QPen, QTextLayout
from PySide6.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem

from govdesk.domain.ids import ConversationId, TurnId
from govdesk.domain.text import visible
from govdesk.domain.turn import Conversation, Role, SearchHit
from govdesk.gui import theme, words

Row = Conversation | SearchHit
_Index = QModelIndex | QPersistentModelIndex
ROW_ROLE = int(Qt.ItemDataRole.UserRole)
RUNNING_ROLE = ROW_ROLE + 1
ANSWERING = "answering…"
_HIT_START, _HIT_END = "\u2068", "\u2069"
_PADDING = 8


class RowModel(QAbstractListModel):
    """Rows of the list at the side: conversations, or what a search found."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: tuple[Row, ...] = ()
        self._running: ConversationId | None = None

    def set_running(self, conversation: ConversationId | None) -> None:
        """This conversation is being answered; None when none is."""
        if conversation == self._running:
            return
        self._running = conversation
        if self._rows:
            self.dataChanged.emit(self.index(0, 0), self.index(len(self._rows) - 1, 0))

    def show_rows(self, rows: tuple[Row, ...]) -> None:
        """Show these rows instead."""
        self.beginResetModel()
        self._rows = rows
        self.endResetModel()

    def rowCount(self, parent: _Index | None = None) -> int:
        """How many rows; none below a row."""
        return 0 if parent is not None and parent.isValid() else len(self._rows)

    def data(self, index: _Index, role: int = int(Qt.ItemDataRole.DisplayRole)) -> object:
        """The row itself, its title, and what a screen reader says of it."""
        if not index.isValid():
            return None
        row = self._rows[index.row()]
        conversation = conversation_of(row)
        if role == ROW_ROLE:
            return row
        if role == RUNNING_ROLE:
            return conversation.id == self._running
        if role == Qt.ItemDataRole.DisplayRole:
            return visible(conversation.title)
        if role in (Qt.ItemDataRole.AccessibleTextRole, Qt.ItemDataRole.ToolTipRole):
            title = visible(conversation.title)
            when = words.clock_time(conversation.updated_utc_ns)
            running = ANSWERING if conversation.id == self._running else ""
            parts = (title, running, conversation.marking, when, hit_text(row)[0])
            return ", ".join(part for part in parts if part)
        return None

    def row_of(self, conversation: Conversation | None) -> int:
        """Where a conversation is; -1 when it is not there."""
        if conversation is None:
            return -1
        return next((i for i, r in enumerate(self._rows) if conversation_of(r).id == conversation.id), -1)


def conversation_of(row: Row) -> Conversation:
    """The conversation that a row stands for."""
    return row.conversation if isinstance(row, SearchHit) else row


def turn_of(row: Row) -> TurnId | None:
    """The turn that a hit was found in."""
    return row.turn if isinstance(row, SearchHit) else None


def hit_text(row: Row) -> tuple[str, tuple[tuple[int, int], ...]]:
    """A hit's snippet and the places (start, length) of the words found; empty for a conversation."""
    if not isinstance(row, SearchHit):
        return "", ()
    text = "You: " if row.role is Role.USER else "GovDesk: "
    places = []
    for at, part in enumerate(" ".join(row.snippet.split()).split(_HIT_START)):
        found, end, rest = part.partition(_HIT_END)
        found = visible(found)
        if at and end:
            places.append((len(text), len(found)))
        text += found + visible(rest)
    return text, tuple(places)


class RowDelegate(QStyledItemDelegate):
    """Paints a title, and under it the date and marking or the snippet."""

    def sizeHint(self, option: QStyleOptionViewItem, index: _Index) -> QSize:
        """Two lines."""
        del index
        return QSize(120, 2 * QFontMetrics(option.font).lineSpacing() + 2 * _PADDING)

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        """One row."""
        row: Row = index.data(ROW_ROLE)
        colours = theme.in_force()
        area: QRect = option.rect.adjusted(4, 1, -4, -1)
        state: QStyle.StateFlag = option.state
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        chosen = bool(state & QStyle.StateFlag.State_Selected)
        if chosen or state & QStyle.StateFlag.State_MouseOver:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(colours.selected if chosen else colours.window))
            painter.drawRoundedRect(area, 5, 5)
        if state & QStyle.StateFlag.State_HasFocus:
            painter.setPen(QPen(QColor(colours.accent), 2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(area.adjusted(1, 1, -1, -1), 5, 5)
        font: QFont = option.font
        metrics = QFontMetrics(font)
        inner = area.adjusted(_PADDING, _PADDING - 2, -_PADDING, 0)
        line = QRect(inner.left(), inner.top(), inner.width(), metrics.lineSpacing())
        title = metrics.elidedText(
            visible(conversation_of(row).title) or "Untitled", Qt.TextElideMode.ElideRight, line.width()
        )
        painter.setFont(font)
        painter.setPen(QColor(colours.text))
        painter.drawText(line, int(Qt.AlignmentFlag.AlignVCenter), title)
        line.translate(0, metrics.lineSpacing())
        painter.setPen(QColor(colours.muted))
        text, places = hit_text(row)
        if text:
            _paint_hit(painter, font, line, text, places, colours)
        else:
            conversation = conversation_of(row)
            when = words.clock_time(conversation.updated_utc_ns)
            status = ANSWERING if index.data(RUNNING_ROLE) else when
            below = " · ".join(part for part in (status, visible(conversation.marking)) if part)
            below = metrics.elidedText(below, Qt.TextElideMode.ElideRight, line.width())
            painter.drawText(line, int(Qt.AlignmentFlag.AlignVCenter), below)
        painter.restore()


def _paint_hit(
    painter: QPainter,
    font: QFont,
    line: QRect,
    text: str,
    places: tuple[tuple[int, int], ...],
    colours: theme.Theme,
) -> None:
    """One line of the snippet that starts near the first word found, with those words set off."""
    if places and places[0][0] > 24:
        cut = _start_of_word(text, places[0][0] - 16, places[0][0])
        text = "…" + text[cut:]
        places = tuple((start - cut + 1, length) for start, length in places)
    text, places = _cut_to(text, places, QFontMetrics(font), line.width())
    layout = QTextLayout(text, font)
    strong = QFont(font)
    strong.setBold(True)
    ranges = []
    for start, length in places:
        one = QTextLayout.FormatRange()
        one.start = len(text[:start].encode("utf-16-le")) // 2
        one.length = len(text[start : start + length].encode("utf-16-le")) // 2
        shape = one.format
        shape.setFont(strong)
        shape.setForeground(QColor(colours.text))
        one.format = shape
        ranges.append(one)
    layout.setFormats(ranges)
    layout.beginLayout()
    layout.createLine().setLineWidth(1_000_000)
    layout.endLayout()
    painter.setClipRect(line)
    layout.draw(painter, line.topLeft())


def _start_of_word(text: str, wanted: int, latest: int) -> int:
    """The first start of a word from `wanted` on, at most `latest`."""
    blank = text.find(" ", wanted - 1, latest)
    return wanted if blank < 0 else blank + 1


def _cut_to(
    text: str, places: tuple[tuple[int, int], ...], metrics: QFontMetrics, width: int
) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The text up to the last whole word that fits, with … behind it, and the places that are left."""
    if metrics.horizontalAdvance(text) <= width:
        return text, places
    shown = metrics.elidedText(text, Qt.TextElideMode.ElideRight, width).removesuffix("…")
    end = len(shown) if text[len(shown) : len(shown) + 1].isspace() else shown.rfind(" ")
    if end <= 0:
        end = len(shown)
    left = tuple((start, min(length, end - start)) for start, length in places if start < end)
    return text[:end].rstrip() + "…", left
