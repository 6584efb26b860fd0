"""The message box: grows, takes two megabytes without a stall, and says before sending what it will cost."""

from __future__ import annotations

from PySide6.QtCore import QMimeData, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPlainTextEdit, QProgressBar, QVBoxLayout, QWidget

from govdesk.domain.text import visible
from govdesk.gui import words
from govdesk.gui.parts import button, label, restyle

LARGE_PASTE_CHARACTERS = 20_000
"""A longer paste is kept beside the box: one line of two million characters takes minutes to lay out."""
MAX_PROMPT_CHARACTERS = 8_000_000
_MAX_LINES = 9
_TOO_LONG = "This is probably too long for the model. Make it shorter, or start a new conversation."


class MessageBox(QPlainTextEdit):
    """Enter sends, Shift+Enter makes a new line; plain text only."""

    send = Signal()
    large_paste = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setPlaceholderText("Write a message. Enter sends, Shift+Enter makes a new line.")
        self.setAccessibleName("Message")
        self.setTabChangesFocus(True)
        self.setInputMethodHints(Qt.InputMethodHint.ImhSensitiveData | Qt.InputMethodHint.ImhMultiLine)
        self.textChanged.connect(self._grow)
        self.document().documentLayout().documentSizeChanged.connect(self._grow)
        self._grow()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter alone sends."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and not (
            event.modifiers() & Qt.KeyboardModifier.ShiftModifier
        ):
            self.send.emit()
            return
        super().keyPressEvent(event)

    def canInsertFromMimeData(self, source: QMimeData) -> bool:
        """Text only; a dropped file is not read and its path is not typed."""
        return source.hasText() and not source.hasUrls()

    def insertFromMimeData(self, source: QMimeData) -> None:
        """Paste or drop."""
        if not self.canInsertFromMimeData(source):
            return
        text = source.text()
        if len(text) > LARGE_PASTE_CHARACTERS:
            self.large_paste.emit(text)
        else:
            self.insertPlainText(text)

    def _grow(self, *_size: object) -> None:
        lines = min(_MAX_LINES, max(2, round(self.document().size().height())))
        margins = 2 * round(self.document().documentMargin()) + 2 * self.frameWidth() + 14
        self.setFixedHeight(lines * self.fontMetrics().lineSpacing() + margins)


class Composer(QFrame):
    """Box, Send and Stop, context meter, network state.

    `send` carries the whole prompt. The text stays until `clear`, so that a turn that could not start
    loses nothing.
    """

    send = Signal(str)
    stop = Signal()
    network = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("composer")
        self._pasted = ""
        self._used_tokens = 0
        self._used_is_exact = True
        self._context_tokens = 0
        self.box = MessageBox()
        self.box.send.connect(self._send)
        self.box.large_paste.connect(self._take_paste)
        self.box.textChanged.connect(self._measure)
        self.paste_words = label("", "muted")
        self.drop_paste = button("Remove", "quiet", name="Remove the pasted text")
        self.drop_paste.clicked.connect(lambda: self._set_paste(""))
        self.paste_row = QWidget()
        paste = QHBoxLayout(self.paste_row)
        paste.setContentsMargins(0, 0, 0, 0)
        paste.addWidget(self.paste_words, 1)
        paste.addWidget(self.drop_paste)
        self.paste_row.hide()
        self.send_button = button("Send", "primary", name="Send the message", tip="Enter")
        self.send_button.clicked.connect(self._send)
        self.stop_button = button("Stop", name="Stop the answer", tip="Esc")
        self.stop_button.clicked.connect(self.stop)
        self.stop_button.hide()
        self.why_not = label("", "muted")
        self.why_not.hide()
        self.meter = QProgressBar()
        self.meter.setRange(0, 1000)
        self.meter.setTextVisible(False)
        self.meter.setFixedWidth(140)
        self.meter.setAccessibleName("Context used")
        self.meter_words = label("", "muted", wrap=False)
        self.network_button = button("network: not tested yet", "quiet", tip="What the self-test tried")
        self.network_button.clicked.connect(self.network)
        middle = QHBoxLayout()
        middle.addWidget(self.box, 1)
        buttons = QVBoxLayout()
        buttons.addStretch(1)
        buttons.addWidget(self.send_button)
        buttons.addWidget(self.stop_button)
        middle.addLayout(buttons)
        foot = QHBoxLayout()
        foot.addWidget(self.meter)
        foot.addWidget(self.meter_words)
        foot.addStretch(1)
        foot.addWidget(self.network_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(14, 10, 14, 6)
        column.setSpacing(6)
        column.addWidget(self.paste_row)
        column.addLayout(middle)
        column.addWidget(self.why_not)
        column.addLayout(foot)
        self._blocked = ""
        self._measure()

    @property
    def prompt(self) -> str:
        """What would be sent: the box, then the large paste."""
        typed = self.box.toPlainText()
        return "\n\n".join(part for part in (typed, self._pasted) if part.strip())

    def clear(self) -> None:
        """The prompt is on its way: empty the box."""
        self.box.clear()
        self._set_paste("")

    def set_running(self, *, running: bool, text_fixed: bool) -> None:
        """Show Stop instead of Send; `text_fixed` while the text is being checked."""
        self.send_button.setVisible(not running)
        self.stop_button.setVisible(running)
        self.stop_button.setEnabled(running)
        self.stop_button.setText("Stop")
        self.box.setReadOnly(text_fixed)
        self.drop_paste.setEnabled(not text_fixed)

    def set_stopping(self) -> None:
        """Stop was asked for."""
        self.stop_button.setText("Stopping…")
        self.stop_button.setEnabled(False)

    def block(self, why: str) -> None:
        """Sending is not possible for this reason; empty lets it again."""
        self._blocked = why
        self._measure()

    def set_network(self, text: str) -> None:
        """The network's state in words."""
        self.network_button.setText(text)
        self.network_button.setAccessibleName(text)

    def set_context(self, used_tokens: int, context_tokens: int, *, exact: bool) -> None:
        """What the conversation holds so far, of how much (0: not known yet)."""
        self._used_tokens, self._context_tokens, self._used_is_exact = used_tokens, context_tokens, exact
        self._measure()

    def _measure(self) -> None:
        characters = self.box.document().characterCount() - 1 + len(self._pasted)
        draft = words.estimated_tokens(characters)
        total = self._used_tokens + draft
        exact = self._used_is_exact and not draft
        limit = self._context_tokens
        about = "" if exact else "about "
        over = bool(limit) and total > limit
        text = f"context {about}{words.number(total)}"
        if limit:
            text += f" of {words.number(limit)}"
        text += " tokens" + ("" if exact else " (estimate)")
        self.meter_words.setText(text)
        self.meter.setAccessibleDescription(text)
        self.meter.setValue(min(1000, total * 1000 // limit) if limit else 0)
        state = "over" if over else ""
        if self.meter.property("state") != state:
            self.meter.setProperty("state", state)
            restyle(self.meter)
        self.send_button.setEnabled(not self._blocked and characters > 0)
        why = self._blocked or (_TOO_LONG if over else "")
        self.why_not.setText(why)
        self.why_not.setVisible(bool(why))

    def _send(self) -> None:
        prompt = self.prompt
        if prompt and self.send_button.isVisibleTo(self) and self.send_button.isEnabled():
            self.send.emit(prompt)

    def _take_paste(self, text: str) -> None:
        together = f"{self._pasted}\n\n{text}" if self._pasted else text
        if len(together) > MAX_PROMPT_CHARACTERS:
            self.paste_words.setText(
                f"That paste has {words.size(len(text))}; together at most "
                f"{words.size(MAX_PROMPT_CHARACTERS)} fit. Nothing of it was taken."
            )
            self.paste_row.show()
            return
        self._set_paste(together)

    def _set_paste(self, text: str) -> None:
        self._pasted = text
        start = visible(" ".join(text[:60].split()))
        self.paste_words.setText(f"Pasted text of {words.size(len(text))} goes with the message: “{start}…”")
        self.paste_row.setVisible(bool(text))
        self._measure()
