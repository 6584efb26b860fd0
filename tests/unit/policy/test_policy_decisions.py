import pytest

from govdesk.domain.decision import Deny, Permit
from govdesk.domain.ids import EntityType
from govdesk.domain.policy import MAX_PROMPT_CHARACTERS
from govdesk.domain.redaction import Finding, Operator, Redacted
from govdesk.policy.builtin import strict_policy
from govdesk.policy.decisions import Decider

DECIDER = Decider(strict_policy())


def finding(entity_type, operator, rule="some-rule"):
    return Finding(0, 5, EntityType(entity_type), 0.9, rule, operator)


def decide(text, *findings):
    return DECIDER.decide(Redacted(text, findings), len(text))


@pytest.mark.parametrize("text", ["a", "?", "🙂", "é", "؟", "[US_SSN]", " \n x \t", "\u200bx", "中", "0"])
def test_a_prompt_with_something_to_answer_is_permitted(text):
    assert decide(text) == Permit()


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "\n\t\r",
        "\u00a0\u2003\u3000",
        "\u200b\u200d\ufeff",
        "\u202e\u2066",
        "\x00\x1b\x7f",
        "\u3164\u115f\u2800",
        "\ufe0f\u0301",
        "\U000e0041\U000e0042",
        "\ud800",
    ],
)
def test_a_prompt_that_shows_nothing_is_denied(text):
    decision = decide(text)
    assert isinstance(decision, Deny)
    assert decision.rule == "prompt.empty"


@pytest.mark.parametrize("operator", [Operator.REDACT, Operator.MASK, Operator.WARN, Operator.ALLOW])
def test_findings_that_are_not_blocked_do_not_stop_a_prompt(operator):
    assert decide("[US_SSN]", finding("US_SSN", operator)) == Permit()


def test_a_blocked_finding_stops_the_prompt_and_is_named_without_content():
    decision = decide(
        "hunter2 text",
        finding("US_SSN", Operator.REDACT, "us-ssn"),
        finding("SECRET.PRIVATE_KEY", Operator.BLOCK, "pem"),
        finding("SECRET.PRIVATE_KEY", Operator.BLOCK, "pem"),
        finding("MARKING", Operator.BLOCK, "banner-above-system"),
    )
    assert isinstance(decision, Deny)
    assert decision.rule == "prompt.blocked"
    assert decision.why.count("SECRET.PRIVATE_KEY (rule pem)") == 1
    assert "MARKING (rule banner-above-system)" in decision.why
    assert "US_SSN" not in decision.why
    assert "hunter2" not in decision.why


def test_the_longest_prompt_is_permitted_and_one_more_is_denied():
    redacted = Redacted("x", ())
    assert DECIDER.decide(redacted, MAX_PROMPT_CHARACTERS) == Permit()
    decision = DECIDER.decide(redacted, MAX_PROMPT_CHARACTERS + 1)
    assert isinstance(decision, Deny)
    assert decision.rule == "prompt.too-long"
    assert "2,000,000" in decision.why
