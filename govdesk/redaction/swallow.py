"""From the line that begins a private key to its last line, or to the end of the text, is one finding.

What stands between is never looked at: a key that is cut, wrapped, escaped or commented is still
swallowed whole. Until the last line arrives, the end of the finding is open.
"""

from __future__ import annotations

from dataclasses import dataclass

from govdesk.domain.ids import EntityType
from govdesk.redaction.pattern import Pattern
from govdesk.redaction.recognizer import OPEN, Cursor, Hit, Window


@dataclass(frozen=True, slots=True)
class SwallowRecognizer:
    """Finds from where `begin` matches to where the next `finish` ends, or to the end of the text."""

    id: str
    type: EntityType
    priority: int
    begin: Pattern
    finish: Pattern
    score: float
    on_lower: bool = False

    @property
    def reach(self) -> int:
        """The character that a guard looks back at."""
        return 2

    def cursor(self) -> Cursor:
        """Start along a new text."""
        return _SwallowCursor(self)


class _SwallowCursor:
    __slots__ = ("_announced", "_begun", "_recognizer", "position")

    def __init__(self, recognizer: SwallowRecognizer) -> None:
        self._recognizer = recognizer
        self._begun: int | None = None
        self._announced = False
        self.position = 0

    def advance(self, window: Window) -> list[Hit]:
        hits: list[Hit] = []
        while True:
            pattern = self._recognizer.begin if self._begun is None else self._recognizer.finish
            text = window.lower if self._recognizer.on_lower else window.text
            at, end = self.position - window.base, len(text)
            certain = end
            if not window.final:
                begun = pattern.prefix.search(text, max(at, end - pattern.longest))
                if begun is not None:
                    certain = begun.start()
            match = pattern.search.search(text, at)
            if match is None or match.start() >= certain:
                self.position = window.base + certain
                break
            if self._begun is None:
                self._begun = window.base + match.start()
                self.position = window.base + match.end()
            else:
                hits.append(self._hit(self._begun, window.base + match.end()))
                self._begun = None
                self.position = window.base + match.start() + 1  # its dashes may begin the next key
        if self._begun is not None and window.final:
            hits.append(self._hit(self._begun, window.base + len(window.text)))
        elif self._begun is not None and not self._announced:
            hits.append(self._hit(self._begun, OPEN))
            self._announced = True
        return hits

    def _hit(self, start: int, end: int) -> Hit:
        ends_open, self._announced = self._announced, False
        return Hit(start, end, self._recognizer.score, self._recognizer, ends_open)
