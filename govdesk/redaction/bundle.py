"""Many recognizers cost a stream about as much as one while nothing is found: all are asked at once.

All patterns of a bundle are joined into one that says whether any of them matches before the end
is near, and one that says from where any could still begin. Only when the first does are the
recognizers asked one by one, each from where it stands.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from govdesk.redaction.recognizer import Cursor, Hit, PatternRecognizer, Recognizer, Window

_LARGE = 2048
"""Characters at hand from which on asking one by one, with gates, is faster."""


class Bundle:
    """Pattern recognizers that look at the same form of the text (as written, or in lower case)."""

    def __init__(self, recognizers: Sequence[PatternRecognizer], *, on_lower: bool) -> None:
        self.recognizers = tuple(recognizers)
        self.on_lower = on_lower
        patterns = [recognizer.pattern for recognizer in recognizers]
        self.prefix = _any_of([pattern.prefix for pattern in patterns])
        self.search = _any_of([pattern.search for pattern in patterns])

    def cursor(self) -> Cursor:
        """Start along a new text."""
        return _BundleCursor(self)


def cursor_sources(recognizers: Sequence[Recognizer]) -> tuple[Bundle | Recognizer, ...]:
    """What a stream asks for cursors: the bundles, and the recognizers that cannot be bundled."""
    patterned = [recognizer for recognizer in recognizers if isinstance(recognizer, PatternRecognizer)]
    others = [recognizer for recognizer in recognizers if not isinstance(recognizer, PatternRecognizer)]
    bundles = [
        Bundle(members, on_lower=on_lower)
        for on_lower in (False, True)
        if (members := [recognizer for recognizer in patterned if recognizer.on_lower is on_lower])
    ]
    return (*others, *bundles)


def _any_of(patterns: Sequence[re.Pattern[str]]) -> re.Pattern[str]:
    joined = "|".join(pattern.pattern for pattern in patterns)
    return re.compile(joined.replace("(?P<span>", "(?:"), re.ASCII | re.MULTILINE)


class _BundleCursor:
    __slots__ = ("_bundle", "_members", "_open", "position")

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._members = [recognizer.cursor() for recognizer in bundle.recognizers]
        self._open = False
        self.position = 0

    def advance(self, window: Window) -> list[Hit]:
        bundle = self._bundle
        text = window.lower if bundle.on_lower else window.text
        at, end = self.position - window.base, len(text)
        if not window.final and not self._open and end - at <= _LARGE:
            begun = bundle.prefix.search(text, at)
            certain = end if begun is None else begun.start()
            match = bundle.search.search(text, at)
            if match is None or match.start() >= certain:
                self.position = window.base + certain
                return []
        hits: list[Hit] = []
        for member in self._members:
            member.position = max(member.position, self.position)
            hits += member.advance(window)
        self.position = min(member.position for member in self._members)
        self._open = any(member.open for member in self._members)
        return hits
