"""One message as it may be seen: who, when, marking, redacted text, why, how it ended."""

from __future__ import annotations

import time

from PySide6.QtCore import QTimer, Signal
from PySide6.QtWidgets import QApplication, QFrame, QHBoxLayout, QProgressBar, QVBoxLayout, QWidget

from govdesk.domain.redaction import Finding
from govdesk.domain.text import visible
from govdesk.domain.turn import Message, Reading, Role, Thinking
from govdesk.gui import words
from govdesk.gui.markdown import plain, rendered
from govdesk.gui.markdown_lines import shown_length
from govdesk.gui.parts import OneLine, announce, button, label
from govdesk.gui.safe_text import SafeText
from govdesk.gui.streaming import LiveText
from govdesk.gui.theme import Theme
from govdesk.gui.thinking import ThinkingPanel

SHOWN_CHARACTERS = 20_000
"""Longer texts are shown in steps of this size: laying out millions of characters would stop the window."""
SHOWN_CELLS = 600
"""Cells of tables cost far more: a thousand take a third of a second."""
_HELD_CHARACTER_WIDTH = 6
_MAX_HELD_WIDTH = 360
_CHIP_WIDTH = 90
_COPY = "Copy"
_SAID_MS = 2000


class MessageView(QFrame):
    """`why` asks for the words about these findings."""

    why = Signal(tuple)

    def __init__(self, message: Message, theme: Theme) -> None:
        super().__init__()
        self.role = message.role
        self._theme = theme
        self._text = message.text
        self._steps = 1
        mine = message.role is Role.USER
        self.setObjectName("mine" if mine else "theirs")
        who = "You" if mine and not message.is_summary else "GovDesk"
        self.body = SafeText(f"{who}, message")
        self.details = OneLine("", "muted")  # nothing in a message may be wider than the window
        head = QHBoxLayout()
        head.addWidget(label(who, "who", wrap=False))
        head.addWidget(self.details, 1)
        self.mark = label("", "mark", wrap=False)
        head.addWidget(self.mark)
        head.addWidget(label(words.clock_time(message.created_utc_ns), "muted", wrap=False))
        self.more = button("Show more", "quiet", name="Show more of this message")
        self.more.clicked.connect(self._show_more)
        self.chip = button("", "chip")
        self.chip.setMinimumWidth(_CHIP_WIDTH)
        self.chip.clicked.connect(lambda: self.why.emit(self._findings))
        self.chip.hide()
        self.copy = button(_COPY, "quiet", name=f"Copy this message of {who}")
        self.copy.clicked.connect(self._copy)
        self.copy.hide()
        self.note = label("", "")
        self._note_frame = QFrame()
        self._note_frame.setObjectName("notice")
        note = QVBoxLayout(self._note_frame)
        note.setContentsMargins(10, 6, 10, 6)
        note.addWidget(self.note)
        self._note_frame.hide()
        self._findings: tuple[Finding, ...] = ()
        self.thinking: ThinkingPanel | None = None
        self.column = QVBoxLayout(self)
        self.column.setContentsMargins(12, 8, 12, 8)
        self.column.setSpacing(4)
        self.column.addLayout(head)
        said = words.unseen(message)
        if said:
            self.column.addWidget(label(said, "muted"))
        self.column.addWidget(self.body)
        foot = QHBoxLayout()
        foot.addWidget(self.chip)
        foot.addWidget(self.more)
        foot.addWidget(self.copy)
        foot.addStretch(1)
        self.column.addLayout(foot)
        self.column.addWidget(self._note_frame)
        # From here on every part has its parent: showing one without would open a window of its own.
        self.set_marking(message.marking)
        self.set_findings(message.findings)
        self.set_note(words.ending(message))
        self.set_details(words.details(message.model, message.usage))
        self.set_thinking(message.thinking)
        self._show_text()

    @property
    def text(self) -> str:
        """The whole text, shown or not."""
        return self._text

    def set_findings(self, found: tuple[Finding, ...]) -> None:
        """Say what was found; the chip opens the reasons."""
        self._findings = found
        self.chip.setText(f"Redaction: {words.findings(found)} · Why?")
        self.chip.setAccessibleName(f"Why redacted: {words.findings(found)}")
        self.chip.setVisible(bool(found))

    def set_thinking(self, thinking: Thinking) -> None:
        """What the model thought before; nothing where it did not."""
        if thinking.text:
            self._thinking_panel().end(thinking)

    def _thinking_panel(self) -> ThinkingPanel:
        """Above the text; made when there is something to put into it."""
        if self.thinking is None:
            self.thinking = ThinkingPanel(self._theme)
            self.thinking.why.connect(self.why)
            self.column.insertWidget(self.column.indexOf(self.body), self.thinking)
        return self.thinking

    def set_note(self, text: str) -> None:
        """Words about how the turn ended, under the text."""
        self.note.setText(text)
        self._note_frame.setVisible(bool(text))

    def set_marking(self, marking: str) -> None:
        """The message's marking, as the record has it."""
        self.mark.setText(visible(marking))
        self.mark.setVisible(bool(marking))
        self._offer_copy()

    def set_details(self, text: str) -> None:
        """Which model, how fast."""
        self.details.say(text)

    def set_text(self, text: str) -> None:
        """Show another text."""
        self._text = text
        self._show_text()
        self._offer_copy()

    def _offer_copy(self) -> None:
        """Only what is whole and marked: no text leaves its marking behind."""
        self.copy.setVisible(bool(self._text and self.mark.text()))

    def _copy(self) -> None:
        """The whole text under its marking, as it may be seen; a selection is copied by its own keys."""
        QApplication.clipboard().setText(f"{self.mark.text()}\n\n{visible(self._text)}")
        self.copy.setText("Copied")
        announce(self, "Copied, with its marking.")
        QTimer.singleShot(_SAID_MS, self.copy, lambda: self.copy.setText(_COPY))

    def _show_text(self) -> None:
        mine = self.role is Role.USER
        characters = self._steps * SHOWN_CHARACTERS
        part = self._text[: characters if mine else self._rendered_length(characters)]
        self.body.show_document(plain(part) if mine else rendered(part, self._theme))
        self.body.setVisible(bool(self._text))
        self.body.setAccessibleDescription(part)
        rest = len(self._text) - len(part)
        self.more.setVisible(rest > 0)
        self.more.setText(f"{words.size(rest)} more · Show more")

    def _show_more(self) -> None:
        self._steps += 1
        self._show_text()

    def _rendered_length(self, characters: int) -> int:
        return shown_length(self._text, characters, self._steps * SHOWN_CELLS)


class LiveMessage(MessageView):
    """The answer that is still coming: reading, then text, with what is held back as a grey block."""

    def __init__(self, message: Message, theme: Theme) -> None:
        super().__init__(message, theme)
        self._parts: list[str] = []
        self._started = time.monotonic()
        self.status = label("Checking the message…", "muted")
        self.progress = QProgressBar()
        self.progress.setObjectName("reading")
        self.progress.setRange(0, 100)
        self.progress.setTextVisible(False)
        self.progress.setAccessibleName("Prompt read, per cent")
        self.progress.hide()
        # The block has its own row for as long as the answer comes, and no layout moves it: text that is
        # held and released many times a second must not make the page jump, nor lay it out each time.
        self._held_row = QWidget()
        self._held_row.setFixedHeight(max(8, self.fontMetrics().height() - 4))
        self._held_row.hide()
        self.held = QFrame(self._held_row)
        self.held.setObjectName("held")
        self.held.setAccessibleName("Text held back until it is checked")
        self.held.hide()
        behind = self.column.indexOf(self.body) + 1
        for at, widget in enumerate((self._held_row, self.status, self.progress), start=behind):
            self.column.insertWidget(at, widget)
        self._begun = False
        self._held = self._held_shown = 0
        self._live = LiveText(self.body, theme)
        self._live.framed.connect(self._show_held)

    def reading(self, event: Reading) -> None:
        """Prompt progress, in per cent and seconds."""
        if self._parts or self.thinking is not None:
            return
        per_cent = min(100, event.done_tokens * 100 // max(1, event.total_tokens))
        seconds = time.monotonic() - self._started
        done, total = words.number(event.done_tokens), words.number(event.total_tokens)
        said = f"Reading the prompt: {per_cent} % ({done} of {total} tokens, {seconds:.0f} s)"
        busy = words.busy(event.threads, event.most_threads)
        self.status.setText(f"{said} · {busy}" if busy else said)
        self.progress.setValue(per_cent)
        self.progress.show()

    def waiting(self, text: str) -> None:
        """Words while nothing comes."""
        self.status.setText(text)
        self.status.show()

    def think(self, text: str, seconds: float) -> None:
        """A part of what the model thinks before its answer, and for how long it has been thinking."""
        begins = self.thinking is None
        panel = self._thinking_panel()
        if begins:
            panel.begin(seconds)
            self.status.hide()
            self.progress.hide()
            announce(self, "The model is thinking.")
        panel.feed(text)

    def release(self, text: str, held: int) -> None:
        """A part of the answer, and how many characters wait behind it; both show with the next frame."""
        if self.thinking is not None:
            self.thinking.end()
        if text:
            self._parts.append(text)
        if (text or held) and not self._begun:
            self._begun = True
            self.status.hide()
            self.progress.hide()
            self.body.show()
        self._held = held
        self._live.feed(text)

    def _show_held(self) -> None:
        if self._held == self._held_shown:
            return
        self._held_shown = self._held
        if self._held:
            width = min(_MAX_HELD_WIDTH, self._held * _HELD_CHARACTER_WIDTH)
            self.held.resize(width, self._held_row.height())
            self.held.setToolTip(f"{words.size(self._held)} held back until the check is done")
            self._held_row.show()
        self.held.setVisible(self._held > 0)

    @property
    def so_far(self) -> str:
        """What was released."""
        return "".join(self._parts)

    def end(self, text: str, thinking: Thinking | None = None) -> None:
        """The whole answer is there: show it in its exact shape; its thinking too, where that is known."""
        if thinking is not None:
            self.set_thinking(thinking)
        if self.thinking is not None:
            self.thinking.end()
        for widget in (self.held, self._held_row, self.status, self.progress):
            widget.hide()
        self._live.end("")
        self.set_text(text)
