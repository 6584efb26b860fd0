"""A passphrase is judged by length and by what everybody tries first, and the person is told why.

After SP 800-63B-4, 3.1.1.2: a minimum length, a blocklist of common, repeated, sequential and context
words, no composition rules, every character allowed. Nothing here stores or logs a passphrase.
"""

from __future__ import annotations

import unicodedata

from govdesk.errors import UsageError

MAX_PASSPHRASE_CHARACTERS = 1_024
MIN_DISTINCT_CHARACTERS = 5
MIN_REST_CHARACTERS = 6
"""Characters that must be left after common words are taken out."""

_COMMON = """
    password passphrase passwort passw0rd p@ssword p@ssw0rd letmein welcome iloveyou monkey dragon football
    baseball superman batman trustno1 sunshine princess shadow master michael jennifer whatever starwars
    computer internet changeme default secret topsecret classified administrator admin root user guest login
    qwertyuiop qwerty qwertz azerty asdfghjkl asdfgh zxcvbnm 1q2w3e4r5t 1q2w3e4r 1qaz2wsx qazwsx zaq12wsx
    abc123 123123 111111 000000 654321 correcthorsebatterystaple correct horse battery staple
    spring summer autumn winter january february march april june july august september october november
    december monday friday america freedom pentagon
    """
COMMON_WORDS = frozenset(_COMMON.split())
CONTEXT_WORDS = frozenset({"govdesk", "unclassified", "confidential", "analyst", "officer", "workstation"})
_SEQUENCES = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890123456789",
    "qwertyuiopasdfghjklzxcvbnm",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
)
_LEET = str.maketrans("013457@$!", "oieastasi")
_RUN = 4


def normalised(passphrase: str) -> bytes:
    """The bytes that a key is derived from: NFC, then UTF-8, so that every keyboard gives the same ones.

    Raises:
        UsageError: it holds half a character, or is longer than `MAX_PASSPHRASE_CHARACTERS`.
    """
    if len(passphrase) > MAX_PASSPHRASE_CHARACTERS:
        raise UsageError(
            f"A passphrase has at most {MAX_PASSPHRASE_CHARACTERS} characters.", code="passphrase.too-long"
        )
    try:
        return unicodedata.normalize("NFC", passphrase).encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError(
            "The passphrase holds a character that is not whole.", code="passphrase.not-text"
        ) from None


def objections(passphrase: str, minimum_characters: int, context: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Why a new passphrase is refused, in sentences for the person; empty when it is good.

    Args:
        passphrase: what the person chose.
        minimum_characters: from the policy.
        context: more words that count for nothing, such as the account's name.
    """
    found: list[str] = []
    text = unicodedata.normalize("NFC", passphrase)
    if len(text) < minimum_characters:
        found.append(f"It has {len(text)} characters; at least {minimum_characters} are needed.")
    if len(text) > MAX_PASSPHRASE_CHARACTERS:
        return (f"It has {len(text)} characters; at most {MAX_PASSPHRASE_CHARACTERS} are possible.",)
    folded = "".join(text.casefold().split())
    if len(set(folded)) < MIN_DISTINCT_CHARACTERS:
        found.append(f"It uses fewer than {MIN_DISTINCT_CHARACTERS} different characters.")
    elif _repeats(folded):
        found.append("It is a short piece, repeated.")
    elif _sequential(folded):
        found.append("It follows the alphabet, the digits or the keyboard.")
    elif text and _without_common(folded, context) < MIN_REST_CHARACTERS:
        found.append("It is made of words that everybody tries first.")
    return tuple(found)


def require_good(passphrase: str, minimum_characters: int, context: tuple[str, ...] = ()) -> None:
    """Refuse a new passphrase that `objections` finds fault with.

    Raises:
        UsageError: with all the reasons.
    """
    found = objections(passphrase, minimum_characters, context)
    if found:
        raise UsageError(
            "This passphrase cannot be used. " + " ".join(found),
            code="passphrase.weak",
            kept="Nothing was changed.",
            todo="Take a few unrelated words, or any longer sentence of your own.",
        )
    normalised(passphrase)


def _repeats(text: str) -> bool:
    return any(text[period:] == text[:-period] for period in range(1, len(text) // 2 + 1))


def _sequential(text: str) -> bool:
    """True when at most a third of the text is left once runs along a sequence are taken out."""
    rest = len(text)
    position = 0
    while position < len(text):
        length = _run(text, position)
        if length >= _RUN:
            rest -= length
            position += length
        else:
            position += 1
    return rest * 3 <= len(text)


def _run(text: str, start: int) -> int:
    best = 1
    for sequence in _SEQUENCES:
        for line in (sequence, sequence[::-1]):
            length = 1
            while start + length < len(text) and text[start : start + length + 1] in line:
                length += 1
            best = max(best, length)
    return best


def _without_common(folded: str, context: tuple[str, ...]) -> int:
    words = COMMON_WORDS | CONTEXT_WORDS | {word.casefold() for word in context if len(word) >= 3}
    by_length = sorted(words, key=len, reverse=True)
    rests = [len(folded)]
    for text in (folded, folded.translate(_LEET)):
        rest = text
        for word in by_length:
            rest = rest.replace(word, "")
        if rest != text:
            # Digits and signs stuck to common words (a year, an exclamation mark) are what everybody adds.
            rests.append(sum(1 for character in rest if character.isalpha()))
    return min(rests)
