"""A marking is one frozen value: equal markings are equal values, whatever the text they came from.

The words are the Register's: level, control system, compartment, dissemination control. What the
words look like in text is vocabulary (data); what they mean together is `validity` and `lattice`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum


class Level(IntEnum):
    """Classification levels, ascending. RESTRICTED is foreign only; UNCLASSIFIED is a status."""

    UNCLASSIFIED = 1
    RESTRICTED = 2
    CONFIDENTIAL = 3
    SECRET = 4
    TOP_SECRET = 5

    @property
    def title(self) -> str:
        """As in a banner line."""
        return self.name.replace("_", " ")

    @property
    def portion(self) -> str:
        """As in a portion mark."""
        return "TS" if self is Level.TOP_SECRET else self.name[0]


class Ownership(Enum):
    """Whose classification it is; the three kinds never mix in one marking (p. 46)."""

    US = "us"
    FOREIGN = "foreign"
    NATO = "nato"
    JOINT = "joint"


class Form(Enum):
    """The two forms a marking is written in."""

    BANNER = "banner"
    PORTION = "portion"


@dataclass(frozen=True, slots=True, order=True)
class Compartment:
    """A compartment with its sub-compartments, sorted."""

    name: str
    subs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Program:
    """An SCI control system or a special access program, with its compartments, sorted."""

    name: str
    compartments: tuple[Compartment, ...] = ()


@dataclass(frozen=True, slots=True)
class Marking:
    """A classification with its controls, in canonical form.

    Attributes:
        level: the classification.
        ownership: US, foreign, NATO or JOINT.
        owners: countries of a FOREIGN marking (empty: source concealed) or of a JOINT one (with USA;
            empty: the portion's list is the banner's).
        sci: control systems, sorted by name.
        sap: special access programs, sorted by name.
        aea: keys of Atomic Energy Act and NATO controls.
        cnwdi: the subset of RD.
        sigmas: SIGMA numbers under RD or FRD, ascending.
        fgi: countries of foreign government information; empty: source concealed; None: no such information.
        cui: categories of controlled unclassified information; empty: none named; None: no such information.
        dissemination: keys of dissemination controls without a list.
        rel_to: codes without USA; empty: the portion's list is the banner's; None: not there.
        display_only: codes.
        non_ic: keys of non-IC dissemination controls.
    """

    level: Level
    ownership: Ownership = Ownership.US
    owners: tuple[str, ...] = ()
    sci: tuple[Program, ...] = ()
    sap: tuple[Program, ...] = ()
    aea: frozenset[str] = frozenset()
    cnwdi: bool = False
    sigmas: tuple[int, ...] = ()
    fgi: tuple[str, ...] | None = None
    cui: frozenset[str] | None = None
    dissemination: frozenset[str] = frozenset()
    rel_to: tuple[str, ...] | None = None
    display_only: tuple[str, ...] = ()
    non_ic: frozenset[str] = frozenset()

    @property
    def controls(self) -> frozenset[str]:
        """Keys of everything that rules of use speak of, the two lists included."""
        lists = {"REL TO"} if self.rel_to is not None else set[str]()
        if self.display_only:
            lists.add("DISPLAY ONLY")
        return self.aea | self.dissemination | self.non_ic | lists

    @property
    def concealed(self) -> bool:
        """True when the foreign source may not be named."""
        return self.fgi == () or (self.ownership is Ownership.FOREIGN and not self.owners)

    @property
    def foreign_disclosure(self) -> bool:
        """True when the marking says anything about foreign disclosure and release (p. 19)."""
        return not self.controls.isdisjoint(("NOFORN", "REL TO", "RELIDO", "DISPLAY ONLY"))


def code_order(code: str) -> tuple[int, str]:
    """Trigraphs alphabetically, then longer codes alphabetically (p. 151)."""
    return (len(code) > 3, code)


def sorted_codes(codes: frozenset[str] | set[str] | tuple[str, ...]) -> tuple[str, ...]:
    """Unique codes in the order that lists are written in."""
    return tuple(sorted(set(codes), key=code_order))
