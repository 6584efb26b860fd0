"""The shipped rules on what people write, and on what only looks like it. Assembled: nothing here is a live value."""

import base64
import json
import random

import pytest

from govdesk.config import RESOURCES
from govdesk.domain.policy import ConsentText, Policy
from govdesk.domain.redaction import Direction
from govdesk.marking.spillage import exceeds
from govdesk.redaction.engine import Engine
from govdesk.redaction.packs import load_packs


def engine(system_high: str) -> Engine:
    recognizers = load_packs(RESOURCES / "recognizers", lambda text: exceeds(text, system_high))
    return Engine(recognizers, Policy(1, "t", 1, system_high, ConsentText(title="", text=""), {}))


ENGINE = engine("UNCLASSIFIED")
PW = "pass" + "word"
KEY = "PRIVATE " + "KEY"


def noise(length: int) -> str:
    return "".join(
        random.Random(length).choices("abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789", k=length)
    )


def encoded(header: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(header).encode()).decode().rstrip("=")


def found(text: str, direction: Direction = Direction.STORAGE) -> list[tuple[str, str]]:
    return [(text[f.start : f.end], f.type) for f in ENGINE.redact(text, direction).findings]


@pytest.mark.parametrize(
    ("before", "value", "behind"),
    [
        (f"{PW} = ", "$ecret123!", ""), (f'{PW}="', "$ecret123!", '"'), (f"{PW}: ", "%Abc123", " x"), (f"{PW}=", "[Xy7!q9z]", " x"),
        (f"{PW}=", "{Xy7!q9z", ""), (f"{PW}=", "(Xy7!q9z", ""), (f"{PW}=", "<Xy7!q9z", " x"), (f"{PW}='", "<Xy7!q9z", "' x"),
        ("postgres://app:", "$ecret9", "@db/x"), (f"{PW}: ", "Summer(2024)!", " x"), (f"{PW}: ", "correct.horse.battery", "\n"),
        (f'{PW}="', "correct.horse.battery", '"'), (f"{PW}=", "ab,cd1234xyz", ", x"), (f"{PW}: ", "Pa;ss,w0rd99", "; x"),
        (f'{PW}="', "abc'def1234", '" x'), (f'"{PW}": "', 'a\\"bc1234', '", "x": 1'), ("DB_PASSWORD_PROD=", "hunter2x", "\n"),
        (f"{PW}2=", "hunter2x", ""), ("DB_PASS=", "swordfish", "\n"), (f"{PW}_1: ", "hunter2x", ""), ("pw=", "hunter2x", ""), ("pswd: ", "hunter2x", ""),
        (f"<{PW}>", "hunter2x", f"</{PW}>"), (f"--{PW} ", "hunter2x", " --force"), ("Password:\n", "hunter2x", "\nnext"),
        (f"{PW}       =        ", "hunterxx", ""), ("IDENTIFIED BY '", "hunter2x", "';"), ("passphrase: ", "correct horse battery staple", "\nnext"),
        (f"{PW} is '", "three words 9", "'"), (f"{PW}: ", noise(200), " x"), (f'{PW}: "', noise(200), '" x'),
    ],
)  # fmt: skip
def test_passwords_are_found_whole(before: str, value: str, behind: str) -> None:
    assert found(before + value + behind) == [(value, "SECRET.PASSWORD")]


LONG_JWT = encoded({"alg": "HS256", "x5c": [noise(2000)]}) + ".eyJhIjoxMjM0NTY3OH0." + noise(43)


@pytest.mark.parametrize(
    ("before", "value", "behind"),
    [
        ("x_", encoded({"alg": "HS256"}) + "." + noise(9000) + "." + noise(43), ". Next"), ("token ", LONG_JWT, ""),
        ("", encoded({"alg": "dir", "enc": "A128GCM"}) + ".." + noise(16) + "." + noise(40) + "." + noise(22), "."),
        ("", base64.urlsafe_b64encode(b'{\n  "alg": "HS256"\n}').decode().rstrip("=") + ".eyJhIjoxMjM0NTY3OH0." + noise(43), " x"),
        ("aws_session_token = ", noise(800), "\n"), ("Authorization: Bearer ", noise(5000), " x"), ("", "gh" + "p_" + noise(300), " x"),
        ("", "gl" + "pat-" + noise(300), ","), ("", "ya" + "29." + noise(3000), " x"), ("", "AI" + "za" + noise(60), " x"),
        ("AZURE_STORAGE_KEY=", noise(86) + "==", "\n"), ("secret key is ", noise(40), " x"), ("", "LT" + "AI5t" + noise(18), " x"),
    ],
)  # fmt: skip
def test_secrets_have_no_tail(before: str, value: str, behind: str) -> None:
    ((text, entity_type),) = found(before + value + behind)
    assert text == value
    assert entity_type.startswith("SECRET.")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("pay DE89 3704 0044\r\n   0532 0130 00 now", "IBAN_CODE"), ("DE89  3704  0044  0532  0130  00", "IBAN_CODE"),
        ("DE89.3704.0044.0532.0130.00", "IBAN_CODE"), ("IBANDE89370400440532013000", "IBAN_CODE"),
        ("202-555-\n0143", "PHONE_NUMBER"), ("(202)\n555-0143", "PHONE_NUMBER"), ("202/555-0143", "PHONE_NUMBER"),
        ("(202)5550143", "PHONE_NUMBER"), ("202-5550143", "PHONE_NUMBER"), ("(+44) 20 7946 0018", "PHONE_NUMBER"),
        ("Tel.2025550143", "PHONE_NUMBER"), ("Tel.030/901820", "PHONE_NUMBER"), ("fax#2025550143", "PHONE_NUMBER"),
        ("Ph: 2025550143", "PHONE_NUMBER"), ("0044 20 7946 0018", "PHONE_NUMBER"), ("011 44 20 7946 0018", "PHONE_NUMBER"),
        ("in case of emergency dial 020 7946 0018", "PHONE_NUMBER"), ("my part of the call: 020 7946 0018", "PHONE_NUMBER"),
        ("new version at 10.20.30.40", "IP_ADDRESS"), ("release to 10.20.30.40", "IP_ADDRESS"), ("host 010.020.030.040", "IP_ADDRESS"),
        ("192[.]168[.]1[.]1", "IP_ADDRESS"), ("fdab::cafe", "IP_ADDRESS"), ("Addr:fe80::1", "IP_ADDRESS"),
        ("a" * 70 + "@example.gov", "EMAIL_ADDRESS"), ('"jane doe"@example.gov', "EMAIL_ADDRESS"), ("jane@[192.0.2.1]", "EMAIL_ADDRESS"),
        ("андрей@пример.рф", "EMAIL_ADDRESS"), ("用户@例え.jp", "EMAIL_ADDRESS"), ("jane@my_host.gov", "EMAIL_ADDRESS"),
        ("jane.doe@\n  example.gov", "EMAIL_ADDRESS"), ("jane.doe@example.\n gov", "EMAIL_ADDRESS"),
        ("Smith,219 09 9999,M", "US_SSN"), ("No.219 09 9999", "US_SSN"), ("SSN 219-099999", "US_SSN"), ("SSN 219/09/9999", "US_SSN"),
        ("SSN\t219\t09\t9999", "US_SSN"), ("219-09-\n    9999", "US_SSN"), ("SS No 219099999", "US_SSN"), ("S.S.N. 219099999", "US_SSN"),
        ("soc. sec. no. 219099999", "US_SSN"), ("Social-Security: 219099999", "US_SSN"),
        ("4111/1111/1111/1111", "CREDIT_CARD"), ("4111_1111_1111_1111", "CREDIT_CARD"), ("41111111 11111111", "CREDIT_CARD"),
        ("4111 1111 1111\n     1111", "CREDIT_CARD"), ("file.4111111111111111", "CREDIT_CARD"),
        (f"-----BEGIN RSA  {KEY}-----\nMIIE", "SECRET.PRIVATE_KEY"), (f"-----begin {KEY.lower()}-----\nMIIE", "SECRET.PRIVATE_KEY"),
        (f"—–BEGIN RSA {KEY}—–\nMIIE", "SECRET.PRIVATE_KEY"), (f"-----BEGIN\nRSA {KEY}-----\nMIIE", "SECRET.PRIVATE_KEY"),
        *((text, "MARKING") for text in (
            "secret//noforn", "Secret//Noforn", "TOP SECRET//\nSI//NOFORN", "TOPSECRET//SI", "TOP SECRET.", "[TOP SECRET]",
            "== TOP SECRET ==", "<b>SECRET</b>", "TOP SECRET - do not copy", "Classification: Secret", "Classification: TS",
            "(//NS) The plan", "(CTS) The plan", "SECRET: the plan", "(SECRET) The plan",
        )),
    ],
)  # fmt: skip
def test_the_forms_people_write(text: str, kind: str) -> None:
    for around in (text, f"x {text} y" if kind != "MARKING" else f"before\n{text}\nafter"):
        ((value, entity_type),) = found(around)
        assert entity_type == kind
        assert sum(map(str.isdigit, around)) == sum(map(str.isdigit, value))  # no digit is left


@pytest.mark.parametrize(
    "text",
    [
        "a secret ballot", "the Secret Service said", "secret: classified", "it was top secret.", "Top secret plans", "A SECRET plan",
        "keep it confidential", "https://example.com/S//NF", "C:\\S//T", "a = S//T", "int x = 5; // SECRET comment", "SECRETARY OF DEFENSE",
        "call on 2024-01-15 10:30", "call me 20240115", "x = y +12345678", "Part 345-678-9012", "kernel 5.15.0.91", "§ 3.2.1.4",
        "versions 10.1.1.1", "Tests pass: 1234", "token=next_token_id_42", "api_key = config.get_key1", "token = next_token_id",
        f"{PW} = get_{PW}()", f"{PW}: str", f"{PW} = request.form['{PW}']", f"{PW}=os.environ['PW']", f"self.{PW} = {PW}",
        f"{PW} = $DB_PASSWORD", f'{PW}="${{DB}}"', f"{PW}: {{{{ db }}}}", f"{PW}: <your-{PW}>", f"if {PW} is None:",
        "MD5:16:27:ac:a5:76:28:2d:36:63:1b:56:4d:eb:df:a6:48", "ether 00:1a:2b:3c:4d:5e brd ff:ff:ff:ff:ff:ff", "12 219 09 9999 44",
        "commit 0123456789abcdef0123456789abcdef01234567", "std::vector", "x[::1]", "face::feed",
    ],
)  # fmt: skip
def test_what_only_looks_like_it(text: str) -> None:
    assert found(text) == []


def test_an_iban_is_not_named_a_card() -> None:
    assert found("IBAN card GB33BUKB20201555555555 and DE75 5121 0800 1245 1261 99") == [
        ("GB33BUKB20201555555555", "IBAN_CODE"),
        ("DE75 5121 0800 1245 1261 99", "IBAN_CODE"),
    ]
    ibans = [rule for rule in ENGINE._recognizers if rule.type == "IBAN_CODE"]
    cards = [rule for rule in ENGINE._recognizers if rule.type == "CREDIT_CARD"]
    assert min(rule.priority for rule in ibans) > max(rule.priority for rule in cards)


def test_a_permitted_marking_is_not_cut_into_one_that_is_not() -> None:
    permitted = "SECRET//REL TO USA, AUS, GBR"
    releasable = engine("SECRET//REL TO USA, GBR")
    assert exceeds("SECRET//REL TO USA, AUS", "SECRET//REL TO USA, GBR")
    assert releasable.redact(f"{permitted}\nThe plan.", Direction.STORAGE).findings == ()
    assert releasable.redact("SECRET//REL TO USA, AUS\nThe plan.", Direction.STORAGE).findings
    assert engine("SECRET").redact("NATO SECRET\n", Direction.STORAGE).findings


@pytest.mark.parametrize("place", range(65_520, 65_550, 3))
def test_nothing_is_lost_between_the_pieces_of_a_long_search(place: int) -> None:
    text = "x" * place + " 219-09-9999 " + "y" * 70_000 + " 4111 1111 1111 1111"
    assert [kind for _, kind in found(text)] == ["US_SSN", "CREDIT_CARD"]


def test_an_address_that_touches_its_word_from_the_greatest_distance_is_found() -> None:
    """The longest candidate, and its word as far behind it as context reaches."""
    candidate = "   \r\n        ".join("219099999")
    text = f"219099998 {'and so on ' * 60}{candidate}{' ' * 12}(SSN)"
    assert found(text) == [(candidate, "US_SSN")]
