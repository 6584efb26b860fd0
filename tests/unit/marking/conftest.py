"""Valid portion markings of every kind, made by chance from a fixed seed: the ground for property tests."""

import random

import pytest

from govdesk.errors import MarkingError
from govdesk.marking import vocabulary
from govdesk.marking.validity import validate
from govdesk.marking.value import Compartment, Form, Level, Marking, Ownership, Program

_SCI = (
    Program("HCS", (Compartment("O"),)),
    Program("HCS", (Compartment("P"),)),
    Program("HCS", (Compartment("P", ("ABC", "XYZ")),)),
    Program("RSV", (Compartment("ABC"),)),
    Program("SI"),
    Program("SI", (Compartment("G"),)),
    Program("SI", (Compartment("G", ("ABCD",)), Compartment("XYZ"))),
    Program("SI", (Compartment("NK"),)),
    Program("TK"),
    Program("TK", (Compartment("IDIT", ("Q1",)), Compartment("KAND"))),
    Program("XNB"),
)
_SAP = (Program("BP"), Program("BP", (Compartment("12", ("A", "B")),)), Program("CA"))
_CODES = ("AUS", "CAN", "DEU", "GBR", "JPN", "NZL", "ACGU", "FVEY", "NATO", "TEYE")


def _some(rng, values, most, chance):
    if rng.random() > chance:
        return ()
    return tuple(rng.sample(values, rng.randint(1, most)))


def _codes(rng, least=1):
    found = rng.sample(_CODES, rng.randint(least, 4))
    return tuple(sorted(found, key=lambda code: (len(code) > 3, code)))


def _programs(rng, values, chance):
    return tuple(sorted({p.name: p for p in _some(rng, values, 2, chance)}.values()))


def _candidate(rng):
    own = rng.choices(list(Ownership), weights=(8, 2, 1, 2))[0]
    level = rng.choice(list(Level))
    owners = ()
    if own is Ownership.FOREIGN:
        owners = _codes(rng, 0)
    elif own is Ownership.JOINT:
        owners = rng.choice((("GBR", "USA"), ("CAN", "GBR", "USA"), ()))
    disclosure = rng.choice(("", "", "NOFORN", "RELIDO", "REL", "REL", "REL/RELIDO", "SHOW", "REL/SHOW"))
    rel_to = _codes(rng) if "REL" in disclosure.split("/") else None
    if rel_to and rng.random() < 0.1:
        rel_to = ()
    plain = set(
        _some(rng, ("RSEN", "FOUO", "ORCON", "ORCON-USGOV", "IMCON", "PROPIN", "DSEN", "FISA"), 2, 0.4)
    )
    plain |= {"NOFORN", "RELIDO"}.intersection(disclosure.split("/"))
    non_ic = ("LIMDIS", "EXDIS", "NODIS", "SBU", "SBU NOFORN", "LES", "LES NOFORN", "SSI")
    return Marking(
        level=level,
        ownership=own,
        owners=owners,
        sci=_programs(rng, _SCI, 0.3),
        sap=_programs(rng, _SAP, 0.15),
        aea=frozenset(_some(rng, ("RD", "FRD", "DCNI", "UCNI", "TFNI", "ATOMAL", "BOHEMIA"), 2, 0.25)),
        cnwdi=rng.random() < 0.1,
        sigmas=tuple(sorted(_some(rng, (14, 15, 18, 20), 3, 0.15))),
        fgi=rng.choice((None, None, None, None, (), ("DEU",), ("GBR", "NATO"))),
        cui=rng.choice((None,) * 7 + (frozenset(), frozenset({"PRVCY", "SP-CTI"}))),
        dissemination=frozenset(plain),
        rel_to=rel_to,
        display_only=_codes(rng) if "SHOW" in disclosure else (),
        non_ic=frozenset(_some(rng, non_ic, 2, 0.25)),
    )


class Portions(tuple):
    """Shown short when a property fails."""

    def __repr__(self):
        return f"<{len(self)} portions>"


@pytest.fixture(scope="session")
def portions():
    """2,000 different valid portion markings; a classified one names no CUI categories."""
    return Portions(valid_portions(2_000))


def valid_portions(count, seed=7):
    rng = random.Random(seed)
    words = vocabulary.default()
    found = {}
    while len(found) < count:
        marking = _candidate(rng)
        if marking.cui and marking.level > Level.UNCLASSIFIED:
            continue
        try:
            validate(marking, Form.PORTION, words)
        except MarkingError:
            continue
        found[marking] = None
    return tuple(found)
