"""Redacts a whole text, or starts a stream that gives the same; never returns a text it did not finish.

fold → candidates → validate and score → resolve → policy → operate. A failure anywhere raises.
"""

from __future__ import annotations

from collections.abc import Sequence

from govdesk.domain.ids import EntityType
from govdesk.domain.policy import Policy, RedactionRules
from govdesk.domain.redaction import Direction, Finding, Operator, Redacted
from govdesk.redaction import bundle
from govdesk.redaction.fold import OffsetMap, fold
from govdesk.redaction.operate import render
from govdesk.redaction.recognizer import Recognizer, Window
from govdesk.redaction.resolve import Unions, to_finding
from govdesk.redaction.stream import Stream


class Operators:
    """The operators of one direction, by entity type."""

    __slots__ = ("_known", "_rules")

    def __init__(self, rules: RedactionRules) -> None:
        self._rules = rules
        self._known: dict[EntityType, Operator] = {}

    def __call__(self, entity_type: EntityType) -> Operator:
        """The operator for a type."""
        operator = self._known.get(entity_type)
        if operator is None:
            operator = self._known[entity_type] = self._rules.operator(entity_type)
        return operator


class Engine:
    """Implements `govdesk.chat.ports.Redactor`.

    Args:
        recognizers: what finds.
        policy: what is done about it, per entity type and direction.
    """

    def __init__(self, recognizers: Sequence[Recognizer], policy: Policy) -> None:
        self._recognizers = tuple(recognizers)
        self._sources = bundle.cursor_sources(recognizers)
        self._reach = max((recognizer.reach for recognizer in recognizers), default=1)
        self._operators = {direction: Operators(policy.rules(direction)) for direction in Direction}

    def redact(self, text: str, direction: Direction) -> Redacted:
        """Redact a whole text.

        Args:
            text: as given; offsets of the findings are its code points.
            direction: where it is going.
        """
        folded, drops = fold(text)
        offsets = OffsetMap(drops)
        window = Window(folded, final=True)
        hits = [hit for recognizer in self._recognizers for hit in recognizer.cursor().advance(window)]
        hits.sort(key=lambda hit: hit.start)
        unions = Unions()
        operator = self._operators[direction]
        for hit in hits:
            end = offsets.given(hit.end) if hit.end < len(folded) else len(text)
            unions.add(hit, offsets.span_start(hit.start), end, operator(hit.recognizer.type))
        pieces: list[str] = []
        findings: list[Finding] = []
        at = 0
        for union in unions.take(len(folded)):
            finding = to_finding(union, at)
            pieces.append(text[at : finding.start])
            pieces.append(render(finding, text[finding.start : finding.end]))
            findings.append(finding)
            at = finding.end
        pieces.append(text[at:])
        return Redacted("".join(pieces), tuple(findings))

    def stream(self, direction: Direction) -> Stream:
        """Start redacting a text that will arrive in parts."""
        cursors = [source.cursor() for source in self._sources]
        return Stream(cursors, self._reach, self._operators[direction])
