"""Findings never overlap: what overlaps is united, under the strictest operator and the name of highest rank.

Works on hits as they come, so that a stream and a whole text are resolved by the same steps. The
order in which overlapping hits arrive changes nothing, because union, strictest and highest do not
depend on it.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass

from govdesk.domain.redaction import Finding, Operator
from govdesk.redaction.recognizer import OPEN, Hit, Recognizer


@dataclass(slots=True)
class Union:
    """Hits that overlap, as one.

    Attributes:
        start, end: in the folded text; `end` is `OPEN` while a part of it is open.
        given_start, given_end: the same in the text as given.
        recognizer, score: of the hit that names the union.
        operator: the strictest of all.
    """

    start: int
    end: int
    given_start: int
    given_end: int
    recognizer: Recognizer
    score: float
    operator: Operator
    rank: tuple[int, float, int, int, str]
    closed_end: int = 0
    closed_given_end: int = 0
    open_parts: int = 0


class Unions:
    """The unions of a text that were not taken yet, in order."""

    __slots__ = ("_unions",)

    def __init__(self) -> None:
        self._unions: list[Union] = []

    def add(self, hit: Hit, given_start: int, given_end: int, operator: Operator) -> None:
        """Add a hit, or give the end to one that was open."""
        if hit.ends_open:
            self._close(hit, given_end)
            return
        union = Union(
            hit.start,
            hit.end,
            given_start,
            given_end,
            hit.recognizer,
            hit.score,
            operator,
            _rank(hit),
        )
        if hit.end == OPEN:
            union.open_parts = 1
        else:
            union.closed_end, union.closed_given_end = hit.end, given_end
        self._insert(union)

    def certain(self, cut: int) -> int:
        """The cut, lowered so that no union spans it."""
        for union in reversed(self._unions):
            if union.end <= cut:
                break
            if union.start < cut:
                return union.start
        return cut

    def take(self, cut: int) -> list[Union]:
        """Remove and return the unions that end at or before the cut."""
        count = 0
        for union in self._unions:
            if union.end > cut:
                break
            count += 1
        taken = self._unions[:count]
        del self._unions[:count]
        return taken

    def clear(self) -> None:
        """Forget all."""
        self._unions.clear()

    def _close(self, hit: Hit, given_end: int) -> None:
        for union in reversed(self._unions):
            if union.start <= hit.start < union.end:
                union.open_parts -= 1
                union.closed_end = max(union.closed_end, hit.end)
                union.closed_given_end = max(union.closed_given_end, given_end)
                if _rank(hit) > union.rank:
                    union.recognizer, union.score, union.rank = hit.recognizer, hit.score, _rank(hit)
                if not union.open_parts:
                    union.end, union.given_end = union.closed_end, union.closed_given_end
                return

    def _insert(self, new: Union) -> None:
        unions = self._unions
        if unions and unions[-1].end > new.start:
            last = len(unions)
            while last and unions[last - 1].start >= new.end:
                last -= 1
            first = last
            while first and unions[first - 1].end > new.start:
                first -= 1
            for union in unions[first:last]:
                _absorb(new, union)
            if first < last:
                unions[first:last] = [new]
                return
            insort(unions, new, key=lambda union: union.start)
            return
        unions.append(new)


def _absorb(new: Union, old: Union) -> None:
    if old.start < new.start:
        new.start, new.given_start = old.start, old.given_start
    if old.end > new.end:
        new.end, new.given_end = old.end, old.given_end
    if old.rank > new.rank:
        new.recognizer, new.score, new.rank = old.recognizer, old.score, old.rank
    if old.operator.strictness > new.operator.strictness:
        new.operator = old.operator
    new.closed_end = max(new.closed_end, old.closed_end)
    new.closed_given_end = max(new.closed_given_end, old.closed_given_end)
    new.open_parts += old.open_parts


def _rank(hit: Hit) -> tuple[int, float, int, int, str]:
    """Type by priority, then score, then length; place and rule only so that ties never depend on order."""
    length = 0 if hit.end == OPEN else hit.end - hit.start
    return (hit.recognizer.priority, hit.score, length, -hit.start, hit.recognizer.id)


def to_finding(union: Union, after: int) -> Finding:
    """A union as a finding, which begins behind the last one (they may share dropped characters)."""
    recognizer = union.recognizer
    return Finding(
        start=max(after, union.given_start),
        end=union.given_end,
        type=recognizer.type,
        score=union.score,
        rule=recognizer.id,
        operator=union.operator,
    )
