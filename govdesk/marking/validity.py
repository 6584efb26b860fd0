"""What may stand together: every rule that does not depend on how the text is written.

Rules of a single marking (levels, needs, excludes) are vocabulary; rules between categories are here.
Pages are those of the IC Markings System Register and Manual, 31 December 2016.
"""

from __future__ import annotations

from collections.abc import Iterator

from govdesk.errors import MarkingError
from govdesk.marking import vocabulary
from govdesk.marking.value import Form, Level, Marking, Ownership, Program
from govdesk.marking.vocabulary import Words

_NO_FOUO = {
    Form.BANNER: {
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
    },
    Form.PORTION: {"LIMDIS", "SBU", "LES", "SSI", "DSEN"},
}


def validate(marking: Marking, form: Form, words: Words) -> None:
    """Refuse a marking whose parts may not stand together.

    Raises:
        MarkingError: the first rule that is broken.
    """
    for rule, why, where in _broken(marking, form, words):
        raise MarkingError(why, rule=rule, where=where)


def warnings(marking: Marking, words: Words | None = None) -> tuple[str, ...]:
    """Rule ids of what is valid but deserves a second look."""
    words = words or vocabulary.default()
    found = []
    if any(words.vocabulary.system(system.name) is None for system in marking.sci):
        found.append("unpublished-control-system")
    if marking.aea & {"RD", "FRD"} and "NOFORN" not in marking.dissemination:
        found.append("rd-frd-without-noforn")
    if marking.rel_to == () or (marking.ownership is Ownership.JOINT and not marking.owners):
        found.append("rel-abbreviation-needs-banner")
    return tuple(found)


_Broken = Iterator[tuple[str, str, str]]


def _broken(marking: Marking, form: Form, words: Words) -> _Broken:
    yield from _classification(marking, form, words)
    yield from _systems(marking, words)
    yield from _single_rules(marking, words)
    yield from _atomic(marking)
    yield from _superseded(marking, form)


def _level(levels: tuple[str, ...], marking: Marking, name: str) -> _Broken:
    if levels and marking.level.portion not in levels:
        yield f"{_id(name)}-level", f"{name} may not be used with {marking.level.title}.", name


def _needs(needs: tuple[str, ...], excludes: tuple[str, ...], marking: Marking, name: str) -> _Broken:
    for other in needs:
        if other not in marking.controls:
            yield f"{_id(name)}-needs-{_id(other)}", f"{name} needs {other}.", name
    for other in excludes:
        if other in marking.controls:
            yield f"{_id(name)}-with-{_id(other)}", f"{name} may not be used with {other}.", name


def _id(name: str) -> str:
    return name.lower().replace(" ", "-")


def _classification(marking: Marking, form: Form, words: Words) -> _Broken:
    own = marking.ownership
    if marking.level is Level.RESTRICTED and own in {Ownership.US, Ownership.JOINT}:
        yield "restricted-level", "RESTRICTED is neither a US nor a JOINT level (pp. 46, 57).", "RESTRICTED"
    if own is Ownership.FOREIGN:
        if marking.owners == ("NATO",):
            yield "nato-form", "NATO's classifications have forms of their own, e.g. NS (p. 36).", "NATO"
        if "USA" in marking.owners:
            yield "foreign-usa", "USA does not own a foreign marking; a shared one is JOINT (p. 55).", "USA"
        if not marking.owners and form is Form.BANNER:
            yield (
                "fgi-concealed-banner",
                "A concealed source is FGI after the US level in a banner (p. 123).",
                "FGI",
            )
        if not marking.owners and marking.fgi:
            yield "fgi-concealed-with-country", "Concealed and named sources do not mix (p. 124).", "FGI"
    if marking.cui is not None and own is not Ownership.US:
        yield "cui-foreign", "CUI is United States information.", "CUI"
    if own is Ownership.JOINT:
        yield from _joint(marking, form, words)
    elif marking.rel_to == () and form is Form.BANNER:
        yield "rel-abbreviation-in-banner", "REL without a list is a portion mark (p. 150).", "REL"


def _joint(marking: Marking, form: Form, words: Words) -> _Broken:
    """JOINT: USA among the owners, released to all of them, never NOFORN or HCS (pp. 55-57)."""
    if not marking.owners and form is Form.BANNER:
        yield "joint-list", "JOINT is followed by the owners (p. 55).", "JOINT"
    if marking.owners and "USA" not in marking.owners:
        yield "joint-usa-in-list", "USA is always one of the owners (p. 55).", "JOINT"
    if marking.owners == ("USA",):
        yield "joint-list", "JOINT has at least one more owner than USA (p. 55).", "JOINT"
    if "NOFORN" in marking.dissemination:
        yield "joint-with-noforn", "JOINT may not be used with NOFORN (p. 57).", "NOFORN"
    if any(system.name == "HCS" for system in marking.sci):
        yield "joint-with-hcs", "JOINT may not be used with HCS (p. 57).", "HCS"
    if marking.rel_to is None:
        yield "joint-needs-rel-to", "JOINT needs REL TO with all owners (p. 55).", "JOINT"
    elif marking.rel_to and marking.owners:
        missing = set(marking.owners) - {"USA"} - words.expand(marking.rel_to)
        if missing:
            yield "joint-rel-all-owners", "REL TO names all owners (p. 57).", ", ".join(sorted(missing))


def _systems(marking: Marking, words: Words) -> _Broken:
    if (marking.sci or marking.sap) and marking.level <= Level.RESTRICTED:
        yield "control-unclassified", "SCI and SAP markings are used with classified information (p. 52).", ""
    for system in marking.sci:
        yield from _system(system, marking, words)


def _system(system: Program, marking: Marking, words: Words) -> _Broken:
    entry = words.vocabulary.system(system.name)
    if entry is None:
        return
    yield from _level(entry.levels, marking, system.name)
    for compartment in system.compartments:
        name = f"{system.name}-{compartment.name}"
        published = entry.compartment(compartment.name)
        if published is None:
            yield from _level(entry.compartment_levels, marking, name)
            continue
        yield from _level(published.levels, marking, name)
        yield from _needs(published.needs, published.excludes, marking, name)
        if compartment.subs:
            name = f"{name} {compartment.subs[0]}"
            yield from _level(published.sub_levels, marking, name)
            yield from _needs(published.sub_needs, published.sub_excludes, marking, name)


def _single_rules(marking: Marking, words: Words) -> _Broken:
    for key in sorted(marking.controls):
        entry = words.entries.get(key)
        if entry is None:
            continue
        yield from _level(entry.levels, marking, key)
        yield from _needs(entry.needs, entry.excludes, marking, key)


def _atomic(marking: Marking) -> _Broken:
    low = marking.level <= Level.CONFIDENTIAL
    if marking.cnwdi and ("RD" not in marking.aea or low):
        yield "cnwdi", "CNWDI is used with TOP SECRET RD or SECRET RD (p. 106).", "CNWDI"
    if marking.sigmas and (not marking.aea & {"RD", "FRD"} or low):
        yield "sigma", "SIGMA is used with TOP SECRET or SECRET, RD or FRD (p. 108).", "SIGMA"


def _superseded(marking: Marking, form: Form) -> _Broken:
    """Controls that give way to stronger ones."""
    controls = marking.controls
    if "FOUO" in controls and (controls & _NO_FOUO[form] or marking.cui is not None):
        yield "fouo-superseded", "FOUO gives way to the other control (pp. 134, 159-190).", "FOUO"
    if "LIMDIS" in controls and "FOUO" in controls:
        yield "limdis-with-fouo", "LIMDIS is not combined with FOUO (p. 170).", "LIMDIS"
    if form is Form.BANNER:
        if controls & {"EXDIS", "NODIS"} and controls & {"SBU", "SBU NOFORN", "FOUO"}:
            yield "exdis-nodis-over-sbu", "EXDIS and NODIS supersede SBU and FOUO (pp. 172-174).", "SBU"
        if "LES NOFORN" in controls and marking.level > Level.UNCLASSIFIED:
            yield "les-noforn-classified", "A classified banner says NOFORN//LES (p. 185).", "LES NOFORN"
