"""Marking to text, in the authorised abbreviated form; what is rendered parses back to the same marking."""

from __future__ import annotations

import re

from govdesk.errors import MarkingError
from govdesk.marking import vocabulary
from govdesk.marking.value import Form, Level, Marking, Ownership, Program
from govdesk.marking.vocabulary import ControlEntry, Words


def banner(marking: Marking, words: Words | None = None) -> str:
    """The banner line."""
    return _render(marking, Form.BANNER, words or vocabulary.default())


def portion(marking: Marking, words: Words | None = None) -> str:
    """The portion mark, with its parentheses.

    Raises:
        MarkingError: a special access program is known by its nickname only (p. 99).
    """
    return f"({_render(marking, Form.PORTION, words or vocabulary.default())})"


def _render(marking: Marking, form: Form, words: Words) -> str:
    segments = [
        _head(marking, form),
        *_cui(marking),
        "/".join(_program(system) for system in marking.sci),
        _sap(marking, form, words),
        "/".join(_aea(marking, form, words)),
        "" if marking.fgi is None else " ".join(("FGI", *marking.fgi)),
        "CUI" if marking.cui is not None and marking.level > Level.UNCLASSIFIED else "",
        "/".join(_dissemination(marking, form, words)),
        "/".join(_plain(marking.non_ic, words.vocabulary.non_ic, form)),
    ]
    return "//".join(segment for segment in segments if segment)


def _head(marking: Marking, form: Form) -> str:
    level = marking.level.title if form is Form.BANNER else marking.level.portion
    match marking.ownership:
        case Ownership.US:
            if marking.cui is not None and marking.level is Level.UNCLASSIFIED:
                return "CUI"
            return level
        case Ownership.NATO:
            top = marking.level is Level.TOP_SECRET
            if form is Form.PORTION:
                return "//CTS" if top else "//N" + level
            return f"//{'COSMIC' if top else 'NATO'} {level}"
        case Ownership.FOREIGN:
            return "//" + " ".join((*(marking.owners or ("FGI",)), level))
        case Ownership.JOINT:
            return "//" + " ".join(("JOINT", level, *marking.owners))


def _cui(marking: Marking) -> list[str]:
    if not marking.cui or marking.level > Level.UNCLASSIFIED:
        return []
    return ["/".join(sorted(marking.cui, key=lambda name: (not name.startswith("SP-"), name)))]


def _program(program: Program) -> str:
    parts = [" ".join((compartment.name, *compartment.subs)) for compartment in program.compartments]
    return "-".join((program.name, *parts))


def _sap(marking: Marking, form: Form, words: Words) -> str:
    if not marking.sap:
        return ""
    if form is Form.PORTION:
        for program in marking.sap:
            if not re.fullmatch(words.vocabulary.program_abbreviation, program.name):
                raise MarkingError(
                    "A portion mark needs the program's abbreviation, which is not known (p. 99).",
                    rule="sap-abbreviation",
                    where=program.name,
                )
    return "SAR-" + "/".join(_program(program) for program in marking.sap)


def _aea(marking: Marking, form: Form, words: Words) -> list[str]:
    parts = []
    sigma = "SIGMA" if form is Form.BANNER else "SG"
    for entry in words.vocabulary.aea:
        if entry.key not in marking.aea:
            continue
        text = entry.written(form)
        if entry.key == "RD" and marking.cnwdi:
            text += "-CNWDI"
        if entry.sigma and marking.sigmas:
            text += f"-{sigma} " + " ".join(map(str, marking.sigmas))
        parts.append(text)
    return parts


def _dissemination(marking: Marking, form: Form, words: Words) -> list[str]:
    parts = []
    for entry in words.vocabulary.dissemination:
        if entry.key == "REL TO" and marking.rel_to is not None:
            parts.append("REL TO " + ", ".join(("USA", *marking.rel_to)) if marking.rel_to else "REL")
        elif entry.key == "DISPLAY ONLY" and marking.display_only:
            parts.append("DISPLAY ONLY " + ", ".join(marking.display_only))
        elif entry.key in marking.dissemination:
            parts.append(entry.written(form))
    return parts


def _plain(keys: frozenset[str], entries: tuple[ControlEntry, ...], form: Form) -> list[str]:
    return [entry.written(form) for entry in entries if entry.key in keys]
