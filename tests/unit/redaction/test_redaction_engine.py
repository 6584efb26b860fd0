import pytest

from govdesk.config import RESOURCES
from govdesk.domain.ids import EntityType
from govdesk.domain.policy import ConsentText, Policy, RedactionRules
from govdesk.domain.redaction import Direction, Operator
from govdesk.errors import BugError
from govdesk.redaction.engine import Engine
from govdesk.redaction.packs import load_packs
from govdesk.redaction.pattern import compile_pattern
from govdesk.redaction.recognizer import PatternRecognizer, Window

RECOGNIZERS = load_packs(
    RESOURCES / "recognizers", lambda text: "SECRET" in text or text.startswith(("(S", "(TS"))
)


def engine(default: Operator = Operator.REDACT, **types: Operator) -> Engine:
    rules = RedactionRules(default=default, types={name.replace("__", "."): op for name, op in types.items()})
    consent = ConsentText(title="", text="")
    return Engine(
        RECOGNIZERS, Policy(1, "t", 1, "UNCLASSIFIED", consent, {"prompt": rules, "storage": rules})
    )


def redacted(text: str, **types: Operator) -> str:
    return engine(**types).redact(text, Direction.STORAGE).text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("nothing here", "nothing here"),
        ("ssn 219-09-9999.", "ssn [US_SSN]."),
        ("😀 21９\u200b-09-9999 é", "😀 [US_SSN] é"),
        ("a \u200b219-09-9999\u200b b", "a [US_SSN] b"),
        ("7 4111 1111 1111 1111 8", "7 [CREDIT_CARD] 8"),
        ("x@y.org,z@y.org", "[EMAIL_ADDRESS],[EMAIL_ADDRESS]"),
        ("at 10.0.0.1:80 and v1.2.3.4", "at [IP_ADDRESS]:80 and v1.2.3.4"),
        ("219-09-99\x0099 and 192。0。2。7", "[US_SSN] and [IP_ADDRESS]"),
        ("SECRET//NOFORN", "[MARKING]"),
        ("(U//FOUO) a SECRET plan", "(U//FOUO) a SECRET plan"),
        ("to DE89 3704 0044 0532 0130 00 AND 12", "to [IBAN_CODE] AND 12"),
        ("[US_SSN] and [SECRET.PASSWORD]", "[US_SSN] and [SECRET.PASSWORD]"),
        ("password: [SECRET.PASSWORD]", "password: [SECRET.PASSWORD]"),
    ],
)
def test_placeholders(text: str, expected: str) -> None:
    assert redacted(text) == expected


def test_offsets_are_code_points_over_the_text_as_given() -> None:
    text = "\ufeff😀\r\n219-09-9999"
    (finding,) = engine().redact(text, Direction.PROMPT).findings
    assert text[finding.start : finding.end] == "219-09-9999"
    assert (finding.type, finding.rule, finding.operator) == ("US_SSN", "us-ssn", Operator.REDACT)


def test_operators() -> None:
    text = "219-09-9999 a@b.org"
    assert redacted(text, US_SSN=Operator.MASK) == "***-**-9999 [EMAIL_ADDRESS]"
    assert redacted(text, US_SSN=Operator.ALLOW, EMAIL_ADDRESS=Operator.WARN) == text
    result = engine(US_SSN=Operator.ALLOW, EMAIL_ADDRESS=Operator.BLOCK).redact(text, Direction.PROMPT)
    assert [finding.operator for finding in result.findings] == [Operator.ALLOW, Operator.BLOCK]
    assert [finding.type for finding in result.blocked] == ["EMAIL_ADDRESS"]


def test_secrets_and_short_values_are_never_masked() -> None:
    key = "AK" + "IA" + "IOSFODNN7EXAMPLE"
    assert redacted(key, SECRET__CLOUD_KEY=Operator.MASK) == "[SECRET.CLOUD_KEY]"
    assert redacted("SECRET//NOFORN", MARKING=Operator.MASK) == "[MARKING]"
    assert redacted("call 555-0143", PHONE_NUMBER=Operator.MASK) == "call [PHONE_NUMBER]"


def test_overlapping_findings_are_one_under_the_strictest_operator() -> None:
    text = "redis://:s3c" + "ret9@cache.example.com/0"  # the password and an address that begins in it
    result = engine(SECRET__PASSWORD=Operator.ALLOW).redact(text, Direction.PROMPT)
    (finding,) = result.findings
    assert finding.type == "SECRET.PASSWORD"
    assert finding.operator is Operator.REDACT
    assert "ret9" not in result.text
    assert "cache" not in result.text


def test_a_private_key_is_swallowed_to_its_end_or_the_texts() -> None:
    begin, end = ("-----" + edge + " PRIVATE " + "KEY-----" for edge in ("BEGIN", "END"))
    assert redacted(f"a {begin}\nMII a@b.org\n{end} b") == "a [SECRET.PRIVATE_KEY] b"
    assert redacted(f"a {begin}\nMII and no end") == "a [SECRET.PRIVATE_KEY]"


def test_directions_have_their_own_rules() -> None:
    allowing = engine(default=Operator.ALLOW)
    assert allowing.redact("219-09-9999", Direction.PROMPT).text == "219-09-9999"
    assert allowing.redact("219-09-9999", Direction.LOG).text == "[US_SSN]"


def test_a_block_ends_the_stream_in_front_of_the_finding() -> None:
    stream = engine(US_SSN=Operator.BLOCK).stream(Direction.PROMPT)
    released = "".join(map(stream.feed, "mail a@b.org, ssn 219-09-9999, and more of the same"))
    assert released == "mail [EMAIL_ADDRESS], ssn "
    assert stream.blocked
    assert stream.held == 0
    assert (stream._held, stream._window.text, stream._cursors) == (
        [],
        "",
        [],
    )  # discarded, not only not released
    assert stream.flush() == ""
    assert [finding.type for finding in stream.findings] == ["EMAIL_ADDRESS", "US_SSN"]


def test_a_stream_that_ended_or_failed_gives_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = engine().stream(Direction.PROMPT)
    stream.feed("219-09-99")
    assert stream.held == 9
    monkeypatch.setattr("govdesk.redaction.stream.fold", lambda _part: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        stream.feed("99")
    monkeypatch.undo()
    for use in (lambda: stream.feed("x"), stream.flush):
        with pytest.raises(BugError):
            use()
    assert stream.findings == ()


def test_prose_is_hardly_held() -> None:
    stream = engine().stream(Direction.PROMPT)
    held = []
    for word in (
        "The quick brown fox, who is thirteen, jumps over 3 lazy dogs (and a cat) in May. ".split(" ") * 20
    ):
        stream.feed(word + " ")
        held.append(stream.held)
    assert sorted(held)[len(held) * 95 // 100] <= 16


def test_work_per_part_does_not_grow_with_the_answer() -> None:
    stream = engine().stream(Direction.PROMPT)
    for _ in range(5000):
        stream.feed("word 1234 ")
    assert len(stream._window.text) < 2000
    assert sum(map(len, stream._held)) < 200


def test_a_flood_of_what_does_not_show_is_held_and_goes_with_the_finding() -> None:
    stream = engine().stream(Direction.PROMPT)
    released = "".join(
        stream.feed(part) for part in ["219-09-", *["\u200b" * 50] * 200, "9999", "\u200b" * 10, "."]
    )
    assert released + stream.flush() == "[US_SSN]."


def test_what_does_not_show_behind_a_finding_goes_with_it_when_the_cut_is_there() -> None:
    stream = engine().stream(Direction.PROMPT)
    released = "".join(map(stream.feed, "4111111111111111\u200b?sin and more"))
    assert released + stream.flush() == "[CREDIT_CARD]?sin and more"


def test_a_key_may_begin_in_the_dashes_that_end_another() -> None:
    begin, end = ("-----" + edge + " PRIVATE " + "KEY-----" for edge in ("BEGIN", "END"))
    text = f"a {begin}\nMII\n{end}{begin.lstrip('-')}\nMII never ended"
    assert redacted(text) == "a [SECRET.PRIVATE_KEY]"


def test_a_candidate_without_its_word_does_not_hide_one_that_touches_its_word() -> None:
    text = f"219099999 {'and so on ' * 40}ssn219099999{'.' * 80}"
    assert redacted(text).rstrip(".").endswith(" ssn[US_SSN]")
    assert redacted(text).startswith("219099999 ")


@pytest.mark.parametrize("apart", [0, 1, 100, 5000])
def test_gates_find_every_match_however_far_apart(apart: int) -> None:
    text = (" " * apart).join(["x@", "a@b.org,", "@", "c@d.org,", "e@f.org", " @"])
    assert redacted(text).count("[EMAIL_ADDRESS]") == 3


def test_a_refused_match_is_tried_shorter_a_few_times_only() -> None:
    asked = []
    pattern = compile_pattern("[0-9]{5,400}", right="x")
    rule = PatternRecognizer(
        "r", EntityType("CUSTOM.R"), 1, pattern, 0.9, validator=lambda text: bool(asked.append(text))
    )
    assert rule.cursor().advance(Window("1" * 500, final=True)) == []
    assert len(asked) < 500 * 25


def test_what_runs_on_is_open_until_its_end_arrives_and_costs_no_more() -> None:
    stream = engine().stream(Direction.STORAGE)
    released = stream.feed("token gh" + "p_" + "aB3" * 12)
    for _ in range(3000):
        released += stream.feed("cD4")
    assert released == "token "
    assert len(stream._window.text) < 2000
    assert stream.feed(" next") + stream.flush() == "[SECRET.TOKEN] next"
