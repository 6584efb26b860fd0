"""Passphrases that everybody tries first are refused, with the reason; others are not."""

import pytest

from govdesk.errors import UsageError
from govdesk.session.passphrase import normalised, objections, require_good


@pytest.mark.parametrize(
    "passphrase",
    [
        "seven quiet herons wade",
        "8402 9571 0836 2749",
        "the summer horse eats green apples",
        "mein Großvater fährt Rad",
        "月光 下的 竹林 很安静 今晚 我们 散步",
        "🙂🚲🌧🏔🎻🐝🧭🥁🍋🪁🦔🧵🪴🐚🕰",
        "kT9#vLq2$xWm7@Zp",
        "abcdefg is how my song begins",
        "admiral tortoise likes govdesk a lot",
    ],
)
def test_good(passphrase):
    assert objections(passphrase, 15) == ()
    require_good(passphrase, 15)


@pytest.mark.parametrize(
    ("passphrase", "why"),
    [
        ("", "characters"),
        ("short one", "9 characters; at least 15"),
        ("aaaaaaaaaaaaaaaaaaaa", "different"),
        ("abababababababababab", "different"),
        ("correct correct correct", "repeated"),
        ("heron7heron7heron7heron", "repeated"),
        ("abcdefghijklmnopqrstuv", "follows"),
        ("qwertyuiopasdfghjkl", "follows"),
        ("98765432101234567", "follows"),
        ("zyxwvutsrqponmlkj", "follows"),
        ("passwordpassphrase2024!", "first"),
        ("P@ssw0rd P@ssw0rd 123", "first"),
        ("correct horse battery staple", "first"),
        ("GovDesk Administrator 1", "first"),
        ("summer winter autumn 2025", "first"),
        ("jdoe jdoe password 11", "first"),
        ("x" * 2000, "at most 1024"),
    ],
)
def test_bad(passphrase, why):
    found = objections(passphrase, 15, context=("jdoe",))
    assert why in " ".join(found)
    with pytest.raises(UsageError) as caught:
        require_good(passphrase, 15, context=("jdoe",))
    assert caught.value.code == "passphrase.weak"
    assert not passphrase or passphrase not in caught.value.explain()


def test_the_policy_sets_the_length():
    assert objections("seven quiet herons", 18) == ()
    assert objections("seven quiet herons", 19)


def test_composed_before_counting_and_deriving():
    assert normalised("e\u0301") == normalised("\u00e9") == b"\xc3\xa9"
    assert "14 characters" in objections("e\u0301" * 14, 15)[0]


def test_what_cannot_be_a_passphrase():
    for text, code in (("\ud800" * 20, "passphrase.not-text"), ("a" * 1025, "passphrase.too-long")):
        with pytest.raises(UsageError) as caught:
            normalised(text)
        assert caught.value.code == code
