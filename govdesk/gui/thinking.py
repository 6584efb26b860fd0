"""What a model thought before its answer: one line, all of it on request; unasked, nothing is laid out."""

from __future__ import annotations

import time

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QVBoxLayout

from govdesk.domain.redaction import Finding
from govdesk.domain.turn import Thinking
from govdesk.gui import words
from govdesk.gui.markdown import rendered
from govdesk.gui.markdown_lines import shown_length
from govdesk.gui.parts import button
from govdesk.gui.safe_text import SafeText
from govdesk.gui.streaming import LiveText
from govdesk.gui.theme import Theme

SHOWN_CHARACTERS = 20_000
"""More is shown in steps: laying out very long texts would stop the window."""
SHOWN_CELLS = 600
_INDENT = 12


class ThinkingPanel(QFrame):
    """Closed until it is opened; it takes text while the model thinks, and then knows how long that took.

    `why` asks for the words about its findings.
    """

    why = Signal(tuple)

    def __init__(self, theme: Theme, name: str = "GovDesk, thinking") -> None:
        super().__init__()
        self._theme = theme
        self._parts: list[str] = []
        self._findings: tuple[Finding, ...] = ()
        self._began = 0.0
        self._seconds: float | None = None
        """How long it took; None while it goes on."""
        self._said_seconds = -1
        self._steps = 1
        self._live: LiveText | None = None
        self.toggle = button("", "quiet")
        self.toggle.setCheckable(True)
        self.toggle.toggled.connect(self._open)
        self.chip = button("", "chip")
        self.chip.clicked.connect(lambda: self.why.emit(self._findings))
        self.chip.hide()
        self.body = SafeText(name)
        self.more = button("Show more", "quiet", name="Show more of the thinking")
        self.more.clicked.connect(self._show_more)
        self.more.hide()
        head = QHBoxLayout()
        head.addWidget(self.toggle)
        head.addWidget(self.chip)
        head.addStretch(1)
        self._inside = QFrame()
        self._inside.setObjectName("thoughts")
        inside = QVBoxLayout(self._inside)
        inside.setContentsMargins(_INDENT, 0, 0, 0)
        inside.addWidget(self.body)
        more = QHBoxLayout()
        more.addWidget(self.more)
        more.addStretch(1)
        inside.addLayout(more)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(head)
        column.addWidget(self._inside)
        self._inside.hide()
        self._say()

    def begin(self, seconds: float) -> None:
        """The model has been thinking for so long."""
        self._began = time.monotonic() - seconds
        self._say()

    def feed(self, text: str) -> None:
        """A part of it; while it is closed, only the seconds move."""
        self._parts.append(text)
        if self._live is not None:
            self._live.feed(text)
        if int(time.monotonic() - self._began) != self._said_seconds:
            self._say()

    def end(self, thinking: Thinking | None = None) -> None:
        """The model answers now; or, with `thinking`, this is all of it, as it was stored."""
        if thinking is not None:
            self._parts = [thinking.text]
            self._findings = thinking.findings
            self._seconds = thinking.seconds
            self._live = None
            self.chip.setText(f"Redaction: {words.findings(thinking.findings)} · Why?")
            self.chip.setAccessibleName(f"Why redacted in the thinking: {words.findings(thinking.findings)}")
            self.chip.setVisible(bool(thinking.findings))
            if self.toggle.isChecked():
                self._show()
        elif self._seconds is None:
            self._seconds = time.monotonic() - self._began
        self._say()

    @property
    def text(self) -> str:
        """All of it so far."""
        return "".join(self._parts)

    def _open(self, opened: bool) -> None:
        self._live = None
        if opened and self._seconds is None:
            self._live = LiveText(self.body, self._theme)
            self._live.feed(self.text[-SHOWN_CHARACTERS:])
        elif opened:
            self._show()
        self.more.setVisible(self._rest > 0)
        self._inside.setVisible(opened)
        self._say()

    def _show(self) -> None:
        part = self.text[: self._length]
        self.body.show_document(rendered(part, self._theme))
        self.body.setAccessibleDescription(part)
        self.more.setText(f"{words.size(self._rest)} more · Show more")
        self.more.setVisible(self._rest > 0)

    @property
    def _length(self) -> int:
        return shown_length(self.text, self._steps * SHOWN_CHARACTERS, self._steps * SHOWN_CELLS)

    @property
    def _rest(self) -> int:
        return 0 if self._seconds is None else len(self.text) - self._length

    def _show_more(self) -> None:
        self._steps += 1
        self._show()

    def _say(self) -> None:
        going_on = self._seconds is None
        seconds = int(time.monotonic() - self._began) if self._seconds is None else round(self._seconds)
        self._said_seconds = seconds
        opened = self.toggle.isChecked()
        self.toggle.setText(f"{'▾' if opened else '▸'} Thinking{'…' if going_on else ''} ({seconds} s)")
        state = "so far" if going_on else "in all"
        action = "hide" if opened else "show"
        unit = "second" if seconds == 1 else "seconds"
        self.toggle.setAccessibleName(f"Thinking, {seconds} {unit} {state}: {action}")
