import base64

import pytest

from govdesk.redaction import validators as v


@pytest.mark.parametrize(
    ("number", "right"),
    [("4111111111111111", True), ("4111 1111-1111 1111", True), ("4111111111111112", False), ("378282246310005", True),
     ("5555555555554444", True), ("2223003122003222", True), ("5019717010103742", True), ("41111111111", False),
     ("0000000000000000", False), ("30569309025904", True), ("6011111111111117", True), ("9111111111111110", False)],
)  # fmt: skip
def test_cards(number: str, right: bool) -> None:
    assert v.card(number) is right


def test_every_single_wrong_digit_of_a_card_and_an_iban_is_seen() -> None:
    for right, check in (("4111111111111111", v.card_any), ("DE89370400440532013000", v.iban)):
        assert check(right)
        for place in range(4, len(right)):
            for digit in set("0123456789") - {right[place]}:
                assert not check(right[:place] + digit + right[place + 1 :])


@pytest.mark.parametrize(
    ("text", "right"),
    [("219-09-9999", True), ("000-09-9999", False), ("666-09-9999", False), ("900-09-9999", False),
     ("899-09-9999", True), ("219-00-9999", False), ("219-09-0000", False), ("111-11-1111", False)],
)  # fmt: skip
def test_ssn_ranges(text: str, right: bool) -> None:
    assert v.ssn(text) is right


def test_iban_needs_its_countrys_length() -> None:
    assert v.iban("GB82 WEST 1234 5698 7654 32")
    assert not v.iban("GB82WEST1234569876543")
    assert not v.iban("ZZ82WEST12345698765432")
    for bban in ("370400440532013000" + "0", "3704004405320130"):  # right check digits, wrong length
        check_digits = 98 - int("".join(str(int(c, 36)) for c in f"{bban}DE00")) % 97
        assert int("".join(str(int(c, 36)) for c in f"{bban}DE{check_digits:02}")) % 97 == 1
        assert not v.iban(f"DE{check_digits:02}{bban}")


@pytest.mark.parametrize(
    ("text", "right"),
    [("192.0.2.1", True), ("256.0.2.1", False), ("01.2.3.4", False), ("010.020.030.040", True), ("000.000.000.000", False), ("1.2.3", False), ("0.0.0.0", False), ("255.255.255.0", False)],
)  # fmt: skip
def test_ipv4(text: str, right: bool) -> None:
    assert v.ipv4(text) is right


@pytest.mark.parametrize(
    ("text", "right"),
    [("fe80::1", True), ("::ffff:192.0.2.1", True), ("a::b", False), ("::1", False), ("12:30:45", False), ("1::2::3", False),
     ("fdab::cafe", True), ("face::feed", False)],
)  # fmt: skip
def test_ipv6(text: str, right: bool) -> None:
    assert v.ipv6(text) is right


def test_phone_refuses_dates_and_half_a_bracket() -> None:
    assert v.phone("(202) 555-0143")
    assert not v.phone("2024-01-15")
    assert not v.phone("15/01/2024")
    assert not v.phone("202) 555-0143")
    assert not v.phone("0000000")


def test_jwt_looks_into_the_header() -> None:
    def token(header: bytes) -> str:
        return base64.urlsafe_b64encode(header).decode().rstrip("=") + ".e30.x"

    assert v.jwt(token(b'{"alg":"HS256"}'))
    assert not v.jwt(token(b'{"name":"x"}'))
    assert not v.jwt(token(b"[1]"))
    assert not v.jwt("eyJ!!!.x.y")


def test_passwords_are_written_out_values() -> None:
    assert v.password("hunter2")
    assert all(not v.password(text) for text in ("****", "${DB}", "os.environ", "get()", "None)", "<value>"))
    assert v.password_said("hunter2.")
    assert not v.password_said("required.")


def test_a_reference_is_one_as_a_whole() -> None:
    for reference in (
        "${DB}",
        "$(pass db)",
        "$DB_PASSWORD",
        "%DB%",
        "{{ db }}",
        "<your password>",
        "get(x)",
        "a.password",
    ):
        assert not v.password(reference)
    for value in (
        "$ecret123!",
        "%Abc123",
        "{Xy7!q9z",
        "[Xy7!q9z]",
        "(Xy7!",
        "Summer(2024)!",
        "correct.horse.battery",
    ):
        assert v.password(value)
    assert v.password_quoted("get(x)")
    assert not v.password_quoted("${DB}")
    assert v.password_mixed("hunter2")
    assert not any(map(v.password_mixed, ("1234", "strict", "below.")))
    assert v.passphrase("correct horse battery")
    assert not any(map(v.passphrase, ("see the notes below", "correct horse", "must be long enough")))


def test_names_of_source_code_are_no_random_values() -> None:
    assert v.random_value("a8f5f167f44f4964e6c998de")
    assert not any(map(v.random_value, ("next_token_id_42", "config.get_key1", "NEXT_TOKEN_ID_42")))


def test_earlier_ends_are_few() -> None:
    assert list(v.iban_ends("DE89 3704 0044 0532 0130 00 AND MORE")) == [27]
    assert list(v.card_ends("4111 1111 1111 1111 2027")) == [23, 19, 16]
    assert list(v.ipv6_ends("2001:db8::1::2")) == [11]
    assert list(v.ipv6_ends("fe80::1:")) == [7]


def test_entropy_in_bits() -> None:
    assert v.entropy("") == 0
    assert v.entropy("aaaa") == 0
    assert v.entropy("abcdefgh") == pytest.approx(3)
    assert v.random_looking("0a1b2c3d4e5f6a7b")
    assert not v.random_looking("a1a1a1a1a1a1a1")
