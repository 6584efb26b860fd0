"""The message box: grows, takes two megabytes without a stall, and says before sending what it will cost."""

from __future__ import annotations

from PySide6.QtCore import QMimeData, QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QTextCursor
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QPlainTextEdit,
    QProgressBar,
    QVBoxLayout,
    QWidget,
)

from govdesk.domain.policy import MAX_PROMPT_CHARACTERS
from govdesk.domain.text import visible
from govdesk.domain.turn import Counted
from govdesk.gui import words
from govdesk.gui.estimate import estimated_tokens
from govdesk.gui.length import LengthButton
from govdesk.gui.parts import Button, OneLine, announce, button, label, restyle

LARGE_PASTE_CHARACTERS = 20_000
"""A longer paste is kept beside the box: one line of two million characters takes minutes to lay out."""
_MAX_LINES = 9
_MIN_LINES = 2
_METER_WIDTHS = (40, 140)
_SHARE = 4
"""The box takes at most this part of the page: in a small window there must be room to read."""
_CHOOSE = "Make it shorter, or send it and choose what is left out; nothing is cut by itself."
_SHORTEN = "Make it shorter; nothing is cut by itself."
_SURELY = 2
"""No estimate is so many times too high: only then a message is said to be too long alone."""
_HIDDEN = (
    "The text held hidden characters, which can make it look different from what it says. They are written "
    "out now, as in ⟨U+202E⟩: what you see is what is sent."
)
_STOP, _STOPPING = "Stop", "Stopping…"
_WAIT = "An answer is still coming. Wait for it, or stop it; your text stays here."


class MessageBox(QPlainTextEdit):
    """Enter sends, Shift+Enter makes a new line; plain text only."""

    send = Signal()
    large_paste = Signal(str)
    hidden = Signal()
    pasted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._most_lines = _MAX_LINES
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
        given = source.text().replace("\r\n", "\n")
        text = visible(given)
        if len(text) > LARGE_PASTE_CHARACTERS:
            self.large_paste.emit(text)
        else:
            self.insertPlainText(text)
        self.pasted.emit()
        if text != given:
            self.hidden.emit()

    def set_room(self, page_height: int) -> None:
        """The page is this high."""
        lines = page_height // _SHARE // self.fontMetrics().lineSpacing()
        self._most_lines = max(_MIN_LINES, min(_MAX_LINES, lines))
        self._grow()

    def _grow(self, *_size: object) -> None:
        lines = min(self._most_lines, max(_MIN_LINES, round(self.document().size().height())))
        margins = 2 * round(self.document().documentMargin()) + 2 * self.frameWidth() + 14
        self.setFixedHeight(lines * self.fontMetrics().lineSpacing() + margins)


class _StopButton(Button):
    """As wide as its longest words, whichever it shows."""

    def __init__(self) -> None:
        super().__init__(_STOP)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAutoDefault(False)
        self.setAccessibleName("Stop the answer")
        self.setToolTip("Esc")
        self.setAccessibleDescription("Esc")

    def sizeHint(self) -> QSize:
        """Room for both words."""
        width = self.fontMetrics().horizontalAdvance
        more = max(width(_STOP), width(_STOPPING)) - width(self.text())
        return super().sizeHint() + QSize(more, 0)

    def minimumSizeHint(self) -> QSize:
        """No narrower."""
        return self.sizeHint()


class Composer(QFrame):
    """Box, Send and Stop, context meter, network state.

    `send` carries the whole prompt. The text stays until `clear`, so that a turn that could not start
    loses nothing.
    """

    send = Signal(str)
    stop = Signal()
    network = Signal()
    edited = Signal()
    pasted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("composer")
        self._counted: tuple[str, Counted] | None = None
        self._pasted = ""
        self._sent = ("", "")
        self._used_tokens = 0
        self._used_is_exact = True
        self._context_tokens = 0
        self._said = ""
        self._blocked = ""
        self.box = MessageBox()
        self.box.send.connect(self._send)
        self.box.large_paste.connect(self._take_paste)
        self.box.pasted.connect(self.pasted)
        self.box.hidden.connect(lambda: self.say(_HIDDEN))
        self.box.textChanged.connect(self._edited)
        self.paste_words = OneLine("", "muted")
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
        self.stop_button = _StopButton()
        self.stop_button.clicked.connect(self.stop)
        self.stop_button.hide()
        self.why_not = label("", "muted")
        self.why_not.hide()
        self.meter = QProgressBar()
        self.meter.setRange(0, 1000)
        self.meter.setTextVisible(False)
        self.meter.setMinimumWidth(_METER_WIDTHS[0])
        self.meter.setMaximumWidth(_METER_WIDTHS[1])
        self.meter.setAccessibleName("Context used")
        self.meter_words = OneLine("", "muted")
        self.length = LengthButton()
        self.network_button = button("network: not tested yet", "quiet", tip="What the self-test tried")
        self.network_button.clicked.connect(self.network)
        middle = QHBoxLayout()
        middle.addWidget(self.box, 1)
        # One place, as wide as the widest of both: the box beside it keeps its width.
        buttons = QGridLayout()
        buttons.setRowStretch(0, 1)
        for either in (self.send_button, self.stop_button):
            size = either.sizePolicy()
            size.setRetainSizeWhenHidden(True)
            either.setSizePolicy(size)
            buttons.addWidget(either, 1, 0)
        middle.addLayout(buttons)
        foot = QHBoxLayout()
        foot.addWidget(self.meter)
        foot.addWidget(self.meter_words)
        foot.addStretch(1)
        foot.addWidget(self.length)
        foot.addWidget(self.network_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(14, 10, 14, 6)
        column.setSpacing(6)
        column.addWidget(self.paste_row)
        column.addLayout(middle)
        column.addWidget(self.why_not)
        column.addLayout(foot)
        self._measure()

    @property
    def prompt(self) -> str:
        """What would be sent: the box, then the large paste."""
        return _joined(self.box.toPlainText(), self._pasted)

    def clear(self) -> None:
        """The prompt is on its way: empty the box."""
        self._said = ""
        self.box.clear()
        self._set_paste("")

    def put_back(self, text: str) -> bool:
        """Put a text back that was sent or kept, unless something else was written meanwhile.

        Returns:
            True when it is there.
        """
        if self.prompt:
            return False
        typed, pasted = self._sent
        if text != _joined(typed, pasted):
            typed, pasted = ("", text) if len(text) > LARGE_PASTE_CHARACTERS else (text, "")
        self._set_paste(pasted)
        if typed:
            self.box.setPlainText(typed)
            self.box.moveCursor(QTextCursor.MoveOperation.End)
        return True

    def say(self, text: str) -> None:
        """A calm line under the box, until the text changes; read to a screen reader."""
        self._said = text
        self._measure()
        if text:
            announce(self, text)

    def set_running(self, *, running: bool, text_fixed: bool) -> None:
        """Show Stop instead of Send; `text_fixed` while the text is being checked."""
        self._keep_focus()
        self.send_button.setVisible(not running)
        self.stop_button.setVisible(running)
        self.stop_button.setEnabled(running)
        self.stop_button.setText(_STOP)
        self.box.setReadOnly(text_fixed)
        self.drop_paste.setEnabled(not text_fixed)
        if not running and self._said == _WAIT:
            self.say("")

    def _keep_focus(self) -> None:
        """A button that goes would hand the focus to whatever comes behind it."""
        if self.send_button.hasFocus() or self.stop_button.hasFocus():
            self.box.setFocus()

    def set_stopping(self) -> None:
        """Stop was asked for."""
        self._keep_focus()
        self.stop_button.setText(_STOPPING)
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
        now = (used_tokens, context_tokens, exact)
        if now != (self._used_tokens, self._context_tokens, self._used_is_exact):
            self._counted = None
        self._used_tokens, self._context_tokens, self._used_is_exact = now
        self.length.set_context(context_tokens)
        self._measure()

    def set_counted(self, prompt: str, counted: Counted) -> None:
        """The conversation with this message was counted; it says so for as long as nothing changes."""
        self._counted = (prompt, counted)
        self._measure()

    def _edited(self) -> None:
        self._said = ""
        self._measure()
        self.edited.emit()

    def _measure(self) -> None:
        prompt = self.prompt
        draft = estimated_tokens(prompt)
        total = self._used_tokens + draft
        exact = self._used_is_exact and not draft
        room = limit = self._context_tokens
        if self._counted is not None and self._counted[0] == prompt and prompt:
            counted = self._counted[1]
            total, room, exact = counted.prompt_tokens, counted.room_tokens, not counted.estimated
        about = "" if exact else "about "
        over = bool(limit) and total > room
        text = f"context {about}{words.number(total)}"
        if limit:
            text += f" of {words.number(limit)}"
        text += " tokens" + ("" if exact else " (estimate)")
        self.meter_words.say(text)
        self.meter.setAccessibleDescription(text)
        self.meter.setValue(min(1000, total * 1000 // limit) if limit else 0)
        state = "over" if over else ""
        if self.meter.property("state") != state:
            self.meter.setProperty("state", state)
            restyle(self.meter)
        too_large = len(prompt) > MAX_PROMPT_CHARACTERS
        self.send_button.setEnabled(bool(prompt) and not self._blocked and not too_large)
        why = self._blocked or (_too_large(len(prompt)) if too_large else self._said)
        why = why or (
            _over(total - room, exact=exact, alone=draft > _SURELY * limit) if over and prompt else ""
        )
        self.why_not.setText(visible(why))
        self.why_not.setVisible(bool(why))

    def _send(self) -> None:
        prompt = self.prompt
        if not prompt:
            return
        if not self.send_button.isVisibleTo(self):
            self.say(_WAIT)
            return
        if not self.send_button.isEnabled():
            return
        self._sent = (visible(self.box.toPlainText()), visible(self._pasted))
        shown = visible(prompt)
        if shown != prompt:  # typed or dropped in by other ways than a paste
            self.clear()
            self.put_back(shown)
            self.say(_HIDDEN)
            return
        self.send.emit(prompt)

    def _take_paste(self, text: str) -> None:
        together = f"{self._pasted}\n\n{text}" if self._pasted else text
        if len(together) > MAX_PROMPT_CHARACTERS:
            self.say(f"Nothing of that paste was taken: it has {words.size(len(text))}. {_limit()}")
            return
        self._set_paste(together)

    def _set_paste(self, text: str) -> None:
        changed = text != self._pasted
        self._pasted = text
        start = " ".join(text[:60].split())
        self.paste_words.say(f"Pasted text of {words.size(len(text))} goes with the message: “{start}…”")
        self.paste_row.setVisible(bool(text))
        self._measure()
        if changed:
            self.edited.emit()


def _joined(typed: str, pasted: str) -> str:
    return "\n\n".join(part for part in (typed, pasted) if part.strip())


def _limit() -> str:
    return f"At most {words.size(MAX_PROMPT_CHARACTERS)} can be sent at once; send it in parts."


def _over(tokens: int, *, exact: bool, alone: bool) -> str:
    what = f"This is {words.number(tokens)} tokens too long for the model."
    return f"{what if exact else 'This is probably too long for the model.'} {_SHORTEN if alone else _CHOOSE}"


def _too_large(characters: int) -> str:
    return f"The message has {words.size(characters)}. {_limit()}"
