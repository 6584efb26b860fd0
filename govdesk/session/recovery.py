"""The recovery code: 160 random bits that a person can write down and type, with slips told apart.

Seven groups of five characters of Crockford's base 32: 32 carry the secret, the last three a
checksum, so that a slip is called a slip (1 in 32,768 passes) and only a whole code is tried.
"""

from __future__ import annotations

import unicodedata

from govdesk.crypto import random_bytes, sha384
from govdesk.errors import WrongPassphraseError

SECRET_BYTES = 20
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_READ_AS = {"O": "0", "I": "1", "L": "1"}
_CHECK_CHARACTERS = 3
_CHARACTERS = SECRET_BYTES * 8 // 5 + _CHECK_CHARACTERS
_GROUP = 5
_MAX_TYPED_CHARACTERS = 200
_DOMAIN = b"govdesk/recovery-code/1"


class RecoveryCode:
    """A recovery code. Shown once by `text`; `repr` shows nothing of it."""

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) != SECRET_BYTES:
            raise ValueError(f"a recovery code has {SECRET_BYTES} bytes")
        self._secret = secret

    @classmethod
    def new(cls) -> RecoveryCode:
        """A fresh one, from the kernel's generator."""
        return cls(random_bytes(SECRET_BYTES))

    @classmethod
    def parse(cls, untrusted_text: str) -> RecoveryCode:
        """Read what a person typed: case, spaces and dashes do not matter; O is 0, I and L are 1.

        Raises:
            WrongPassphraseError: it is not a code (`unlock.recovery-typo`).
        """
        folded = unicodedata.normalize("NFKC", untrusted_text[:_MAX_TYPED_CHARACTERS]).upper()
        kept = [
            c
            for c in folded
            if not (c.isspace() or unicodedata.category(c) in {"Pd", "Cf"} or c in "\u2212_.")
        ]
        characters = "".join(_READ_AS.get(c, c) for c in kept)
        if len(characters) != _CHARACTERS or any(c not in _ALPHABET for c in characters):
            raise _typo(
                f"A recovery code has {_CHARACTERS} letters and digits; this one is not of that form."
            )
        secret = _decode(characters[:-_CHECK_CHARACTERS])
        if _checksum(secret) != characters[-_CHECK_CHARACTERS:]:
            raise _typo("One of the characters of the recovery code is not right.")
        return cls(secret)

    @property
    def secret(self) -> bytes:
        """The 160 bits."""
        return self._secret

    @property
    def text(self) -> str:
        """As it is shown: seven groups of five."""
        characters = _encode(self._secret) + _checksum(self._secret)
        return "-".join(characters[at : at + _GROUP] for at in range(0, len(characters), _GROUP))

    def __repr__(self) -> str:
        return "<RecoveryCode>"


def _encode(secret: bytes) -> str:
    number = int.from_bytes(secret, "big")
    count = len(secret) * 8 // 5
    return "".join(_ALPHABET[number >> (5 * (count - 1 - index)) & 31] for index in range(count))


def _decode(characters: str) -> bytes:
    number = 0
    for character in characters:
        number = number << 5 | _ALPHABET.index(character)
    return number.to_bytes(SECRET_BYTES, "big")


def _checksum(secret: bytes) -> str:
    return _encode(sha384(_DOMAIN, secret)[:5])[:_CHECK_CHARACTERS]


def _typo(what: str) -> WrongPassphraseError:
    return WrongPassphraseError(
        what,
        code="unlock.recovery-typo",
        kept="Nothing was changed, and it does not count as an attempt.",
        todo="Compare it with what was written down, group by group.",
    )
