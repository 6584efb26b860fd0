"""What is known only when an open finding ends still decides how the union is named."""

import dataclasses

from govdesk.domain.ids import EntityType
from govdesk.domain.redaction import Operator
from govdesk.redaction.pattern import compile_pattern
from govdesk.redaction.recognizer import OPEN, Hit, PatternRecognizer
from govdesk.redaction.resolve import Unions


def rule(name: str) -> PatternRecognizer:
    return PatternRecognizer(name, EntityType("CUSTOM." + name.upper()), 1, compile_pattern("x"), 0.9)


def test_the_end_of_an_open_hit_may_change_the_name() -> None:
    opened = Hit(0, OPEN, 0.9, rule("long"))
    unions = Unions()
    unions.add(opened, 0, OPEN, Operator.ALLOW)
    unions.add(Hit(2, 7, 0.9, rule("short")), 2, 7, Operator.REDACT)
    assert unions.take(100) == []
    assert unions.certain(100) == 0
    unions.add(dataclasses.replace(opened, end=50, ends_open=True), 0, 50, Operator.ALLOW)
    (union,) = unions.take(100)
    assert (union.start, union.end, union.recognizer.id, union.operator) == (0, 50, "long", Operator.REDACT)


def test_the_order_of_arrival_changes_nothing() -> None:
    hits = [
        Hit(0, 5, 0.7, rule("a")),
        Hit(4, 9, 0.9, rule("b")),
        Hit(8, 20, 0.9, rule("c")),
        Hit(30, 31, 0.5, rule("d")),
    ]
    seen = set()
    for order in ((0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1), (1, 3, 0, 2)):
        unions = Unions()
        for number in order:
            unions.add(hits[number], hits[number].start, hits[number].end, Operator.REDACT)
        seen.add(tuple((union.start, union.end, union.recognizer.id) for union in unions.take(100)))
    assert seen == {((0, 20, "c"), (30, 31, "d"))}
