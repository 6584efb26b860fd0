"""A model that says the same for ever is noticed: its last words are one phrase, over and over.

Looked for in the text, on the trusted side: it holds for every model and every way of decoding, and costs
microseconds per piece however long the answer is.
"""

from __future__ import annotations

MIN_TIMES = 10
"""A phrase is a loop once it came so often without anything between."""
MIN_CHARACTERS = 800
"""And once it filled so much: a ruled line or a row of zeros is shorter."""
MAX_PHRASE_CHARACTERS = 400
_PROBE_CHARACTERS = 32
_KEPT_CHARACTERS = MIN_TIMES * MAX_PHRASE_CHARACTERS


class Repetition:
    """Watches one answer."""

    def __init__(self) -> None:
        self._tail = ""

    def feed(self, untrusted_text: str) -> bool:
        """True once the end of the answer is nothing but one phrase again and again."""
        self._tail = (self._tail + untrusted_text)[-_KEPT_CHARACTERS:]
        if len(self._tail) < MIN_CHARACTERS:
            return False
        period = self._period()
        if not 0 < period <= MAX_PHRASE_CHARACTERS:
            return False
        length = max(MIN_CHARACTERS, MIN_TIMES * period)
        if len(self._tail) < length:
            return False
        end = self._tail[-length:]
        return end[period:] == end[:-period]

    def _period(self) -> int:
        """How long ago the last characters were said before; 0 when they were not."""
        start = len(self._tail) - _PROBE_CHARACTERS
        before = self._tail.rfind(self._tail[start:], 0, len(self._tail) - 1)
        return start - before if before >= 0 else 0
