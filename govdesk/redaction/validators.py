"""What a shape cannot tell: check digits, ranges, structure. Each says yes or no to a folded candidate."""

from __future__ import annotations

import base64
import binascii
import functools
import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

Validator = Callable[[str], bool]

_IBAN_LENGTHS = {
    code: int(length)
    for code, length in (
        entry.split(":")
        for entry in (
            "AD:24 AE:23 AL:28 AT:20 AZ:28 BA:20 BE:16 BG:22 BH:22 BI:27 BR:29 BY:28 CH:21 CR:22 CY:28 CZ:24 "
            "DE:22 DJ:27 DK:18 DO:28 EE:20 EG:29 ES:24 FI:18 FK:18 FO:18 FR:27 GB:22 GE:22 GI:23 GL:18 GR:27 "
            "GT:28 HN:28 HR:21 HU:28 IE:22 IL:23 IQ:23 IS:26 IT:27 JO:30 KW:30 KZ:20 LB:28 LC:32 LI:21 LT:20 "
            "LU:20 LV:21 LY:25 MC:27 MD:24 ME:22 MK:19 MN:20 MR:27 MT:31 MU:30 NI:28 NL:18 NO:15 OM:23 PK:24 "
            "PL:28 PS:29 PT:25 QA:29 RO:24 RS:22 RU:33 SA:24 SC:31 SD:18 SE:24 SI:19 SK:24 SM:27 SO:23 ST:25 "
            "SV:28 TL:23 TN:24 TR:26 UA:29 VA:22 VG:24 XK:20 YE:30"
        ).split()
    )
}
"""SWIFT IBAN Registry: country and total length."""
_DIGIT = re.compile(r"[0-9]")
_NOT_DIGITS = re.compile(r"[^0-9]")
_NOT_DIGITS_RUN = re.compile(r"[^0-9]+")
_LOCAL_IPV6 = re.compile(r"f[cdef][0-9a-f]{2}:", re.IGNORECASE)
_BETWEEN = frozenset(" \t\r\n.->")
_NOT_ALNUM = re.compile(r"[^0-9A-Z]")
_CARD_NETWORKS = (
    (re.compile(r"4"), (13, 16, 19)),  # Visa
    (re.compile(r"5[1-5]|2(?:22[1-9]|2[3-9]|[3-6]|7[01]|720)"), (16,)),  # Mastercard
    (re.compile(r"3[47]"), (15,)),  # American Express
    (re.compile(r"30[0-5]|3[689]"), (14, 15, 16, 17, 18, 19)),  # Diners
    (re.compile(r"35|62|60|64|65"), (16, 17, 18, 19)),  # JCB, UnionPay, Discover, RuPay
    (re.compile(r"2131|1800"), (15,)),  # JCB
    (re.compile(r"220[0-4]|8[12]|9792"), (16, 17, 18, 19)),  # Mir, RuPay, Troy
    (re.compile(r"0604|5[0678]|6"), (12, 13, 14, 15, 16, 17, 18, 19)),  # Maestro
)
"""Issuer prefixes in use and how long their numbers are (ISO/IEC 7812-1)."""
_VALUES = bytes.maketrans(b"0123456789", bytes(range(10)))
_DOUBLED = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))
_DATE = re.compile(
    r"(?:(?:19|20)\d\d[-./ ]\d{1,2}[-./ ]\d{1,2}|\d{1,2}[-./ ]\d{1,2}[-./ ](?:19|20)\d\d)(?![0-9])"
    r"|(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])$"
)
_ABROAD = re.compile(
    r"\D*(?:00|011\D?)(?:1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]|[235689]\d\d)\D"
)
"""What is dialled to leave a country, and another country's code (ITU-T E.164 list of 2016)."""
_PLACEHOLDER = re.compile(
    r"\$\{[^{}]*\}?|\$\([^()]*\)?|\$[A-Za-z_]+(?:->?[A-Za-z_]*)*|\$[A-Z][A-Z0-9_]*|%[A-Za-z_]+%|%\([a-z_]+\)s"
    r"|\{\{.*|\{[A-Za-z_.]*\}|<[^<>]*>|\[[A-Z_.]+\]"
)
"""What stands for a value elsewhere: `${DB}`, `$(pass db)`, `$DB`, `%DB%`, `{{ db }}`, `<db>`, `[SECRET]`."""
_CALL = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*(?:\([^()]*\)?|\[['\"]?\w*['\"]?\]?)[\])};:,]*")
_WORD_OF_SOURCE = re.compile(
    r"pass|pwd|secret|key|token|cred|env|config|conf|settings?|self|this|args|opts|options|params|request|form|props"
    r"|^(?:os|cls|cfg|sys|ctx|db|app|user|data|vault)$"
)
_NAME = re.compile(r"[A-Za-z_]\w*(?:(?:\.|->|::)[A-Za-z_]\w*)*")
_IDENTIFIER = re.compile(
    r"[a-z]{2,}\d{0,3}(?:[._-](?:[a-z]+\d{0,2}|\d{1,3}))+|[A-Z]{2,}(?:_(?:[A-Z]+|\d{1,3}))+"
)
_PROSE = frozenset(
    "see the your my our a an this that use must is are was will should enter type choose not never".split()
)

_JWT_KEY = re.compile(rb'"(?:alg|enc|typ|kid|jku|x5[cut])"')
_NO_PASSWORDS = frozenset(
    "none null true false str string text bytes int bool object optional required undefined nil empty "
    "must enter your password passwd pwd changed reset will should cannot".split()
)
"""What stands behind `password:` in source code and manuals."""


def digits(text: str) -> str:
    """The ASCII digits of a folded text."""
    return _NOT_DIGITS.sub("", text)


def luhn(text: str) -> bool:
    """ISO/IEC 7812-1 annex B: the doubled-digit sum is a multiple of ten."""
    number = digits(text).encode()
    return (sum(number[-1::-2].translate(_VALUES)) + sum(number[-2::-2].translate(_DOUBLED))) % 10 == 0


@functools.lru_cache(maxsize=4096)
def _card_lengths(begins: str) -> frozenset[int]:
    """Lengths of the card numbers that begin so."""
    return frozenset(
        length for prefix, lengths in _CARD_NETWORKS if prefix.match(begins) for length in lengths
    )


def card(text: str) -> bool:
    """A payment card's number: a network's prefix and length, and the check digit."""
    number = digits(text)
    return len(number) in _card_lengths(number[:4]) and number != number[0] * len(number) and luhn(number)


def card_any(text: str) -> bool:
    """12 to 19 digits with a right check digit, whatever the prefix: for where the words around say card."""
    number = digits(text)
    return 12 <= len(number) <= 19 and len(set(number)) > 1 and luhn(number)


def ssn(text: str) -> bool:
    """Area not 000, 666 or 900-999, group not 00, serial not 0000 (SSA POMS RM 10201.035)."""
    number = digits(text)
    area, group, serial = number[:3], number[3:5], number[5:]
    return (
        len(number) == 9
        and area not in {"000", "666"}
        and area < "900"
        and group != "00"
        and serial != "0000"
        and len(set(number)) > 1
    )


def iban(text: str) -> bool:
    """ISO 13616: the country's length, and ISO 7064 mod 97-10 gives 1."""
    compact = _NOT_ALNUM.sub("", text.upper())
    if _IBAN_LENGTHS.get(compact[:2]) != len(compact) or not compact[2:4].isdigit():
        return False
    return int("".join(str(int(c, 36)) for c in compact[4:] + compact[:4])) % 97 == 1


def iban_ends(text: str) -> Iterator[int]:
    """The one end that the country allows."""
    left = _IBAN_LENGTHS.get(text[:2].upper(), 0)
    for place, character in enumerate(text, 1):
        if character not in _BETWEEN:
            left -= 1
            if left == 0:
                yield place
                return


def card_ends(text: str) -> Iterator[int]:
    """Behind as many digits as the network's cards have."""
    lengths = _card_lengths(digits(text[:12])[:4])
    if lengths:
        places = [place.end() for place in _DIGIT.finditer(text)]
        yield from (places[length - 1] for length in sorted(lengths, reverse=True) if length <= len(places))


def ipv4(text: str) -> bool:
    """Four octets; leading zeros only where all have three digits.

    Neither 0.0.0.0 nor a netmask, which name no machine.
    """
    parts = text.split(".")
    if len(parts) != 4 or any(len(part) > 3 or int(part) > 255 for part in parts):
        return False
    if any(len(part) > 1 and part[0] == "0" for part in parts) and {len(part) for part in parts} != {3}:
        return False
    return any(int(part) for part in parts) and int(parts[0]) != 255


def ipv4_defanged(text: str) -> bool:
    """The same, written so that nothing makes a link of it: `192[.]0[.]2[.]7`."""
    return any(bracket in text for bracket in "[({") and ipv4(".".join(_NOT_DIGITS_RUN.split(text)))


def ipv6(text: str) -> bool:
    """An IPv6 address that source code does not write by chance (`a::b`, `[::1]`); `::1` names no machine."""
    if text.count("::") > 1 or len(text) < 5:
        return False
    groups = [group for group in text.split(":") if group]
    if len(groups) < 2 or not (any(c.isdigit() for c in text) or _LOCAL_IPV6.match(text)):
        return False
    if "::" not in text and text.count(":") < 6:
        return False
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def ipv6_short(text: str) -> bool:
    """One that is written with `::`."""
    return "::" in text and ipv6(text)


def ipv6_ends(text: str) -> Iterator[int]:
    """In front of a second `::`, of a colon at the end, of the last group."""
    first = text.find("::")
    second = text.find("::", first + 2) if first >= 0 else -1
    if second > 0:
        yield second
    elif text.endswith(":"):
        yield len(text) - 1
    else:
        yield text.rfind(":")


def phone(text: str) -> bool:
    """7 to 15 digits (ITU-T E.164) that begin no date, not all alike, with balanced brackets."""
    number = digits(text)
    return (
        7 <= len(number) <= 15
        and len(set(number)) > 1
        and _DATE.match(text) is None
        and text.count("(") == text.count(")")
    )


def phone_plus(text: str) -> bool:
    """The same behind a plus sign, where a bare number of a few digits may be a sum."""
    return phone(text) and (len(digits(text)) >= 10 or not text.lstrip("(+").isdigit())


def phone_abroad(text: str) -> bool:
    """The same behind 00 or 011 and the code of a country."""
    return _ABROAD.match(text) is not None and 9 <= len(digits(text)) <= 18 and len(set(digits(text))) > 2


def jwt(text: str) -> bool:
    """A JSON web token: its first part is, or begins, a JSON object with `alg`, `enc` or `typ`."""
    head, dot, _ = text.partition(".")
    try:
        raw = base64.urlsafe_b64decode(
            head[: len(head) // 4 * 4] if not dot else head + "=" * (-len(head) % 4)
        )
        if not dot:  # longer than a match may be: its beginning has to do
            return _JWT_KEY.search(raw) is not None
        decoded = msgspec.json.decode(raw)
    except (binascii.Error, ValueError):
        return False
    return isinstance(decoded, dict) and not decoded.keys().isdisjoint({"alg", "enc", "typ"})


def entropy(text: str) -> float:
    """Shannon entropy in bits per character."""
    total = len(text)
    return -sum(n / total * math.log2(n / total) for n in Counter(text).values()) if total else 0.0


def random_looking(text: str) -> bool:
    """Letters and digits mixed as chance mixes them (3 bits per character and up)."""
    return entropy(text) >= 3.0 and any(c.isdigit() for c in text) and any(c.isalpha() for c in text)


def random_value(text: str) -> bool:
    """The same, and no name of source code such as `next_token_id_42` or `config.get_key1`."""
    return random_looking(text) and _IDENTIFIER.fullmatch(text.rstrip(".")) is None


def password_quoted(text: str) -> bool:
    """A value in quotes: written out, not a reference as a whole, not a mask, not a word of manuals."""
    return (
        len(set(text)) > 2
        and _PLACEHOLDER.fullmatch(text) is None
        and text.rstrip(")],;:.").casefold() not in _NO_PASSWORDS
    )


def password(text: str) -> bool:
    """A value without quotes: the same, and neither a call nor a name of source code."""
    if not password_quoted(text) or _PLACEHOLDER.fullmatch(text.rstrip(");,.]}")):
        return False
    if _CALL.fullmatch(text):
        return False
    name = _NAME.fullmatch(text.rstrip(")];,.}:"))
    if name is None:
        return True
    words = re.split(r"\.|->|::|_", name.group().casefold())
    return len(words) == 1 or not any(_WORD_OF_SOURCE.search(word) for word in words)


def password_said(text: str) -> bool:
    """The same where a plain word is no password, as in a sentence: a digit or a sign is in it."""
    return password(text) and not text.rstrip(".!?),;:").isalpha()


def password_mixed(text: str) -> bool:
    """The same where a number is none either: letters, and a digit or a sign between or behind them."""
    return (
        password(text)
        and any(c.isalpha() for c in text)
        and re.search(r"[^A-Za-z.,;:!?'()-]", text.rstrip()) is not None
    )


def passphrase(text: str) -> bool:
    """Three words or more that are no sentence about passphrases."""
    words = text.split()
    return len(words) >= 3 and words[0].casefold().strip(",.:") not in _PROSE | _NO_PASSWORDS


VALIDATORS: dict[str, Validator] = {
    "luhn": luhn,
    "card": card,
    "card-any": card_any,
    "ssn": ssn,
    "iban": iban,
    "ipv4": ipv4,
    "ipv6": ipv6,
    "ipv6-short": ipv6_short,
    "ipv4-defanged": ipv4_defanged,
    "phone": phone,
    "phone-plus": phone_plus,
    "phone-abroad": phone_abroad,
    "jwt": jwt,
    "random-looking": random_looking,
    "random-value": random_value,
    "password": password,
    "password-quoted": password_quoted,
    "password-mixed": password_mixed,
    "passphrase": passphrase,
    "password-said": password_said,
}
"""By the name that packs use. `exceeds-system` is added when packs are loaded."""

ENDS: dict[str, Callable[[str], Iterator[int]]] = {
    "card": card_ends,
    "iban": iban_ends,
    "ipv6-short": ipv6_ends,
}
"""Where a match that such a validator refused may still end, the longest first."""
