"""Roll-up is a join: order and repetition do not matter, and nothing rolled up is ever below a portion.

The rules are those of the manual's section D.2 with Table 3 (pp. 28-30). Foreign disclosure is kept as three
sets that only shrink (released to, may be shown to, RELIDO), so that any grouping of the portions gives the
same banner; NOFORN is what is left when all three are empty.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace

from govdesk.errors import MarkingError
from govdesk.marking import vocabulary
from govdesk.marking.value import Compartment, Level, Marking, Ownership, Program, sorted_codes
from govdesk.marking.vocabulary import Words

_DISCLOSURE = {"NOFORN", "RELIDO"}
_OVER_FOUO = {
    "LIMDIS",
    "EXDIS",
    "NODIS",
    "SBU",
    "SBU NOFORN",
    "LES",
    "LES NOFORN",
    "SSI",
    "PROPIN",
    "DSEN",
    "FISA",
}


def rollup(
    markings: Iterable[Marking], *, words: Words | None = None, unmarked_is_relido: bool = False
) -> Marking:
    """The high-water mark of portions: the marking of what holds them all.

    Args:
        markings: at least one.
        words: the vocabulary; None is the shipped one.
        unmarked_is_relido: the classified portions with neither a foreign disclosure marking nor a caveat
            were made on or after 28 June 2010 and count as RELIDO (Table 2, p. 21); otherwise as NOFORN.

    Raises:
        MarkingError: there is nothing to roll up.
    """
    words = words or vocabulary.default()
    portions = list(markings)
    if not portions:
        raise MarkingError("There is no marking to roll up.", rule="rollup-empty")
    if unmarked_is_relido and any(portion.foreign_disclosure for portion in portions):
        portions = [_with_relido(portion) for portion in portions]
    return functools.reduce(lambda a, b: join(a, b, words), portions[1:], _settle(portions[0], words))


def join(a: Marking, b: Marking, words: Words | None = None) -> Marking:
    """The least marking that dominates both."""
    words = words or vocabulary.default()
    a, b = _settle(a, words), _settle(b, words)
    if (a.ownership, a.owners) != (b.ownership, b.owners):
        a, b = _as_us(a), _as_us(b)
    released = _disclosure(a, words).meet(_disclosure(b, words))
    both = replace(
        a,
        level=max(a.level, b.level),
        sci=_join_programs(a.sci, b.sci),
        sap=_join_programs(a.sap, b.sap),
        aea=a.aea | b.aea,
        cnwdi=a.cnwdi or b.cnwdi,
        sigmas=tuple(sorted({*a.sigmas, *b.sigmas})),
        fgi=_join_fgi(a.fgi, b.fgi),
        cui=None if a.cui is None and b.cui is None else (a.cui or frozenset()) | (b.cui or frozenset()),
        dissemination=a.dissemination | b.dissemination,
        non_ic=a.non_ic | b.non_ic,
    )
    return _settle(released.applied_to(both, words), words)


def dominates(a: Marking, b: Marking, words: Words | None = None) -> bool:
    """True when `a` already covers everything that `b` demands: adding `b` would not change it."""
    words = words or vocabulary.default()
    return join(a, b, words) == _settle(a, words)


# ── foreign disclosure ──────────────────────────────────────────────────────

_SILENT = 0
"""Says nothing and asks nothing: unclassified, no FISA, no foreign information (p. 51)."""
_FISA = 1
"""Says nothing; counts as RELIDO beside those who say something (p. 53)."""
_UNMARKED = 2
"""Says nothing; counts as NOFORN beside those who say something (Table 3 rows 12, 16, 19)."""


@dataclass(frozen=True, slots=True)
class _Disclosure:
    """What is left of foreign disclosure. `implied` matters only while nothing is said."""

    said: bool
    implied: int
    released: frozenset[str] = frozenset()
    shown: frozenset[str] = frozenset()
    relido: bool = False

    def meet(self, other: _Disclosure) -> _Disclosure:
        """The more restrictive of both, row by row of Table 3."""
        if not self.said and not other.said:
            return _Disclosure(False, max(self.implied, other.implied))
        if not self.said:
            return other.meet(self)
        if not other.said:
            if other.implied == _SILENT:
                return self
            other = _Disclosure(True, _SILENT, relido=other.implied == _FISA)
        return _Disclosure(
            True,
            _SILENT,
            self.released & other.released,
            self.shown & other.shown,
            self.relido and other.relido,
        )

    def applied_to(self, marking: Marking, words: Words) -> Marking:
        """The marking with these foreign disclosure markings and no others."""
        plain = marking.dissemination - _DISCLOSURE
        rel_to = sorted_codes(words.contract(self.released)) or None
        display = sorted_codes(words.contract(self.shown - self.released))
        if self.relido:
            plain |= {"RELIDO"}
        elif self.said and not rel_to and not display:
            plain |= {"NOFORN"}
        return replace(marking, dissemination=plain, rel_to=rel_to, display_only=display)


def _disclosure(marking: Marking, words: Words) -> _Disclosure:
    if marking.foreign_disclosure:
        released = words.expand(marking.rel_to or ())
        shown = released | words.expand(marking.display_only)
        return _Disclosure(True, _SILENT, released, shown, "RELIDO" in marking.dissemination)
    quiet = marking.level is Level.UNCLASSIFIED and marking.fgi is None and marking.ownership is Ownership.US
    if not quiet:
        return _Disclosure(False, _UNMARKED)
    return _Disclosure(False, _FISA if "FISA" in marking.dissemination else _SILENT)


def _with_relido(marking: Marking) -> Marking:
    """RELIDO on a classified portion without caveat; SCI alone is not a caveat (p. 20)."""
    caveats = (
        marking.controls or marking.sap or marking.fgi is not None or marking.ownership is not Ownership.US
    )
    if marking.level is Level.UNCLASSIFIED or caveats:
        return marking
    return replace(marking, dissemination=frozenset({"RELIDO"}))


# ── the other categories ────────────────────────────────────────────────────


def _as_us(marking: Marking) -> Marking:
    """A foreign, NATO or JOINT marking as part of a US document: its owners become FGI (pp. 57, 123)."""
    if marking.ownership is Ownership.US:
        return marking
    if marking.ownership is Ownership.NATO:
        owners: tuple[str, ...] = ("NATO",)
    else:
        owners = tuple(code for code in marking.owners if code != "USA")
    level = Level.CONFIDENTIAL if marking.level is Level.RESTRICTED else marking.level
    return replace(
        marking, level=level, ownership=Ownership.US, owners=(), fgi=_join_fgi(marking.fgi, owners)
    )


def _join_fgi(a: tuple[str, ...] | None, b: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """All sources, or the bare FGI when one of them is concealed (p. 28)."""
    if a is None or b is None:
        return b if a is None else a
    return sorted_codes((*a, *b)) if a and b else ()


def _join_programs(a: tuple[Program, ...], b: tuple[Program, ...]) -> tuple[Program, ...]:
    """Unique systems, compartments and sub-compartments, merged and sorted (p. 61)."""
    merged: dict[str, dict[str, set[str]]] = {}
    for program in (*a, *b):
        compartments = merged.setdefault(program.name, {})
        for compartment in program.compartments:
            compartments.setdefault(compartment.name, set()).update(compartment.subs)
    return tuple(
        Program(name, tuple(Compartment(c, tuple(sorted(subs))) for c, subs in sorted(compartments.items())))
        for name, compartments in sorted(merged.items())
    )


def _settle(marking: Marking, words: Words) -> Marking:
    """Carry out the precedences: what a stronger control replaces is dropped. Twice is as good as once."""
    if marking.concealed or (marking.ownership is Ownership.JOINT and not marking.owners):
        marking = _as_us(marking)
    if marking.rel_to == ():
        # The list is the banner's and the banner is not known: nobody can be told to be on it.
        marking = replace(marking, rel_to=None) if marking.display_only else _noforn(marking)
    classified = marking.level > Level.UNCLASSIFIED
    marking = _settle_atomic(marking, classified)
    marking = _settle_noforn_controls(marking, classified, words)
    if marking.ownership is Ownership.JOINT and marking.rel_to is None:
        marking = _as_us(marking)  # JOINT stands only with the release to its owners (p. 55)
    non_ic = set(marking.non_ic)
    if "NODIS" in non_ic:
        non_ic.discard("EXDIS")
    if non_ic & {"EXDIS", "NODIS"}:
        non_ic -= {"SBU", "SBU NOFORN"}
    if classified:
        non_ic -= {"LIMDIS", "SBU"}
    controls = set(marking.dissemination)
    if "ORCON" in controls:
        controls.discard("ORCON-USGOV")
    if classified or (controls | non_ic) & _OVER_FOUO or marking.cui is not None:
        controls.discard("FOUO")
    cui = frozenset[str]() if classified and marking.cui is not None else marking.cui
    settled = replace(marking, dissemination=frozenset(controls), non_ic=frozenset(non_ic), cui=cui)
    return _disclosure(settled, words).applied_to(settled, words)


def _settle_atomic(marking: Marking, classified: bool) -> Marking:
    """RD over FRD over TFNI; UCNI leaves a classified marking but forbids release (pp. 104-121)."""
    aea = set(marking.aea)
    if "RD" in aea:
        aea -= {"FRD", "TFNI"}
    if "FRD" in aea:
        aea.discard("TFNI")
    if classified and aea & {"DCNI", "UCNI"}:
        aea -= {"DCNI", "UCNI"}
        if marking.foreign_disclosure:
            marking = _noforn(marking)
    return replace(marking, aea=frozenset(aea))


def _settle_noforn_controls(marking: Marking, classified: bool, words: Words) -> Marking:
    """SBU NOFORN and LES NOFORN split where anything else speaks of disclosure (Table 3 rows 3-8, 14-15)."""
    both = marking.non_ic & {"SBU NOFORN", "LES NOFORN"}
    if both and (marking.foreign_disclosure or _disclosure(marking, words).implied == _UNMARKED):
        plain = {key.removesuffix(" NOFORN") for key in both}
        return _noforn(replace(marking, non_ic=marking.non_ic - both | plain))
    non_ic = {key for key in marking.non_ic if f"{key} NOFORN" not in marking.non_ic}
    return replace(marking, non_ic=frozenset(non_ic))


def _noforn(marking: Marking) -> Marking:
    return replace(
        marking,
        rel_to=None,
        display_only=(),
        dissemination=marking.dissemination - _DISCLOSURE | {"NOFORN"},
    )
