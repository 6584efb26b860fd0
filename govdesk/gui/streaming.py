"""A growing answer stays smooth: the cost of a frame depends on its last paragraph, not on its length.

Text that comes in joins until the next frame. What stands before the last blank line has its shape
and is put into the document once; only what comes after is rendered again. A paragraph, table or code
block longer than `MAX_TAIL_CHARACTERS` is cut at a line for the time being. The end of the turn renders
the whole answer once, which is then exact.
"""

from __future__ import annotations

import re
import time

from PySide6.QtCore import QObject, QTimer, Signal
from PySide6.QtGui import QTextBlockFormat, QTextCharFormat, QTextCursor, QTextDocumentFragment

from govdesk.gui.half_written import as_if_ended
from govdesk.gui.markdown import SafeDocument, rendered
from govdesk.gui.markdown_lines import open_fence, settled_length
from govdesk.gui.safe_text import SafeText
from govdesk.gui.theme import Theme

FRAME_MS = 45
"""A little less than the worker's pieces are apart, so that each has a frame of its own."""
MAX_TAIL_CHARACTERS = 3000
_SHARE = 4
"""A frame that took long is followed by a pause this many times as long, so that input is served first."""


_WORDS = re.compile(r"(?:[^\W_]|[ ,.;'\"()?])*")
"""Words, spaces and stops: behind prose they have no shape of their own, and need no rendering."""


def _is_prose(tail: str) -> bool:
    """True when what is shown last is a line of plain words, in a paragraph that is nothing else."""
    return tail[:1].isalpha() and _WORDS.fullmatch(tail) is not None


class LiveText(QObject):
    """Feeds a `SafeText` with an answer that is still coming; `framed` after each frame."""

    framed = Signal()

    def __init__(self, view: SafeText, theme: Theme) -> None:
        super().__init__(view)
        self._view, self._theme = view, theme
        self._document = SafeDocument()
        self._anchor = 0
        self._tail = ""
        self._shown_tail = ""
        self._framed_at = 0.0
        self._due = QTimer(self)
        self._due.setSingleShot(True)
        self._due.timeout.connect(self._frame)
        self._pause_ms = FRAME_MS
        view.show_document(self._document)

    def feed(self, text: str) -> None:
        """Take a part of the answer; it shows with the next frame: at once after a pause."""
        self._tail += text
        if not self._due.isActive():
            passed_ms = int((time.perf_counter() - self._framed_at) * 1000)
            self._due.start(max(0, self._pause_ms - passed_ms))

    def end(self, text: str) -> None:
        """Show the whole answer in its exact shape."""
        self._due.stop()
        self._view.show_document(rendered(text, self._theme))

    def _frame(self) -> None:
        started = time.perf_counter()
        if self._tail != self._shown_tail:
            self._render()
        self.framed.emit()
        self._framed_at = time.perf_counter()
        spent_ms = int((self._framed_at - started) * 1000)
        self._pause_ms = max(FRAME_MS, _SHARE * spent_ms)

    def _render(self) -> None:
        shown, now = self._shown_tail.rstrip(" "), self._tail.rstrip(" ")
        cursor = QTextCursor(self._document)
        room = len(now) <= MAX_TAIL_CHARACTERS
        if room and now.startswith(shown) and _is_prose(shown) and _WORDS.fullmatch(now[len(shown) :]):
            cursor.movePosition(QTextCursor.MoveOperation.End)
            cursor.insertText(now[len(shown) :])
            self._shown_tail = self._tail
            return
        cursor.beginEditBlock()
        settled = settled_length(self._tail)
        if settled:
            self._replace(cursor, self._tail[:settled])
            self._settle(self._tail[settled:])
        while len(self._tail) > MAX_TAIL_CHARACTERS:
            at = self._tail.rfind("\n", 1, MAX_TAIL_CHARACTERS) + 1 or MAX_TAIL_CHARACTERS
            part, rest = self._tail[:at], self._tail[at:]
            fence = open_fence(part)
            self._replace(cursor, part)
            self._settle(f"{fence}\n{rest}" if fence else rest)
        self._replace(cursor, as_if_ended(self._tail))
        cursor.endEditBlock()
        self._shown_tail = self._tail

    def _replace(self, cursor: QTextCursor, markdown: str) -> None:
        """Put this in place of everything behind the anchor."""
        cursor.setPosition(self._anchor)
        cursor.movePosition(QTextCursor.MoveOperation.End, QTextCursor.MoveMode.KeepAnchor)
        cursor.removeSelectedText()
        if not markdown.strip():
            return
        if self._anchor:
            cursor.insertBlock(QTextBlockFormat(), QTextCharFormat())
        else:
            cursor.setBlockFormat(QTextBlockFormat())
        cursor.insertFragment(QTextDocumentFragment(rendered(markdown, self._theme)))
        cursor.setPosition(self._anchor)
        if self._anchor:
            cursor.movePosition(QTextCursor.MoveOperation.NextBlock)
        if cursor.block().length() == 1 and cursor.block().next().isValid():
            # A list or table brought a paragraph of its own: drop the empty one before it.
            if self._anchor:
                cursor.deletePreviousChar()
            else:
                cursor.deleteChar()

    def _settle(self, tail: str) -> None:
        self._anchor = self._document.characterCount() - 1
        self._tail = tail
