"""What a stream releases, joined, is the text that redacting the whole would give, whatever the parts.

P1: the joined releases equal the whole text's result. P2: no character is ever released that the
whole text's result would not hold. P3: an exception or a stream that is dropped releases nothing
of what it held. Once a finding is met that policy blocks, the release ends in front of it for good.

Every recognizer has its own place up to which it judged; the cut is the least of these places,
lowered to the start of a union that spans it. The folded text is kept from the cut less the
longest reach, so that work per part depends on the part and on what is held, not on the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from govdesk.domain.ids import EntityType
from govdesk.domain.redaction import Finding, Operator
from govdesk.errors import BugError
from govdesk.redaction.fold import OffsetMap, fold
from govdesk.redaction.operate import render
from govdesk.redaction.recognizer import OPEN, Cursor, Hit, Window
from govdesk.redaction.resolve import Unions, to_finding

_SLACK = 512
"""Folded characters that pile up before they are forgotten, so that forgetting is not done for every part."""


class Stream:
    """Implements `govdesk.chat.ports.RedactionStream`.

    Args:
        cursors: at the start of the text.
        reach: characters before a place that its outcome can depend on.
        operator: the operator of an entity type.
    """

    def __init__(
        self, cursors: Sequence[Cursor], reach: int, operator: Callable[[EntityType], Operator]
    ) -> None:
        self._cursors = list(cursors)
        self._reach = reach
        self._operator = operator
        self._window = Window()
        self._offsets = OffsetMap()
        self._unions = Unions()
        self._findings: list[Finding] = []
        self._held: list[str] = []
        self._taken = 0
        self._released = 0
        self._blocked = False
        self._closed = False

    @property
    def held(self) -> int:
        """Characters taken and not yet released; 0 once blocked, as they never will be."""
        return 0 if self._blocked else self._taken - self._released

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Findings in what was released, and the one that blocked; offsets over the whole text as given."""
        return tuple(self._findings)

    @property
    def blocked(self) -> bool:
        """True once a finding that policy blocks was met: nothing more is released."""
        return self._blocked

    def feed(self, part: str) -> str:
        """Take a part; return what is safe to release now.

        Raises:
            BugError: the stream has ended, or failed before.
        """
        self._open()
        if self._blocked or not part:
            return ""
        self._closed = True  # until this part went through: a failure leaves the stream closed (P3)
        folded, drops = fold(part)
        self._offsets.extend(self._window.base + len(self._window.text), drops)
        self._window.append(folded)
        self._held.append(part)
        self._taken += len(part)
        released = self._advance()
        self._closed = False
        return released

    def flush(self) -> str:
        """End of text: return what was held, redacted.

        Raises:
            BugError: the stream has ended, or failed before.
        """
        self._open()
        self._closed = True
        if self._blocked:
            return ""
        self._window.final = True
        return self._advance()

    def _open(self) -> None:
        if self._closed:
            self._discard()
            raise BugError("A redaction stream was used after its end.")

    def _advance(self) -> str:
        window = self._window
        end = window.base + len(window.text)
        hits: list[Hit] = []
        cut = end
        for cursor in self._cursors:
            hits += cursor.advance(window)
            cut = min(cut, cursor.position)
        if hits:
            self._add(hits, end)
        judged = cut
        cut = self._unions.certain(cut)
        released = self._release(cut, end)
        if judged - self._reach - window.base > _SLACK:
            window.forget(judged - self._reach)
            self._offsets.forget(window.base)
        return released

    def _add(self, hits: list[Hit], end: int) -> None:
        """Ends of open spans first: whatever else arrived begins behind them or overlaps them anyway."""
        hits.sort(key=lambda hit: (not hit.ends_open, hit.start))
        for hit in hits:
            if hit.end == OPEN:
                given_end = OPEN
            else:
                given_end = self._offsets.given(hit.end) if hit.end < end else self._taken
            given_start = 0 if hit.ends_open else self._offsets.span_start(hit.start)
            self._unions.add(hit, given_start, given_end, self._operator(hit.recognizer.type))

    def _release(self, cut: int, end: int) -> str:
        unions = self._unions.take(cut)
        if self._window.final:
            upto = self._taken
        elif cut <= self._window.base:
            upto = self._released
        else:
            upto = max(self._released, self._offsets.span_start(cut))
        if unions:
            upto = max(upto, unions[-1].given_end)
        if upto <= self._released:
            return ""
        text = "".join(self._held)
        base = at = self._released
        pieces: list[str] = []
        for union in unions:
            finding = to_finding(union, at)
            self._findings.append(finding)
            pieces.append(text[at - base : finding.start - base])
            if finding.operator is Operator.BLOCK:
                self._blocked = True
                self._discard()
                return "".join(pieces)
            pieces.append(render(finding, text[finding.start - base : finding.end - base]))
            at = finding.end
        pieces.append(text[at - base : upto - base])
        self._held = [text[upto - base :]]
        self._released = upto
        return "".join(pieces)

    def _discard(self) -> None:
        self._held.clear()
        self._unions.clear()
        self._cursors.clear()
        self._window = Window()
