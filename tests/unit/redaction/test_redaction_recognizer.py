"""What one recognizer decides by itself: how far a finding runs on, and which shorter match counts."""

from govdesk.domain.ids import EntityType
from govdesk.redaction.pattern import compile_pattern
from govdesk.redaction.recognizer import OPEN, Hit, PatternRecognizer, Run, Window

RULE = PatternRecognizer("r", EntityType("CUSTOM.R"), 1, compile_pattern("[0-9]{2,6}g?"), 0.9)
STOP = compile_pattern("[, ](?![0-9])")


def test_a_finding_that_ends_behind_what_was_looked_at_waits_for_the_end_of_the_one_it_may_be_in() -> None:
    first, second = Hit(0, 2, 0.9, RULE), Hit(1, 4, 0.9, RULE)
    whole = Run(STOP).extended([first, second], Window("aa,x1 ", final=True))
    assert [(hit.start, hit.end) for hit in whole] == [(0, 2), (1, 5)]
    run, window = Run(STOP), Window("aa,")
    assert [hit.end for hit in run.extended([first], window)] == [OPEN]
    assert run.extended([Hit(1, 3, 0.9, RULE)], window) == []  # nobody knows yet whether it is inside
    window.append("x1 ")
    window.final = True
    ended, other = run.extended([second], window)
    assert (ended.start, ended.end, ended.ends_open) == (0, 2, True)
    assert (other.start, other.end, other.ends_open) == (1, 5, False)
    assert not run.open


def test_what_lies_inside_is_said_once() -> None:
    run, window = Run(STOP), Window("aaaa,1,1")
    assert [hit.end for hit in run.extended([Hit(0, 2, 0.9, RULE), Hit(1, 3, 0.9, RULE)], window)] == [OPEN]
    window.append(", b")
    (ended,) = run.extended([Hit(5, 7, 0.9, RULE)], window)
    assert (ended.start, ended.end) == (0, 8)


def test_a_shorter_match_without_the_gate_is_none_because_elsewhere_nobody_would_have_looked() -> None:
    def found(gate: tuple[str, ...]) -> list[Hit]:
        rule = PatternRecognizer(
            "r", EntityType("CUSTOM.R"), 1, RULE.pattern, 0.9, gate=gate, validator=lambda text: text == "12"
        )
        return rule.cursor().advance(Window("12g", final=True))

    assert [(hit.start, hit.end) for hit in found(())] == [(0, 2)]
    assert found(("g",)) == []
