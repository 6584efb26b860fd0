"""Text to marking, strictly: what parses is written exactly as the Register says, everything else is refused.

A refusal names the rule, why, the part that is wrong, and the nearest right form when one is near.
Pages are those of the IC Markings System Register and Manual, 31 December 2016.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from govdesk.errors import MarkingError
from govdesk.marking import controls, suggestion, vocabulary
from govdesk.marking.controls import refuse
from govdesk.marking.validity import validate
from govdesk.marking.value import Form, Level, Marking, Ownership, sorted_codes
from govdesk.marking.vocabulary import Words

MAX_MARKING_CHARACTERS = 1_000

_LEVELS = {
    Form.BANNER: {level.title: level for level in Level},
    Form.PORTION: {level.portion: level for level in Level},
}
_NATO = {
    Form.BANNER: {
        f"{'COSMIC' if level is Level.TOP_SECRET else 'NATO'} {level.title}": level for level in Level
    },
    Form.PORTION: {("CTS" if level is Level.TOP_SECRET else "N" + level.portion): level for level in Level},
}


def form_of(text: str) -> Form:
    """The form that a text looks like: a portion mark has parentheses."""
    return Form.PORTION if text.lstrip().startswith("(") else Form.BANNER


def parse(
    text: str, form: Form | None = None, *, words: Words | None = None, legacy: bool = False
) -> Marking:
    """Parse and validate a banner line or a portion mark.

    Args:
        text: the marking and nothing else; a portion mark with its parentheses.
        form: which of the two; None tells by the parentheses.
        words: the vocabulary; None is the shipped one.
        legacy: take EYES ONLY, which old documents bear, for the REL TO it has to be re-marked as (p. 157).

    Raises:
        MarkingError: it is not valid.
    """
    words = words or vocabulary.default()
    form = form or form_of(text)
    try:
        return _parse(text, form, words, legacy)
    except MarkingError as error:
        if error.suggestion is None and len(text) <= MAX_MARKING_CHARACTERS:
            error.suggestion = suggestion.nearest(
                text, form, words, lambda near: _parse(near, form, words, legacy=False)
            )
        raise


def _parse(text: str, form: Form, words: Words, legacy: bool) -> Marking:
    body = _body(text, form)
    foreign = body.startswith("//")
    segments = (body[2:] if foreign else body).split("//")
    _check_layout(segments)
    head = _foreign_head(segments[0], form, words) if foreign else _us_head(segments[0], form, words)
    rest = segments[1:]
    if head.cui is not None and rest and words.categories.intersection(_cui_names(rest[0])):
        head = replace(head, cui=_cui_categories(rest[0], words))
        rest = rest[1:]
    marking = _categories(head, rest, form, words, legacy)
    validate(marking, form, words)
    return marking


def _body(text: str, form: Form) -> str:
    """What is inside, after the checks that hold for any text."""
    if not text or len(text) > MAX_MARKING_CHARACTERS:
        raise refuse("length", f"A marking has 1 to {MAX_MARKING_CHARACTERS} characters.", "")
    if not (text.isascii() and text.isprintable()):
        raise refuse("characters", "A marking has printable ASCII characters only.", "")
    if form is Form.PORTION:
        if not (text.startswith("(") and text.endswith(")")):
            raise refuse("portion-parentheses", "A portion mark stands in parentheses (p. 25).", text)
        text = text[1:-1]
    if text != text.upper():
        raise refuse("uppercase", "A marking is written in upper case (p. 27).", text)
    if "\\" in text:
        raise refuse("category-separator-wrong-char", "Categories are separated by // (p. 27).", "\\")
    return text


def _check_layout(segments: list[str]) -> None:
    """Separators: nothing empty, nothing trailing, no stray space (pp. 15-16, 27)."""
    for segment in segments:
        if not segment:
            raise refuse(
                "empty-category", "No separator stands for a category that is not there (p. 16).", "//"
            )
        if segment != segment.strip() or " /" in segment or "/ " in segment:
            raise refuse("separator-space", "There is no space around a slash (p. 27).", segment)
        if segment[0] in "/-," or segment[-1] in "/-,:":
            raise refuse("trailing-separator", "No separator begins or ends a category (p. 27).", segment)
        if "  " in segment:
            raise refuse("double-space", "Words are separated by one space.", segment)


# ── classification ──────────────────────────────────────────────────────────


def _us_head(segment: str, form: Form, words: Words) -> Marking:
    level = _LEVELS[form].get(segment)
    if level is not None and level is not Level.RESTRICTED:
        return Marking(level)
    if segment == "CUI" or (segment == "CONTROLLED" and form is Form.BANNER):
        return Marking(Level.UNCLASSIFIED, cui=frozenset())
    raise _head_error(segment, form, words)


def _head_error(segment: str, form: Form, words: Words) -> MarkingError:
    """Why a first value is not a US classification."""
    other = Form.PORTION if form is Form.BANNER else Form.BANNER
    first = segment.split("/", maxsplit=1)[0]
    if segment in _LEVELS[other]:
        if form is Form.BANNER:
            return refuse("banner-level-abbreviated", "A banner spells the level out (p. 46).", segment)
        return refuse("portion-level-spelled-out", "A portion abbreviates the level (p. 26).", segment)
    if first in _LEVELS[form] and "/" in segment:
        return refuse("category-separator-single-slash", "Categories are separated by // (p. 16).", segment)
    if (
        segment.split(maxsplit=1)[0] in {"JOINT", "COSMIC", "NATO", "FGI", *words.codes}
        or segment in _NATO[form]
    ):
        return refuse("foreign-leading-slashes", "Non-US and JOINT markings start with // (p. 15).", segment)
    if any(segment.startswith((name + " ", name + "-")) for name in _LEVELS[form]):
        return refuse("category-separator-wrong-char", "Categories are separated by // (p. 16).", segment)
    if first in words.reserved:
        return refuse("missing-classification", "The first value is the classification (p. 46).", segment)
    return refuse(
        "unknown-level",
        "The first value is TOP SECRET, SECRET, CONFIDENTIAL or UNCLASSIFIED (p. 46).",
        segment,
    )


def _foreign_head(segment: str, form: Form, words: Words) -> Marking:
    """JOINT, NATO, one or more countries, or a concealed source (pp. 55, 122)."""
    nato = _NATO[form].get(segment)
    if nato is not None:
        return Marking(nato, Ownership.NATO)
    if segment.startswith("JOINT "):
        return _joint_head(segment[6:], form, words)
    if segment in _LEVELS[form]:
        raise refuse("us-leading-slashes", "US markings start with the level, not with // (p. 15).", segment)
    for name, level in _LEVELS[form].items():
        if segment.endswith(" " + name) and not segment.endswith("TOP " + name):
            owners = segment[: -len(name) - 1]
            if owners == "FGI" and form is Form.PORTION:
                return Marking(level, Ownership.FOREIGN)
            codes = controls.codes(owners, " ", "fgi", words)
            return Marking(level, Ownership.FOREIGN, owners=codes)
    raise refuse(
        "foreign-level", "A foreign marking is [LIST] and a level, in the right form (p. 36).", segment
    )


def _joint_head(rest: str, form: Form, words: Words) -> Marking:
    for name, level in _LEVELS[form].items():
        if rest == name and form is Form.PORTION:
            return Marking(level, Ownership.JOINT)
        if rest.startswith(name + " ") and level is not Level.RESTRICTED:
            owners = controls.codes(rest[len(name) + 1 :], " ", "joint", words)
            return Marking(level, Ownership.JOINT, owners=owners)
    raise refuse("joint-level", "JOINT is followed by a level in the right form and a list (p. 56).", rest)


# ── the categories after it ─────────────────────────────────────────────────

_ORDER = ("sci", "sap", "aea", "fgi", "cui", "dissemination", "non_ic")


def _categories(head: Marking, segments: list[str], form: Form, words: Words, legacy: bool) -> Marking:
    """Add the categories, each at most once, in the Register's order (pp. 14-16)."""
    marking = head
    last = -1
    for segment in segments:
        category = _category_of(segment, form, words)
        index = _ORDER.index(category)
        if index == last:
            raise refuse(
                "repeated-category", "Values of one category stand together, with / (p. 15).", segment
            )
        if index < last and category == "sci" and not controls.published_system(segment, words):
            raise refuse("not-in-register", "It is not a value of the Register (p. 36).", segment)
        if index < last:
            raise refuse("category-order", "Categories stand in the Register's order (pp. 14-16).", segment)
        last = index
        marking = _READERS[category](marking, segment, form, words, legacy)
    return marking


def _category_of(segment: str, form: Form, words: Words) -> str:
    """Which category a segment belongs to, by its first value."""
    first = segment.split("/", maxsplit=1)[0]
    both = (Form.BANNER, Form.PORTION)
    if first.startswith(("SAR", "SPECIAL ACCESS REQUIRED")):
        return "sap"
    if first.split("-")[0] in words.aea[form] or any(first in words.aea[f] for f in both):
        return "aea"
    if re.match(r"(FGI|FOREIGN GOVERNMENT INFORMATION)\b", first):
        return "fgi"
    if first == "CUI":
        return "cui"
    if any(first in words.dissemination[f] for f in both) or controls.looks_like_list(segment):
        return "dissemination"
    if any(first in words.non_ic[f] for f in both):
        return "non_ic"
    return "sci"


def _read_cui(marking: Marking, segment: str, form: Form, words: Words, legacy: bool) -> Marking:
    if segment != "CUI" or marking.level is Level.UNCLASSIFIED:
        raise refuse("cui-in-banner", "A classified marking says CUI, without categories.", segment)
    return replace(marking, cui=frozenset())


def _cui_names(segment: str) -> set[str]:
    return {name.removeprefix("SP-") for name in segment.split("/")}


def _cui_categories(segment: str, words: Words) -> frozenset[str]:
    names = segment.split("/")
    order = sorted(set(names), key=lambda name: (not name.startswith("SP-"), name))
    if names != order or not _cui_names(segment) <= words.categories:
        raise refuse(
            "cui-categories",
            "CUI categories are the Registry's, specified ones first, alphabetically.",
            segment,
        )
    return frozenset(names)


_Reader = Callable[[Marking, str, Form, Words, bool], Marking]
_READERS: dict[str, _Reader] = {
    "sci": controls.read_sci,
    "sap": controls.read_sap,
    "aea": controls.read_aea,
    "fgi": controls.read_fgi,
    "cui": _read_cui,
    "dissemination": controls.read_dissemination,
    "non_ic": controls.read_non_ic,
}


def with_banner(marking: Marking, banner: Marking) -> Marking:
    """Fill in the lists that a portion mark leaves to its banner: REL and JOINT (pp. 56, 150)."""
    if marking.rel_to == () and banner.rel_to:
        marking = replace(marking, rel_to=banner.rel_to)
    if marking.ownership is Ownership.JOINT and not marking.owners:
        marking = replace(marking, owners=sorted_codes(banner.owners))
    return marking
