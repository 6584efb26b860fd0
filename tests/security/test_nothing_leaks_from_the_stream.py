"""Promise: whatever the parts a text arrives in, the stream releases what redacting the whole gives, and never more.

GOVDESK_FUZZ_EXAMPLES sets how many texts are tried (each in several ways of cutting it).
"""

import os
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govdesk.config import RESOURCES
from govdesk.domain.policy import ConsentText, Policy, RedactionRules
from govdesk.domain.redaction import Direction, Finding, Operator
from govdesk.redaction.engine import Engine
from govdesk.redaction.packs import load_packs

EXAMPLES = int(os.environ.get("GOVDESK_FUZZ_EXAMPLES", "100"))
RECOGNIZERS = load_packs(RESOURCES / "recognizers", lambda text: "U" not in text[:2])

# Assembled here, so that nothing in this file looks like a live credential.
PEM = "-----{} RSA PRIVATE " + "KEY-----"
AWS = "AK" + "IA" + "IOSFODNN7EXAMPLE"
GITHUB = "gh" + "p_" + "0123456789abcdefghijABCDEFGHIJ012345"
JWT = "ey" + "JhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9." + "eyJzdWIiOiIxMjM0In0" + ".SflKxwRJSMeKKF2QT4fw"
SECRETS = [
    "219-09-9999", "219099999", "219 09 9999", "２１９-０９-９９９９", "219\u200b-09-\u00ad9999", "2 1 9 - 0 9 - 9 9 9 9",
    "4111 1111 1111 1111", "4111111111111111", "41\u200d11-1111-1111-1111", "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
    "jane.doe@example.gov", "jane＠example.gov", "jаne@exаmple.com", "jane [at] example [dot] gov",
    "(202) 555-0143", "+44 20 7946 0018", "555-0143", "202\u2013555\u20130143", "10.20.30.40", "2001:db8::8a2e:370:7334",
    "fe80::1", "DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", PEM.format("BEGIN"), PEM.format("END"),
    PEM.format("BEGIN") + "\nMIIEow\nAAAA\n" + PEM.format("END"), AWS, GITHUB, JWT, "pass" + "word = hunter2!x",
    "passphrase: 'two words 99'", "postgres://app:s3" + "cret9@db.example/x", "api_key=0a1b2c3d4e5f6a7b8c9d",
    "Bearer 0a1b2c3d4e5f6a7b8c9d", "SECRET//NOFORN", "TOP SECRET//SI//REL TO USA, GBR", "(S//NF)", "(TS)", "\nSECRET\n",
    "SECRET", "(C) The", "Classification: SECRET", "ЅЕСRЕТ//ΝOFΟRN", "//NATO SECRET", "PuTTY-User-Key-File-3:", "Private-MAC: 00112233445566778899",
    "ghp_" + "aB3dE" * 60, JWT + "-_" + "x9" * 300, "Bearer " + "q9Zx7Lm2Vt4K" * 60, "pass" + "word: " + "Xy7!q9z" * 30, "pass" + "word=ab,cd1234xyz",
    "pass" + 'word="abc\'def1234" then', "pass" + 'word": "a\\"bc1234"', "pass" + "word='two words", "pass" + "phrase: correct horse battery staple",
    "<pass" + "word>hunter2x</x>", "--pass" + "word hunter2x", "Pass" + "word:\r\n  hunter2x", "ya29." + "aB3dE" * 30, "x_" + JWT, "ssn 219-09\r\n    9999",
    "DE89 3704 0044\r\n    0532 0130 00", "IBANDE89370400440532013000", "4111/1111/1111\n   1111", "(+44) 20 7946 0018", "0044 20 7946 0018",
    "192[.]168[.]1[.]1", "Addr:fe80::1", "2001:db8:0:0:1:0:0:1:", "андрей@пример.рф", "jane@[192.0.2.1]", '"jane doe"@example.gov', "jane@example.\n gov",
    "secret//noforn", "TOP SECRET//\nSI//NOFORN", "[TOP SECRET]", "(//NS)", "\n== TOP SECRET ==", "token=" + "q9Zx7Lm2Vt4K" * 20, "Smith,219 09 9999,M",
    PEM.format("begin").lower(), "—–BEGIN RSA PRIVATE " + "KEY—–", "MY_KEY=" + "q9Zx7Lm2Vt4K" * 12,
]  # fmt: skip
FILLERS = [
    " ", "  ", "\n", "\r\n", "\n\n", "\t", ".", ",", "-", "--", "@", "//", "(", ")", ":", "=", "1", "12", "x", "é", "e\u0301", "\u200b",
    "\u200b\u200b\u2060", "\ufe0f", "👩‍👩‍👧", "🇺🇸", "😀", "ssn ", "SSN: ", "call me at ", "card ", "version ", "the quick brown fox", "Report ",
    " and then ", "password", "https://", "ssn", " (SSN)", "\x00", "\x1b[31m", "\u202e", "\ud800", "漢字", "مرحبا", "A", "(b) ", "5", "0.5", "::", ",", ";", "'", '"', "\\", "`", "<", ">", "q9Zx7Lm2Vt4K" * 12,
    "_", "/", "\r", "  \r\n      ", "iban", "call ", "is ",
]  # fmt: skip

texts = st.lists(
    st.one_of(st.sampled_from(SECRETS), st.sampled_from(FILLERS), st.text(max_size=6)), max_size=12
).map("".join)


def engine(*, kind: str) -> Engine:
    rules = {
        "redact": RedactionRules(),
        "mixed": RedactionRules(
            default=Operator.MASK,
            types={
                "PHONE_NUMBER": Operator.ALLOW, "EMAIL_ADDRESS": Operator.WARN, "SECRET.*": Operator.REDACT,
                "SECRET.PRIVATE_KEY": Operator.ALLOW,
            },
        ),
        "block": RedactionRules(
            types={"US_SSN": Operator.BLOCK, "SECRET.PRIVATE_KEY": Operator.BLOCK, "SECRET.PASSWORD": Operator.BLOCK}
        ),
    }[kind]  # fmt: skip
    consent = ConsentText(title="", text="")
    policy = Policy(
        schema=1,
        id="test",
        version=1,
        system_high="UNCLASSIFIED",
        consent=consent,
        redaction={"storage": rules},
    )
    return Engine(RECOGNIZERS, policy)


ENGINES = {kind: engine(kind=kind) for kind in ("redact", "mixed", "block")}


def cuts(text: str, chance: random.Random) -> list[str]:
    """The text in parts: single characters, tokens of a few, or long ones."""
    longest = chance.choice([1, 2, 5, 12, 60, 400])
    parts = []
    at = 0
    while at < len(text):
        length = chance.randint(0 if longest > 1 else 1, longest)
        parts.append(text[at : at + length])
        at += length
    return parts


def check(text: str, chance: random.Random, kind: str) -> None:
    whole = ENGINES[kind].redact(text, Direction.STORAGE)
    expected, findings = whole.text, whole.findings
    if whole.blocked:  # the release ends in front of the first finding that blocks
        findings = findings[: findings.index(whole.blocked[0]) + 1]
        expected = in_front_of_last(text, findings)
        assert whole.text.startswith(expected)
    stream = ENGINES[kind].stream(Direction.STORAGE)
    released = ""
    taken = 0
    for part in cuts(text, chance):
        released += stream.feed(part)
        taken += len(part)
        assert 0 <= stream.held <= taken
        assert expected.startswith(released)  # P2, at every moment
    released += stream.flush()
    assert released == expected  # P1
    assert stream.findings == findings
    assert stream.blocked is bool(whole.blocked)
    assert stream.held == 0


def in_front_of_last(text: str, findings: tuple[Finding, ...]) -> str:
    """What stands for the text in front of the last finding, when all are redacted."""
    pieces, at = [], 0
    for finding in findings[:-1]:
        pieces += [text[at : finding.start], f"[{finding.type}]"]
        at = finding.end
    return "".join(pieces) + text[at : findings[-1].start]


@pytest.mark.parametrize("kind", ENGINES)
@settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True)
@given(text=texts, seed=st.integers(0, 2**32))
def test_every_chunking_gives_what_the_whole_gives(kind: str, text: str, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(3):
        check(text, chance, kind)


def test_one_long_seeded_run_of_long_texts() -> None:
    chance = random.Random(20261124)
    for _ in range(max(20, EXAMPLES // 4)):
        fragments = chance.choices(SECRETS, k=12) + chance.choices(FILLERS, k=60)
        chance.shuffle(fragments)
        check("".join(fragments) * chance.choice([1, 4]), chance, chance.choice(list(ENGINES)))


@pytest.mark.parametrize("secret", [s for s in SECRETS if not s.startswith(("555", "SECRET", "219099999", "2 1 9", "4 1", "-----END", "Private-MAC", "(C)"))] + ["SECRET//NOFORN"])  # fmt: skip
def test_no_secret_of_the_list_gets_through_character_by_character(secret: str) -> None:
    text = f"ssn card {secret}"
    stream = ENGINES["redact"].stream(Direction.STORAGE)
    released = "".join(map(stream.feed, text)) + stream.flush()
    assert stream.findings
    assert secret not in released


def test_findings_are_sorted_apart_and_over_the_text_as_given() -> None:
    chance = random.Random(7)
    for _ in range(100):
        text = "".join(chance.choices(SECRETS + FILLERS, k=20))
        result = ENGINES["redact"].redact(text, Direction.STORAGE)
        at, pieces = 0, []
        for finding in result.findings:
            assert at <= finding.start < finding.end <= len(text)
            pieces += [text[at : finding.start], f"[{finding.type}]"]
            at = finding.end
        assert "".join(pieces) + text[at:] == result.text


def test_the_packs_are_where_the_program_looks() -> None:
    assert list(Path(RESOURCES / "recognizers").glob("*.toml"))
