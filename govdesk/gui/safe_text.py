"""A text that grows with its content, can be selected and copied, and follows no link."""

from __future__ import annotations

import math

from PySide6.QtCore import QSizeF, Qt
from PySide6.QtGui import QTextDocument, QTextOption, QWheelEvent
from PySide6.QtWidgets import QFrame, QSizePolicy, QTextEdit

from govdesk.gui.markdown import SafeDocument


class SafeText(QTextEdit):
    """Shows a `SafeDocument`; its height is the document's, scrolling is left to what is around it."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setReadOnly(True)
        self.setAccessibleName(name)
        self.setFrameShape(QFrame.Shape.NoFrame)
        self.setTabChangesFocus(True)
        self.setAcceptDrops(False)
        self.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setWordWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        self._own: QTextDocument | None = None

    def show_document(self, document: SafeDocument) -> None:
        """Show this document instead of the last one."""
        document.setDefaultFont(self.font())
        option = document.defaultTextOption()
        option.setWrapMode(QTextOption.WrapMode.WrapAtWordBoundaryOrAnywhere)
        document.setDefaultTextOption(option)
        document.setParent(self)
        last, self._own = self._own, document
        self.setDocument(document)
        document.documentLayout().documentSizeChanged.connect(self._fit)
        self._fit(document.documentLayout().documentSize())
        if last is not None:
            last.deleteLater()

    def _fit(self, size: QSizeF) -> None:
        height = math.ceil(size.height()) + 2
        if height != self.height() or self.minimumHeight() != height:
            self.setFixedHeight(height)

    def wheelEvent(self, event: QWheelEvent) -> None:
        """The transcript scrolls, not a message in it."""
        event.ignore()
