"""The nearest right form of a marking that was refused, or none: never a guess that itself is refused.

The values are read in any form, order and separator that people use, put into the Register's order,
rendered, and offered only when the strict parser takes the result.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from govdesk.errors import MarkingError
from govdesk.marking import rendering
from govdesk.marking.value import Compartment, Form, Level, Marking, Ownership, Program, sorted_codes
from govdesk.marking.vocabulary import Words

_LEVEL = re.compile(r"(TOP ?SECRET|TOP-SECRET|SECRET|CONFIDENTIAL|UNCLASSIFIED|TS|S|C|U)(?![A-Z])")
_LIST = re.compile(
    r"(REL(?:EAS\w*)?(?: ?TO)?:?|(?:FOR )?DISPLAY ONLY(?: TO)?)((?:[ ,]+(?!AND\b)[A-Z]{3,4}\b|[ ,]+AND)+)"
)


def nearest(text: str, form: Form, words: Words, parse: Callable[[str], Marking]) -> str | None:
    """The nearest right form.

    Args:
        text: what was refused.
        form: the form it should have had.
        words: the vocabulary.
        parse: the strict parser for that form.
    """
    try:
        marking = _read(text.upper().strip(" ()[]{}"), words)
        if marking is None:
            return None
        rendered = (
            rendering.banner(marking, words) if form is Form.BANNER else rendering.portion(marking, words)
        )
        parse(rendered)
    except MarkingError:
        return None
    return None if rendered == text else rendered


def _read(text: str, words: Words) -> Marking | None:
    """US levels with published control systems, controls and lists; anything else is not guessed at."""
    head = _LEVEL.match(text)
    if head is None:
        return None
    level = {"T": Level.TOP_SECRET, "S": Level.SECRET, "C": Level.CONFIDENTIAL}.get(
        head.group(1)[0], Level.UNCLASSIFIED
    )
    marking = Marking(level, Ownership.US)
    rest = text[head.end() :]
    for match in _LIST.finditer(rest):
        codes = sorted_codes(set(re.findall(r"[A-Z]{3,4}", match.group(2))) - {"USA", "AND"})
        if not codes or not words.codes.issuperset(codes):
            return None
        if match.group(1).startswith("REL"):
            marking = replace(marking, rel_to=codes)
        else:
            marking = replace(marking, display_only=codes)
    for value in re.split(r"\s*(?:/+|\\+|,)\s*|\s+-\s+", _LIST.sub("", rest)):
        added = _add(marking, value.strip(" -"), words)
        if added is None:
            return None
        marking = added
    return marking


def _add(marking: Marking, value: str, words: Words) -> Marking | None:
    """The marking with one more value, or None when the value is not known."""
    if not value:
        return marking
    for form in Form:
        if value in words.dissemination[form]:
            return replace(marking, dissemination=marking.dissemination | {words.dissemination[form][value]})
        if value in words.non_ic[form]:
            return replace(marking, non_ic=marking.non_ic | {words.non_ic[form][value]})
        if value in words.aea[form]:
            return replace(marking, aea=marking.aea | {words.aea[form][value]})
    return _add_system(marking, value, words)


def _add_system(marking: Marking, value: str, words: Words) -> Marking | None:
    """A published control system, with published compartments."""
    name, *parts = value.split("-")
    system = next((s for s in words.vocabulary.sci if name in {s.name, s.title}), None)
    if system is None:
        return None
    known = {c.name: c.name for c in system.compartments} | {c.title: c.name for c in system.compartments}
    if any(part not in known for part in parts):
        return None
    compartments = tuple(Compartment(known[part]) for part in sorted(set(parts)))
    programs = {program.name: program for program in marking.sci} | {
        system.name: Program(system.name, compartments)
    }
    return replace(marking, sci=tuple(programs[key] for key in sorted(programs)))
