"""About how many tokens a text will take, before it may be counted: on the high side for every script.

Nothing goes to the model before policy has seen it, so the meter counts bytes by script. The weights are
those of the embedded model's tokenizer, measured on a text of each script and rounded up: it knows English
words and cuts everything else small, digits and signs one by one, most other scripts nearly byte by byte.
"""

from __future__ import annotations

_SMALL = bytes(range(0x61, 0x7B)) + b" \t"
_CAPITALS = bytes(range(0x41, 0x5B))
_OTHER_ASCII = bytes(code for code in range(0x80) if code not in _SMALL + _CAPITALS)
_WEIGHTS = (
    (_SMALL, 36),  # English prose has 4.7 letters and blanks a token, German 2.6
    (_CAPITALS, 55),
    (_OTHER_ASCII, 105),
    (bytes(range(0xC2, 0xCA)), 210),  # Latin letters with accents also break the word around them
    (bytes(range(0xCA, 0xE0)), 110),  # Greek, Cyrillic, Hebrew, Arabic
    (bytes(range(0xE0, 0xE2)), 150),  # scripts of South and South-East Asia
    (bytes(range(0xE2, 0xEA)) + b"\xee\xef", 210),  # Chinese, Japanese, signs
    (bytes(range(0xEA, 0xEE)), 300),  # Korean
    (bytes(range(0xF0, 0xF5)), 400),  # emoji and rare scripts
)
"""First bytes of UTF-8 sequences, and hundredths of a token for each sequence."""


def estimated_tokens(text: str) -> int:
    """About how many tokens this text has; 0 for no text.

    Args:
        text: any string, lone surrogates included. Two megabytes take a few milliseconds.
    """
    encoded = text.encode("utf-8", "replace")
    length = len(encoded)
    hundredths = sum(
        weight * (length - len(encoded.translate(None, delete=first_bytes)))
        for first_bytes, weight in _WEIGHTS
    )
    return -(-hundredths // 100)
