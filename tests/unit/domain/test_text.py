"""Nothing in a shown text is hidden; what people write stays."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govdesk.domain.text import terminal_safe, visible

# Format characters with a glyph of their own: number signs of Arabic, Syriac, Kaithi; hieroglyph joiners.
SHOWN_FORMATS = {
    *range(0x600, 0x606), 0x6DD, 0x70F, 0x890, 0x891, 0x8E2, 0x110BD, 0x110CD, *range(0x13430, 0x13440),
}  # fmt: skip


def test_every_control_format_private_and_surrogate_character_is_written_out():
    for number in range(sys.maxunicode + 1):
        character = chr(number)
        if unicodedata.category(character) in {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}:
            kept = character in "\n\t" or number in SHOWN_FORMATS
            assert (visible(character) == character) == kept, hex(number)


@pytest.mark.parametrize(
    "number", [0x34F, 0x115F, 0x3164, 0x2800, 0xFDD0, 0xFFFC, 0xFFFE, 0x1FFFF, 0xE0041, 0xFE01]
)
def test_invisible_characters_of_other_categories_are_written_out(number):
    assert visible(f"a{chr(number)}b") == f"a⟨U+{number:04X}⟩b"


@pytest.mark.parametrize(
    "text",
    [
        "plain\tand\nlines",
        "naïve Übergrößen Ελλάδα Россия 日本語",
        "مرحبا بالعالم",
        "می‌خواهم",  # Persian with the zero-width non-joiner
        "क्‍ष",  # Devanagari with the joiner
        "👩‍👩‍👧‍👦 👍🏽 ❤️ 1️⃣ 🏳️‍🌈 🤷🏽‍♀️",
        "葛\U000e0100",
    ],
)
def test_what_people_write_stays(text):
    assert visible(text) == text
    assert terminal_safe(text) == text


def test_trojan_source_is_seen():
    assert visible("if admin\u202e\u2066 // check\u2069") == "if admin⟨U+202E⟩⟨U+2066⟩ // check⟨U+2069⟩"


def test_words_hidden_between_letters_are_seen():
    assert visible("pass\u200bword") == "pass⟨U+200B⟩word"
    assert visible("a\u200db") == "a⟨U+200D⟩b"
    smuggled = "".join(chr(0xE0000 + ord(c)) for c in "rm")
    assert visible("ok" + smuggled) == "ok⟨U+E0072⟩⟨U+E006D⟩"
    assert visible("❤\ufe0f\ufe0f") == "❤\ufe0f⟨U+FE0F⟩"


def test_line_ends_become_line_feeds_and_a_lone_return_is_seen():
    assert visible("a\r\nb\rc") == "a\nb⟨U+000D⟩c"


@pytest.mark.parametrize(
    "sequence",
    [
        "\x1b[31mred\x1b[0m",
        "\x1b]0;title\x07",
        "\x1b]8;;http://x\x1b\\y\x1b]8;;\x1b\\",
        "\x9b2J",
        "\x1bPq\x1b\\",
        "a\x08b",
    ],
)
def test_terminal_escapes_lose_their_start(sequence):
    safe = terminal_safe(sequence)
    assert "\x1b" not in safe
    assert all(c >= " " and not "\x7f" <= c <= "\x9f" for c in safe)
    assert "<U+" in safe


@given(st.text(st.characters(), max_size=60))
def test_any_text_ends_without_controls_and_twice_is_once(text):
    for make in (visible, terminal_safe):
        once = make(text)
        assert not [c for c in once if unicodedata.category(c) in {"Cc", "Cs", "Co"} and c not in "\n\t"]
        assert make(once) == once
        once.encode()


def test_visible_text_has_the_same_letters():
    assert visible("") == ""
    assert terminal_safe("\ud800") == "<U+D800>"
