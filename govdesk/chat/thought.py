"""What the model thought in one turn: redacted for the view and for storage like its answer, on its own.

It has streams of its own, for a finding that begins in the thinking does not go on in the answer, and nothing
of it is given back to the model: history is questions and answers.
"""

from __future__ import annotations

from govdesk.chat.ports import RedactionStream
from govdesk.domain.turn import Thinking


class Thought:
    """The thinking of one turn, as it comes.

    Args:
        shown: redacts for the view.
        stored: redacts for storage what is shown.
    """

    def __init__(self, shown: RedactionStream, stored: RedactionStream) -> None:
        self._shown = shown
        self._stored = stored
        self._text: list[str] = []
        self._unstored: list[str] = []
        self._began: float | None = None
        self._seconds = 0.0
        self._ended = self._stored_ended = False

    def feed(self, untrusted_text: str, now_seconds: float) -> str:
        """Take a part; what of it may be shown now."""
        self._began = now_seconds if self._began is None else self._began
        self._seconds = now_seconds - self._began
        return self._keep(self._shown.feed(untrusted_text))

    def end(self, now_seconds: float) -> str:
        """It is over: what was still held and may be shown. Nothing, the second time."""
        if self._ended or self._began is None:
            return ""
        self._ended = True
        self._seconds = now_seconds - self._began
        return self._keep(self._shown.flush())

    def block(self) -> str:
        """The code of a block, once redaction met something that policy blocks; else empty."""
        if self._shown.blocked:
            return "output.blocked"
        return "storage.blocked" if self._stored.blocked else ""

    def end_stored(self) -> None:
        """Nothing more is shown: what storage's redaction still held is to be stored too."""
        if not self._stored_ended:
            self._stored_ended = True
            self._unstored.append(self._stored.flush())

    @property
    def unstored(self) -> str:
        """What is to be stored and is not yet."""
        return "".join(self._unstored)

    def is_stored(self) -> None:
        """All of `unstored` is durable."""
        self._unstored.clear()

    @property
    def held(self) -> int:
        """Characters taken and not yet released."""
        return self._shown.held

    def thinking(self) -> Thinking:
        """All of it that was shown."""
        return Thinking("".join(self._text), self._shown.findings, self._seconds)

    def _keep(self, released: str) -> str:
        if not released or self._shown.blocked:
            return ""
        self._text.append(released)
        self._unstored.append(self._stored.feed(released))
        return released
