"""How an answer was chosen is on record; the shape asked of it is looked at as the prompt is."""

from __future__ import annotations

import json

import pytest

from govdesk.app import rules
from govdesk.chat import shape
from govdesk.domain.decision import Deny
from govdesk.domain.inference import Stopped
from govdesk.domain.json_schema import to_grammar
from govdesk.domain.record import Event
from govdesk.domain.turn import Ended, Outcome, Preset, Sampling, Usage
from tests.schemas import VALIDATED
from tests.unit.chat.test_chat_service import SSN, Line

YES_NO = 'root ::= "yes" | "no"'


def run(line: Line, sampling: Sampling | None) -> Ended:
    ended = list(line.chat.run_turn(None, "Hello", sampling))[-1]
    assert isinstance(ended, Ended)
    return ended


def test_a_seed_is_drawn_recorded_used_and_said() -> None:
    line = Line()
    seeds = set()
    for _ in range(4):
        ended = run(line, None)
        [intent] = [entry for entry in line.audit.entries if entry.event is Event.TURN_INTENT][-1:]
        recorded = intent.fields["sampling"]
        assert {**recorded, "max_tokens": 512} == ended.sampling.numbers()
        assert line.inference.sampling == ended.sampling
        seeds.add(ended.sampling.seed)
    assert len(seeds) == 4
    assert None not in seeds


def test_a_given_seed_and_preset_are_recorded_as_they_are() -> None:
    line = Line()
    sampling = Sampling(temperature=0.9, seed=7)
    assert run(line, sampling).sampling == sampling
    assert line.audit.entries[0].fields["sampling"]["seed"] == 7  # type: ignore[index,call-overload]
    assert line.audit.entries[0].fields["sampling"]["temperature_thousandths"] == 900  # type: ignore[index,call-overload]


def test_a_shape_reaches_the_model_after_it_was_redacted_and_recorded() -> None:
    line = Line()
    assert run(line, Sampling(grammar=YES_NO)).explanation == ""
    assert line.inference.sampling is not None
    assert line.inference.sampling.grammar == YES_NO
    steps = line.log.steps
    before = steps[: steps.index("turn.intent")]
    assert before.count("redact prompt") == 2  # the prompt, and the shape
    assert "inference" not in before


@pytest.mark.parametrize(
    ("grammar", "rule"),
    [
        (f'root ::= "{SSN}"', "grammar.findings"),
        ("root ::= root", "grammar.invalid"),
        ("x" * 70_000, "grammar.invalid"),
    ],
)
def test_a_shape_that_may_not_be_sent_is_denied(grammar: str, rule: str) -> None:
    line = Line()
    ended = run(line, Sampling(grammar=grammar))
    assert ended.outcome is Outcome.DENIED
    assert ended.explanation
    assert "inference" not in line.log.steps
    assert line.store.prompts == []
    assert [entry.fields["rule"] for entry in line.audit.entries] == [rule, rule]
    assert SSN not in str(line.audit.entries)


def test_an_answer_that_lost_its_shape_says_so() -> None:
    line = Line()
    line.inference.pieces = (f'{{"number": "{SSN}"}}',)
    assert run(line, Sampling(grammar=YES_NO)).explanation == shape.NOT_THE_SHAPE["redacted"]
    assert run(line, Sampling()).explanation == ""  # no shape was asked for
    line = Line()
    line.inference.stopped = Stopped("length", Usage(prompt_tokens=3, answer_tokens=512))
    assert shape.NOT_THE_SHAPE["cut"] in run(line, Sampling(grammar=YES_NO)).explanation


def test_the_shipped_rules_find_nothing_in_what_schemas_become() -> None:
    redactor = rules.build_redactor(rules.load_policy()[0])
    for schema in VALIDATED:
        assert shape.refusal(redactor, to_grammar(json.dumps(schema))) is None
    number = "-".join(("219", "09", "9999"))
    refused = shape.refusal(redactor, to_grammar(json.dumps({"enum": [f"SSN {number}", "other"]})))
    assert isinstance(refused, Deny)
    assert refused.rule == "grammar.findings"


def test_presets_are_told_apart_in_the_record() -> None:
    numbers = [tuple(preset.sampling().numbers().items()) for preset in Preset]
    assert len(set(numbers)) == len(numbers)
