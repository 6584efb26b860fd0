"""A recognizer judges every place of a text on its own, so what it finds does not depend on parts or order.

For each place where its pattern matches, a recognizer looks for the longest end that its validator
accepts (a greedy match that swallowed the next number is tried shorter), then for words of context.
Nothing that failed hides what begins inside it, and nothing that was found does either: spans that
overlap are united later. Therefore the findings of a text in parts are those of the whole text, as
long as no place is judged before everything it can depend on has arrived.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from govdesk.domain.ids import EntityType
from govdesk.redaction.pattern import Pattern

ACCEPTED = 0.5
"""A candidate that scores less is not a finding."""
HIGHEST = 0.99
_RETRIES = 20
"""Earlier ends that are tried when the validator refuses the longest: no group of digits is longer."""
_SEARCHED = 65_536
"""Characters that one search looks at: no call holds the interpreter for long."""
OPEN = sys.maxsize
"""The end of a span whose end has not arrived."""


class Window:
    """The part of a folded text that is at hand.

    Attributes:
        text, lower: the characters, and the same in lower case.
        base: where they begin in the folded text.
        final: the text ends where they end.
    """

    __slots__ = ("base", "final", "lower", "text")

    def __init__(self, text: str = "", *, final: bool = False) -> None:
        self.text = text
        self.lower = lower(text)
        self.base = 0
        self.final = final

    def append(self, folded: str) -> None:
        """Characters arrived."""
        self.text += folded
        self.lower += lower(folded)

    def forget(self, before: int) -> None:
        """Drop what stands before an offset of the folded text."""
        count = before - self.base
        self.text = self.text[count:]
        self.lower = self.lower[count:]
        self.base = before


def lower(text: str) -> str:
    """A folded text in lower case.

    Character by character and of the same length: the two characters for which `str.lower` is not
    so (U+0130 grows, U+03A3 looks at its neighbours) do not survive the fold.
    """
    return text.lower()


@dataclass(frozen=True, slots=True)
class Hit:
    """An accepted candidate, in offsets of the folded text.

    `end` is `OPEN` while the end has not arrived; `ends_open` is the hit that brings it.
    """

    start: int
    end: int
    score: float
    recognizer: Recognizer
    ends_open: bool = False


class Cursor(Protocol):
    """A recognizer on its way along one text."""

    position: int
    """Every place before it was judged; nothing of the text before it (but context) is needed again."""

    def advance(self, window: Window) -> list[Hit]:
        """Judge the places whose outcome is certain."""
        ...


class Recognizer(Protocol):
    """Finds one entity type."""

    @property
    def id(self) -> str:
        """Stable; the `rule` of a finding."""
        ...

    @property
    def type(self) -> EntityType:
        """What it finds."""
        ...

    @property
    def priority(self) -> int:
        """Which type names a union of overlapping findings: the highest."""
        ...

    @property
    def reach(self) -> int:
        """Characters before a place that its outcome depends on."""
        ...

    def cursor(self) -> Cursor:
        """Start along a new text."""
        ...


@dataclass(frozen=True, slots=True)
class Context:
    """Words near a candidate that make it likelier, or less likely (a negative weight)."""

    words: re.Pattern[str]
    weight: float
    adjacent: bool = False
    """The pattern itself demands that the words end right in front of the candidate."""


@dataclass(frozen=True, slots=True)
class PatternRecognizer:
    """A pattern, what validates it, and what is said around it.

    Attributes:
        on_lower: the pattern is matched on the text in lower case.
        whole: a match that the validator refuses is not tried shorter.
        gate: one of these (lower case) is in every match: where none is, nothing is tried.
        right: content of the class that may not follow a match.
        wanted: the words of context without one of which no score is high enough.
        before, after: characters of context on either side; behind a match only where its end is
            fixed, so that the score can be known first.
        run_to: a finding goes on to where this begins, or to the end of the text: what has no upper
            bound is not cut where the pattern's is.
        ends: the earlier ends that could be right in a match that the validator refused.
    """

    id: str
    type: EntityType
    priority: int
    pattern: Pattern
    score: float
    on_lower: bool = False
    whole: bool = False
    gate: tuple[str, ...] = ()
    right: re.Pattern[str] | None = None
    validator: Callable[[str], bool] | None = None
    context: tuple[Context, ...] = ()
    wanted: re.Pattern[str] | None = None
    before: int = 0
    after: int = 0
    stop_words: frozenset[str] = field(default_factory=frozenset)
    run_to: Pattern | None = None
    ends: Callable[[str], Iterable[int]] | None = None

    @property
    def reach(self) -> int:
        """Context, and the one character that a guard looks at."""
        return self.before + 2

    def cursor(self) -> PatternCursor:
        """Start along a new text."""
        return PatternCursor(self)

    def judge(self, window: Window, match: re.Match[str]) -> Hit | None:
        """The finding that begins where the pattern matched, if there is one."""
        start, end = match.span("span") if self.pattern.has_span else match.span()
        score = self._score(window.lower, start, end)
        if score < ACCEPTED:
            return None
        if self.validator is not None and not self.validator(window.text[start:end]):
            shorter = self._shorter(window, match)
            if shorter is None:
                return None
            end = shorter
        if self.stop_words and window.lower[start:end] in self.stop_words:
            return None
        if self.gate and end < match.end() and not self._gated(window.lower, match.start(), end):
            return None  # where no gate is near nobody would have looked
        return Hit(window.base + start, window.base + end, score, self)

    def _gated(self, lowered: str, start: int, end: int) -> bool:
        return any(lowered.find(word, start, end) >= 0 for word in self.gate)

    def _shorter(self, window: Window, match: re.Match[str]) -> int | None:
        """The longest shorter end that is valid, of those few that could be."""
        start, longest = match.span("span") if self.pattern.has_span else match.span()
        if self.whole or self.validator is None or longest != match.end():
            return None
        if self.pattern.has_span and self.ends is None:
            return None
        text = window.lower if self.on_lower else window.text
        given = window.text[start:longest]
        for length in self.ends(given) if self.ends is not None else _earlier_ends(given):
            end = start + length
            if not 0 < length < longest - start or (self.right is not None and self.right.match(text, end)):
                continue
            if self.validator(given[:length]) and self.pattern.core.fullmatch(text, match.start(), end):
                return end
        return None

    def _score(self, lowered: str, start: int, end: int) -> float:
        better = worse = 0.0
        for context in self.context:
            if context.words.search(lowered, max(0, start - self.before), start) or (
                self.after and not context.adjacent and context.words.search(lowered, end, end + self.after)
            ):
                better = max(better, context.weight)
                worse = min(worse, context.weight)
        return round(max(0.0, min(HIGHEST, self.score + better + worse)), 3)


def _earlier_ends(given: str) -> Iterable[int]:
    """Ends behind a letter or digit, the longest first."""
    tried = 0
    for length in range(len(given) - 1, 0, -1):
        if given[length - 1].isalnum():
            yield length
            tried += 1
            if tried == _RETRIES:
                return


class Run:
    """Takes findings on to where a pattern of one character begins, or to the end of the text.

    A finding that lies in one that was taken on is left out: it would say the same again. Whether it
    does is known only as far as was looked; findings that end behind that wait.
    """

    __slots__ = ("_end", "_looked", "_open", "_start", "_stop", "_waiting")

    def __init__(self, stop: Pattern) -> None:
        self._stop = stop
        self._open: Hit | None = None
        self._start = self._end = self._looked = 0
        self._waiting: list[Hit] = []

    @property
    def open(self) -> bool:
        """True while an end has not arrived."""
        return self._open is not None

    def covers(self, base: int, match: re.Match[str]) -> bool:
        """True when a match lies in a finding that was taken on: it need not be judged."""
        start, end = match.span("span") if "span" in match.re.groupindex else match.span()
        return self._start <= base + start and base + end <= (self._looked if self.open else self._end)

    def extended(self, hits: list[Hit], window: Window) -> list[Hit]:
        """The findings with the ends that are theirs; `OPEN` for an end that has not arrived."""
        taken_on: list[Hit] = []
        if self._open is not None:
            began = replace(self._open, ends_open=True)
            if self._ended(window):
                taken_on.append(replace(began, end=self._end))
        waiting, self._waiting = self._waiting + hits, []
        for hit in waiting:
            if self._waiting or (self.open and hit.end > self._looked):
                self._waiting.append(hit)
            elif hit.end > (self._looked if self.open else self._end):
                self._open, self._start, self._looked = hit, hit.start, hit.end
                taken_on.append(replace(hit, end=self._end if self._ended(window) else OPEN))
            elif hit.start < self._start:
                taken_on.append(hit)
        return taken_on

    def _ended(self, window: Window) -> bool:
        """Look on from where looking ended; True when the end is known."""
        text, stop = window.lower, self._stop
        at, end = self._looked - window.base, len(text)
        certain = end
        if not window.final:
            begun = stop.prefix.search(text, max(at, end - stop.longest))
            if begun is not None:
                certain = begun.start()
        match = stop.search.search(text, at)
        if match is not None and match.start() < certain:
            certain = match.start()
        elif not window.final:
            self._looked = window.base + certain
            return False
        self._end = self._looked = window.base + certain
        self._open = None
        return True


class PatternCursor:
    """A pattern recognizer on its way along one text."""

    __slots__ = ("_recognizer", "_run", "_word", "position")

    def __init__(self, recognizer: PatternRecognizer) -> None:
        self._recognizer = recognizer
        self._word = -1
        self._run = None if recognizer.run_to is None else Run(recognizer.run_to)
        self.position = 0

    @property
    def open(self) -> bool:
        """True while the end of a finding has not arrived."""
        return self._run is not None and self._run.open

    def advance(self, window: Window) -> list[Hit]:
        """Judge the places whose outcome is certain, and take findings on to their ends."""
        begun = [] if self._run is None else self._run.extended([], window)
        return begun + self._judged(window)

    def _judged(self, window: Window) -> list[Hit]:
        recognizer = self._recognizer
        pattern = recognizer.pattern
        text = window.lower if recognizer.on_lower else window.text
        at, end = self.position - window.base, len(text)
        certain = end
        if not window.final:
            begun = pattern.prefix.search(text, max(at, end - pattern.longest))
            if begun is not None:
                certain = begun.start()
        hits: list[Hit] = []
        places = [-1] * len(recognizer.gate)
        self._word = -1
        while at < certain:
            match, at, horizon = self._next(window.lower, text, at, certain, places)
            if match is None or match.start() >= horizon:
                at = horizon
                continue
            at = match.start()
            if not window.final and match.end() + recognizer.after > end:
                certain = at
                break
            at += 1
            if self._run is not None and self._run.covers(window.base, match):
                continue
            hit = recognizer.judge(window, match)
            if hit is not None:
                hits += [hit] if self._run is None else self._run.extended([hit], window)
            elif recognizer.wanted is not None:
                sure = certain if window.final else min(certain, end - pattern.longest - recognizer.after)
                at = max(at, min(sure, self._wanted_from(window.lower, at)))
        self.position = window.base + certain
        return hits

    def _wanted_from(self, lowered: str, at: int) -> int:
        """Where the next word that the recognizer needs beside a candidate makes one possible again."""
        recognizer = self._recognizer
        assert recognizer.wanted is not None  # noqa: S101 (the caller looked)
        nearest = max(0, at - recognizer.before)
        if self._word < nearest:
            word = recognizer.wanted.search(lowered, nearest)
            self._word = word.start() if word else len(lowered)
        return self._word - recognizer.after - recognizer.pattern.longest

    def _next(
        self, lowered: str, text: str, at: int, certain: int, places: list[int]
    ) -> tuple[re.Match[str] | None, int, int]:
        """The next match from `at`, where it was sought from, and the place before which it counts.

        With a gate the search stays near the gate's words, whose next `places` are looked up only
        once each. A match that begins before the horizon ends, with the character behind it, before
        the search does, so that the cut changes nothing.
        """
        pattern = self._recognizer.pattern
        gate = self._recognizer.gate
        if not gate:
            horizon = min(certain, at + _SEARCHED)
            return pattern.search.search(text, at, horizon + pattern.longest + 1), at, horizon
        for number, word in enumerate(gate):
            if places[number] < at:
                place = lowered.find(word, at)
                places[number] = len(lowered) if place < 0 else place
        nearest = min(places)
        if nearest == len(lowered):
            return None, at, certain
        at = max(at, nearest - pattern.longest)
        horizon = min(certain, nearest + 2 * pattern.longest + 1)
        return pattern.search.search(text, at, horizon + pattern.longest), at, horizon
