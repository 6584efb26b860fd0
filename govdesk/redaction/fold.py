"""What looks like an identifier is matched like one: characters are folded alone, offsets lead back.

Defends against evasion by full-width and mathematical characters, Cyrillic, Greek and other look-alikes,
exotic dashes and spaces, and characters that do not show (zero-width, soft hyphen, tags, combining
marks, controls). A character's fold never depends on its neighbours, so that a text folds to the same
whatever the parts it arrives in; a whole string is never normalised (Unicode TR 15: NFKC composes
across characters). ASCII without controls stands for itself and skips the fold.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable

_MAX_CACHED = 20_000
"""Characters whose fold is remembered; a text with more kinds than this is folded more slowly."""
_DASHES = frozenset("\u2043\u2212\u02d7\u30fc\ufe63\uff0d\u2500\u2501")
_NEWLINES = frozenset("\u0085\u2028\u2029")
_BLANKS = frozenset("\u2800\u3164\uffa0\u115f\u1160\u180e")
_SLASHES = frozenset("\u2044\u2215\u29f8\u2571")
_CYRILLIC = dict(
    zip("АВЕЅЗІЈКМНОРСТУХԌԛԝаеѕіјорсухһԁԍӏЬԜԚ", "ABESZIJKMHOPCTYXGqwaesijopcyxhdglbWQ", strict=True)
)
_GREEK = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧαικνορυχϲϳϹͿΣ", "ABEZHIKMNOPTYXaikvopuxcjCJσ", strict=True))
_OTHER = dict(
    zip("ıȷɡɑɩʀɢʜɪʟɴʏᴀᴄᴅᴇᴊᴋᴍᴏᴘᴛᴜᴠᴡᴢꓐꓑꓓꓔꓖꓗꓜꓝ∶ː։꞉․", "ijgaiRGHILNYACDEJKMOPTUVWZBPDTGKZF::::.", strict=True)
)
_ARMENIAN = dict(zip("ՍՏԼՕՈօոսհյցզ", "USLOnonuhjgq", strict=True))
_CHEROKEE = dict(zip("ᎪᏴᏟᎠᎬᏀᎻᎥᎫᏦᏞᎷᏢᎡᏚᎢᏙᎳᏃᎩᏎ", "ABCDEGHiJKLMPRSTVWZY4", strict=True))
_POINTS = dict(zip("。｡·•‧∙⋅・･", "..-------", strict=True))
_PAGE_ENDS = frozenset("\x0b\x0c")
_FOLDED = re.compile(r"[^\t\n\r -~]+")
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_LOOK_ALIKES = _CYRILLIC | _GREEK | _OTHER | _ARMENIAN | _CHEROKEE | _POINTS


def fold_character(character: str) -> str | None:
    """ASCII for what looks like ASCII, None for what does not show, else the character itself."""
    if character < "\x80":
        if character in _PAGE_ENDS:
            return "\n"
        return None if _CONTROLS.match(character) else character
    alike = _LOOK_ALIKES.get(character)
    if alike is not None:
        return alike
    category = unicodedata.category(character)
    if character in _NEWLINES:
        return "\n"
    if category == "Zs" or character in _BLANKS:
        return " "
    if category in {"Cf", "Mn", "Me"}:
        return None
    if category == "Pd" or character in _DASHES:
        return "-"
    if character in _SLASHES:
        return "/"
    digit = unicodedata.digit(character, None)
    if digit is not None:
        return str(digit)
    bare = "".join(c for c in unicodedata.normalize("NFKD", character) if not unicodedata.combining(c))
    if len(bare) == 1 and bare != character:
        return _LOOK_ALIKES.get(bare, bare)
    return character


class _Table(dict[int, int | None]):
    """`str.translate`'s table, filled as characters are met."""

    def __missing__(self, code: int) -> int | None:
        folded = fold_character(chr(code))
        value = None if folded is None else ord(folded)
        if len(self) < _MAX_CACHED:
            self[code] = value
        return value


_TABLE = _Table()


def fold(text: str) -> tuple[str, list[int]]:
    """Fold a text or a part of one.

    Returns:
        The folded text, and for each dropped character, in order, how many characters were kept
        before it in this part.
    """
    if text.isascii() and _CONTROLS.search(text) is None:
        return text, []
    folded = _FOLDED.sub(_fold_run, text)
    if len(folded) == len(text):
        return folded, []
    drops = []
    dropped = 0
    for run in _FOLDED.finditer(text):
        for at, character in enumerate(run.group(), run.start()):
            if _TABLE[ord(character)] is None:
                drops.append(at - dropped)
                dropped += 1
    return folded, drops


def _fold_run(run: re.Match[str]) -> str:
    return run.group().translate(_TABLE)


class OffsetMap:
    """Leads offsets in the folded text back to the text as given; forgets what is behind."""

    __slots__ = ("_drops", "_forgotten")

    def __init__(self, drops: Iterable[int] = ()) -> None:
        self._drops = list(drops)
        self._forgotten = 0

    def extend(self, kept_before: int, drops: list[int]) -> None:
        """Add the drops of a part that begins after `kept_before` kept characters."""
        if drops:
            self._drops.extend([kept_before + drop for drop in drops])

    def given(self, folded: int) -> int:
        """Where the kept character number `folded` stands in the text as given."""
        if not self._drops:
            return folded + self._forgotten
        return folded + self._forgotten + bisect_right(self._drops, folded)

    def span_start(self, folded: int) -> int:
        """Start of a span in the text as given, grown to the left over dropped characters."""
        return self.given(folded - 1) + 1 if folded else 0

    def forget(self, folded: int) -> None:
        """Offsets before this one will not be asked for again."""
        if self._drops:
            behind = bisect_right(self._drops, folded)
            self._forgotten += behind
            del self._drops[:behind]
