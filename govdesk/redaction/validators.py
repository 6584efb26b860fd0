"""What a shape cannot tell: check digits, ranges, structure. Each says yes or no to a folded candidate."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable

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
_NOT_DIGITS = re.compile(r"[^0-9]")
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
_DATE = re.compile(r"(?:(?:19|20)\d\d[-./ ]\d{1,2}[-./ ]\d{1,2}|\d{1,2}[-./ ]\d{1,2}[-./ ](?:19|20)\d\d)")
_REFERENCE = re.compile(r"[$<%{(\[]|[A-Za-z_]+(?:\.[A-Za-z_]+)*[(\[]|[A-Za-z_]+(?:\.[A-Za-z_]+)+[);]*$")

_NO_PASSWORDS = frozenset(
    "none null true false str string text bytes int bool object optional required".split()
)
"""What stands behind `password:` in source code and manuals."""


def digits(text: str) -> str:
    """The ASCII digits of a folded text."""
    return _NOT_DIGITS.sub("", text)


def luhn(text: str) -> bool:
    """ISO/IEC 7812-1 annex B: the doubled-digit sum is a multiple of ten."""
    total = 0
    for place, digit in enumerate(reversed(digits(text))):
        value = int(digit)
        if place % 2:
            value = value * 2 - 9 if value > 4 else value * 2
        total += value
    return total % 10 == 0


def card(text: str) -> bool:
    """A payment card's number: a network's prefix and length, and the check digit."""
    number = digits(text)
    return (
        any(len(number) in lengths and begins.match(number) for begins, lengths in _CARD_NETWORKS)
        and len(set(number)) > 1
        and luhn(number)
    )


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


def ipv4(text: str) -> bool:
    """Four octets without leading zeros; neither 0.0.0.0 nor a netmask, which name no machine."""
    parts = text.split(".")
    if len(parts) != 4 or any((len(p) > 1 and p[0] == "0") or int(p) > 255 for p in parts):
        return False
    return text != "0.0.0.0" and not text.startswith("255.")  # noqa: S104 (not bound, refused)


def ipv6(text: str) -> bool:
    """An IPv6 address that source code does not write by chance (`a::b`, `[::1]`); `::1` names no machine."""
    groups = [group for group in text.split(":") if group]
    if len(groups) < 2 or not any(c.isdigit() for c in text):
        return False
    if "::" not in text and text.count(":") < 6:
        return False
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def phone(text: str) -> bool:
    """7 to 15 digits (ITU-T E.164) that are no date, not all alike, with balanced brackets."""
    number = digits(text)
    return (
        7 <= len(number) <= 15
        and len(set(number)) > 1
        and _DATE.fullmatch(text) is None
        and text.count("(") == text.count(")")
    )


def jwt(text: str) -> bool:
    """A JSON web token: its first part decodes to a JSON object with `alg` or `enc` or `typ` (RFC 7515)."""
    head = text.partition(".")[0]
    try:
        decoded = msgspec.json.decode(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
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


def password(text: str) -> bool:
    """A value that is written out: not a reference to one, not a mask, not a call."""
    return (
        len(set(text)) > 2
        and _REFERENCE.match(text) is None
        and text.rstrip(")],;:.").casefold() not in _NO_PASSWORDS
    )


def password_said(text: str) -> bool:
    """The same in a sentence, where a plain word is no password: a digit or a sign is in it."""
    return password(text) and not text.rstrip(".!?)").isalpha()


VALIDATORS: dict[str, Validator] = {
    "luhn": luhn,
    "card": card,
    "card-any": card_any,
    "ssn": ssn,
    "iban": iban,
    "ipv4": ipv4,
    "ipv6": ipv6,
    "phone": phone,
    "jwt": jwt,
    "random-looking": random_looking,
    "password": password,
    "password-said": password_said,
}
"""By the name that packs use. `exceeds-system` is added when packs are loaded."""
