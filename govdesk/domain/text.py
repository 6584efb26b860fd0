"""No character of a shown text is hidden, reorders its neighbours or steers a terminal.

Text from people, documents and the model may hold control characters, bidirectional controls
(CVE-2021-42574, "Trojan Source"), zero-width and tag characters that carry unseen words, terminal
escapes (ECMA-48) and the non-characters that Qt uses for its own structure. `visible` and
`terminal_safe` write each of them out by number. What people do write stays as it is: line feeds,
tabs, accents, scripts of every direction, emoji with their joiners.
"""

from __future__ import annotations

import re
import unicodedata

_ALWAYS = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 and C1 controls but tab and line feed
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b"  # soft hyphen, joiners, fillers
    "\u200e\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ufeff\uffa0"  # marks, separators, bidi, fillers
    "\ufff0-\ufffc\ufffe\uffff\ufdd0-\ufdef"  # specials and non-characters (Qt marks frames with U+FDD0)
    "\ud800-\udfff\ue000-\uf8ff"  # surrogates alone, private use
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"  # format controls of shorthand and music
    "\U000e0000-\U000e00ff\U000e01f0-\U000e0fff\U000f0000-\U0010ffff"  # tags, private use
    + "".join(f"{chr(plane << 16 | 0xFFFE)}{chr(plane << 16 | 0xFFFF)}" for plane in range(1, 15))
)
_BY_PLACE = "\u200c\u200d\ufe00-\ufe0f\U000e0100-\U000e01ef"  # joiners and variation selectors
_SUSPECT = re.compile(f"[{_ALWAYS}{_BY_PLACE}]")
_EMOJI_BASES = frozenset("#*0123456789")
_TEXT_AND_EMOJI_STYLE = ("\ufe0e", "\ufe0f")


def visible(text: str) -> str:
    """The text as a window may show it: hidden characters become `⟨U+202E⟩`.

    Args:
        text: any string, lone surrogates included.

    Returns:
        A text in which line feed and tab are the only control characters; CR LF became LF.
    """
    return _written_out(text, "⟨U+", "⟩")


def terminal_safe(text: str) -> str:
    """The text as a terminal may print it: hidden characters and escapes become `<U+001B>`.

    An escape sequence needs ESC or a C1 control to start; both are written out, so that the rest
    of the sequence prints as the plain characters it is made of. ASCII only is added.
    """
    return _written_out(text, "<U+", ">")


def _written_out(text: str, before: str, after: str) -> str:
    text = text.replace("\r\n", "\n")

    def written(match: re.Match[str]) -> str:
        if _stays(text, match.start()):
            return match.group()
        return f"{before}{ord(match.group()):04X}{after}"

    return _SUSPECT.sub(written, text)


def _stays(text: str, at: int) -> bool:
    """Whether the joiner or selector at this place does what it is there for."""
    character = text[at]
    last = text[at - 1] if at else ""
    following = text[at + 1] if at + 1 < len(text) else ""
    if character in _TEXT_AND_EMOJI_STYLE:
        return _is_symbol(last) or last in _EMOJI_BASES
    if "\U000e0100" <= character <= "\U000e01ef" or "\ufe00" <= character <= "\ufe0d":
        return _is_ideograph(last)
    if character == "\u200d" and _is_symbol(following):
        return _is_symbol(last) or last == "\ufe0f"
    if character in "\u200c\u200d":
        return _is_joining_letter(last) and (_is_joining_letter(following) or not following.isalnum())
    return False


def _is_symbol(character: str) -> bool:
    """Pictographs, arrows and skin tones; not the fillers, which are no symbols either."""
    return bool(character) and character > "\x7f" and unicodedata.category(character) in {"So", "Sk", "Sm"}


def _is_ideograph(character: str) -> bool:
    return "\u3400" <= character <= "\u9fff" or "\U00020000" <= character <= "\U0003ffff"


def _is_joining_letter(character: str) -> bool:
    """Arabic, Syriac, Indic and south-east Asian letters and marks, whose shapes joiners choose."""
    return (
        "\u0600" <= character <= "\u109f"
        or "\u1780" <= character <= "\u18af"
        or "\ufb50" <= character <= "\ufefc"
    ) and unicodedata.category(character)[0] in "LM"
