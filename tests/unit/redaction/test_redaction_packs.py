from pathlib import Path

import pytest

from govdesk.config import RESOURCES
from govdesk.redaction.packs import PackError, load_pack, load_packs
from govdesk.redaction.pattern import PatternError

RULE = """schema = 1
name = "test"
[[recognizer]]
id = "call-sign"
type = "CUSTOM.CALL_SIGN"
priority = 1
score = 0.9
pattern = '[A-Z]{2}-[0-9]{2}'
max_length = 5
positive = ["go «AB-12» now", ["«A", "B-12»"]]
negative = ["ab-12"]
"""


def load(text: str) -> list:
    return load_pack("test.toml", text.encode(), lambda _: True)


def test_a_pack_that_proves_itself_loads() -> None:
    assert [rule.id for rule in load(RULE)] == ["call-sign"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("score = 0.9", "score = 0.4"),  # its positive examples are not found
        ("«AB-12» now", "«AB-12 now»"),  # another span
        ('negative = ["ab-12"]', 'negative = ["AB-12"]'),
        ("score = 0.9", "score = 1.5"),
        ("score = 0.9", "score = 0.9\nscrore = 1"),
        ("max_length = 5", "max_length = 4"),
        ("CUSTOM.CALL_SIGN", "CALLSIGN"),
        ('negative = ["ab-12"]', ""),
        ("schema = 1", "schema = 2"),
        ('"call-sign"', '"Call Sign"'),
        ("score = 0.9", "score = 0.9\nvalidator = 'none-such'"),
        ("score = 0.9", "score = 0.9\nignore_case = true"),
        ("score = 0.9", "score = 0.9\nvalidator = 'phone'\ncontext_after = 3"),
        ("[[recognizer]]", "[[recognizer]"),
        ("max_length = 5", "max_length = 5\nrun_to = '[^0-9][^0-9]'"),
        ("max_length = 5", "max_length = 5\nrun_to = '[^0-9]'\ncontext_after = 3"),
        ("'[A-Z]{2}-", "'{letters}-"),
    ],
)
def test_a_pack_that_does_not_is_refused(old: str, new: str) -> None:
    assert old in RULE
    with pytest.raises(PackError):
        load(RULE.replace(old, new))


def test_a_finding_runs_on_and_a_pattern_has_named_parts() -> None:
    text = RULE.replace("[[recognizer]]", "[parts]\nletters = '[A-Z]{2}'\n[[recognizer]]", 1)
    text = text.replace("'[A-Z]{2}-", "'{letters}-").replace(
        "max_length = 5", "max_length = 5\nrun_to = '[^0-9]'"
    )
    assert load(text.replace("go «AB-12» now", "go «AB-1234567890» now"))


def test_adjacent_context_stands_right_in_front() -> None:
    rule = RULE.replace("score = 0.9", "score = 0.6").replace(
        'negative = ["ab-12"]',
        'context = [{ words = ["part"], weight = -0.5, adjacent = true }]\ncontext_before = 20\nnegative = ["part no. AB-12"]',
    )
    assert load(rule.replace("go «AB-12» now", "part of «AB-12» now"))


def test_an_unbounded_pattern_is_refused() -> None:
    with pytest.raises(PatternError):
        load(RULE.replace("[0-9]{2}", "[0-9]+"))


def test_bytes_that_are_no_text_and_too_many_are_refused() -> None:
    with pytest.raises(PackError):
        load_pack("x", b"\xff", lambda _: True)
    with pytest.raises(PackError):
        load_pack("x", b"#" * (1024 * 1024 + 1), lambda _: True)


def test_no_packs_or_the_same_rule_twice_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PackError):
        load_packs(tmp_path, lambda _: True)
    (tmp_path / "a.toml").write_text(RULE, encoding="utf-8")
    (tmp_path / "b.toml").write_text(RULE, encoding="utf-8")
    with pytest.raises(PackError):
        load_packs(tmp_path, lambda _: True)


def test_the_shipped_packs_prove_themselves_and_cover_the_first_types() -> None:
    types = {rule.type for rule in load_packs(RESOURCES / "recognizers", lambda _: True)}
    assert types >= {
        "US_SSN", "CREDIT_CARD", "EMAIL_ADDRESS", "PHONE_NUMBER", "IP_ADDRESS", "IBAN_CODE", "SECRET.PRIVATE_KEY",
        "SECRET.CLOUD_KEY", "SECRET.TOKEN", "SECRET.PASSWORD", "MARKING",
    }  # fmt: skip
