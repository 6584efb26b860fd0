"""A recovery code survives being written down, read out and typed; a slip is told from a wrong code."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govdesk.errors import WrongPassphraseError
from govdesk.session.recovery import RecoveryCode

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def test_form():
    code = RecoveryCode.new()
    assert re.fullmatch(f"([{ALPHABET}]{{5}}-){{6}}[{ALPHABET}]{{5}}", code.text)
    assert len(code.secret) * 8 == 160
    assert code.secret != RecoveryCode.new().secret
    assert code.text not in repr(code)


def test_known_answer():
    import hashlib

    assert RecoveryCode(bytes(20)).text.startswith("00000-00000-00000-00000-00000-00000-00")
    assert RecoveryCode(b"\xff" * 20).text.startswith("ZZZZZ-ZZZZZ-ZZZZZ-ZZZZZ-ZZZZZ-ZZZZZ-ZZ")
    digest = int.from_bytes(hashlib.sha384(b"govdesk/recovery-code/1" + bytes(20)).digest()[:2], "big") >> 1
    check = "".join(ALPHABET[digest >> shift & 31] for shift in (10, 5, 0))
    assert RecoveryCode(bytes(20)).text.endswith(check)


@given(secret=st.binary(min_size=20, max_size=20))
def test_round_trip(secret):
    assert RecoveryCode.parse(RecoveryCode(secret).text).secret == secret


@given(
    secret=st.binary(min_size=20, max_size=20),
    choices=st.lists(st.integers(0, 5), min_size=41, max_size=41),
)
def test_typing_is_forgiven(secret, choices):
    typed = ""
    for character, choice in zip(RecoveryCode(secret).text, choices, strict=True):
        if character == "-":
            typed += ["", "-", " ", "–", " - ", "\n"][choice]
        elif character == "0":
            typed += "0Oo00O"[choice]
        elif character == "1":
            typed += "1IilL1"[choice]
        else:
            typed += character.lower() if choice % 2 else character
    assert RecoveryCode.parse(f"  {typed}\n").secret == secret


def test_every_single_slip_is_seen():
    text = RecoveryCode(bytes(range(20))).text
    missed = tried = 0
    for at, right in enumerate(text):
        if right == "-":
            continue
        for other in ALPHABET:
            if other != right:
                tried += 1
                try:
                    RecoveryCode.parse(text[:at] + other + text[at + 1 :])
                except WrongPassphraseError:
                    continue
                missed += 1
    assert tried == 35 * 31
    assert missed <= 1  # 1 in 32,768 by chance


@pytest.mark.parametrize(
    "typed", ["", "-", "hello", "0" * 34, "0" * 36, "U" * 35, "🙂" * 35, "0" * 10_000, "\0" * 35]
)
def test_what_is_not_a_code(typed):
    with pytest.raises(WrongPassphraseError) as caught:
        RecoveryCode.parse(typed)
    assert caught.value.code == "unlock.recovery-typo"


def test_full_width_characters_are_read():
    code = RecoveryCode(bytes(range(20)))
    wide = "".join(chr(ord(c) + 0xFEE0) for c in code.text)
    assert RecoveryCode.parse(wide).secret == code.secret


def test_length_is_fixed():
    with pytest.raises(ValueError, match="20 bytes"):
        RecoveryCode(b"short")
