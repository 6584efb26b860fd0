"""Says whether a text's marking is above what the system may hold; in doubt about a level, it says yes.

What counts is what the Register's table 5 calls an impact on access (pp. 40-45): RSEN, IMCON, FRD, TFNI and
foreign government information other than NATO's are handling and never make a spill by themselves.
"""

from __future__ import annotations

import functools
import re
from dataclasses import replace

from govdesk.errors import MarkingError
from govdesk.marking import lattice, parser, vocabulary
from govdesk.marking.value import Level, Marking
from govdesk.marking.vocabulary import Words

_LEVEL_WORDS = (
    (Level.TOP_SECRET, re.compile(r"\bTOP[ -]?SECRET\b|(?:^|\(|/)\s*(?:TS|CTS)\s*(?=/|\)|$)", re.IGNORECASE)),
    (Level.SECRET, re.compile(r"\bSECRET\b|(?:^|\(|/)\s*(?:S|NS)\s*(?=//|\)|$)", re.IGNORECASE)),
    (Level.CONFIDENTIAL, re.compile(r"\bCONFIDENTIAL\b|(?:^|\(|/)\s*(?:C|NC)\s*(?=//|\)|$)", re.IGNORECASE)),
    (Level.RESTRICTED, re.compile(r"\bRESTRICTED\b", re.IGNORECASE)),
)
_NATO_ALONE = re.compile(r"^(\(?)((?:NATO|COSMIC|CTS|NS|NC)\b)")
"""NATO's classifications as people write them, without the slashes that stand for no US classification."""


def exceeds(text: str, system_high: str) -> bool:
    """True when the text, taken as a marking, is not dominated by the system-high marking.

    Args:
        text: a candidate: a banner line or portion mark that a recognizer found, right or nearly right.
        system_high: the policy's banner line.

    Raises:
        MarkingError: `system_high` is not valid (the policy loader has checked it).
    """
    system = _system(system_high)
    marking = _nearest_marking(_NATO_ALONE.sub(r"\1//\2", text.strip()))
    if marking is not None:
        return not may_hold(system, marking)
    return any(level > system.level and pattern.search(text) for level, pattern in _LEVEL_WORDS)


def may_hold(system: Marking, marking: Marking, words: Words | None = None) -> bool:
    """True when a system of this high-water mark may hold what is so marked.

    A system-high marking that says nothing of foreign disclosure has no foreign users: it may hold what is
    released to some of them, but not NOFORN, which it has to name.
    """
    words = words or vocabulary.default()
    # Beside a US marking of the lowest level, owners become FGI, which the next step can look at.
    marking = lattice.join(Marking(Level.UNCLASSIFIED), marking, words)
    handling = frozenset(key for key, entry in words.entries.items() if not entry.access)
    fgi = ("NATO",) if "NATO" in (marking.fgi or ()) else None
    keep = marking.dissemination - (handling - {"RELIDO"})
    marking = replace(marking, aea=marking.aea - handling, dissemination=keep, fgi=fgi)
    if not system.foreign_disclosure and "NOFORN" not in keep:
        marking = replace(marking, rel_to=None, display_only=(), dissemination=keep - {"RELIDO"})
    if system.level > Level.UNCLASSIFIED:
        marking = replace(marking, cui=None)
    return lattice.dominates(system, marking, words)


def _nearest_marking(text: str) -> Marking | None:
    """The marking that the text is, or that it would be if it were written right."""
    for legacy in (False, True):
        try:
            return parser.parse(text, legacy=legacy)
        except MarkingError as error:
            near = error.suggestion
            if near is not None:
                return parser.parse(near)
    return None


@functools.lru_cache(maxsize=8)
def _system(system_high: str) -> Marking:
    return parser.parse(system_high)
