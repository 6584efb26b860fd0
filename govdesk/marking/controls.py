"""Readers of one category each: text of the category in, the marking with it out, or a refusal."""

from __future__ import annotations

import re
from dataclasses import replace

from govdesk.errors import MarkingError
from govdesk.marking.value import Compartment, Form, Marking, Program, sorted_codes
from govdesk.marking.vocabulary import ControlEntry, SystemEntry, Words

_REL_PREFIXES = {Form.BANNER: ("AUTHORIZED FOR RELEASE TO ", "REL TO "), Form.PORTION: ("REL TO ",)}
_DISPLAY = "DISPLAY ONLY "
_EYES = re.compile(r"USA((?:/[A-Z]{3,4})*) EYES ONLY")
_SAP_PREFIXES = {Form.BANNER: ("SPECIAL ACCESS REQUIRED-", "SAR-"), Form.PORTION: ("SAR-",)}
_NAME = re.compile(r"[A-Z0-9]{1,6}")


def refuse(rule: str, why: str, where: str) -> MarkingError:
    """A refusal: our stable rule id, why, and the part that is wrong."""
    return MarkingError(why, rule=rule, where=where)


def looks_like_list(segment: str) -> bool:
    """True for REL TO, DISPLAY ONLY, EYES ONLY and what people write for them."""
    return bool(re.match(r"(REL\b|RELEAS|AUTHORIZED FOR|(FOR )?DISPLAY\b|EYES\b|USA\b)", segment))


def codes(text: str, separator: str, rule: str, words: Words) -> tuple[str, ...]:
    """A list of country and organisation codes, in order and without repetition.

    Args:
        text: the list.
        separator: a space (FGI, JOINT, owners) or a comma and a space (REL TO, DISPLAY ONLY).
        rule: start of the rule's name in a refusal.
        words: the vocabulary.

    Raises:
        MarkingError: a wrong separator, an unknown code, or a wrong order.
    """
    found = tuple(text.split(separator))
    for code in found:
        if re.search(r"[^A-Z0-9]", code) or not code:
            shown = "a space" if separator == " " else "a comma and a space"
            raise refuse(f"{rule}-separator", f"Codes of this list are separated by {shown} (p. 16).", text)
        if code not in words.codes:
            raise refuse(f"{rule}-unknown-code", "The code is not in the list of codes (p. 38).", code)
    if found != sorted_codes(found):
        raise refuse(
            f"{rule}-order",
            "Trigraphs stand alphabetically, then longer codes alphabetically (p. 151).",
            text,
        )
    return found


def _ascending(names: list[str] | tuple[str, ...], rule: str, where: str) -> None:
    if list(names) != sorted(names):
        raise refuse(
            f"{rule}-order", "Numbered values stand first, then alphabetical order (pp. 15-16).", where
        )
    if len(set(names)) != len(names):
        raise refuse(f"{rule}-duplicate", "Nothing is repeated (p. 61).", where)


# ── SCI ─────────────────────────────────────────────────────────────────────


def read_sci(marking: Marking, segment: str, form: Form, words: Words, legacy: bool) -> Marking:
    """`sys ("/" sys)*`, `sys = NAME ("-" comp)*`, `comp = NAME (" " sub)*` (pp. 60-98)."""
    systems = tuple(_system(piece, form, words) for piece in segment.split("/"))
    _ascending([system.name for system in systems], "sci", segment)
    return replace(marking, sci=systems)


def published_system(segment: str, words: Words) -> bool:
    """True when the segment begins with a control system of the Register."""
    return any(re.match(rf"({e.name}|{e.title or e.name})\b", segment) for e in words.vocabulary.sci)


def _system(piece: str, form: Form, words: Words) -> Program:
    head, *rest = piece.split("-")
    entry = next(
        (e for e in words.vocabulary.sci if head in ({e.name, e.title} if form is Form.BANNER else {e.name})),
        None,
    )
    if entry is None:
        _check_unpublished(head, piece, words)
    if entry is not None and entry.needs_compartment and not rest:
        raise refuse("sci-needs-compartment", f"{entry.name} is never written without a compartment.", piece)
    compartments = tuple(_compartment(text, entry, form, words) for text in rest)
    _ascending([compartment.name for compartment in compartments], "sci-compartment", piece)
    return Program(entry.name if entry else head, compartments)


def _check_unpublished(head: str, piece: str, words: Words) -> None:
    for word in (head, head.split(maxsplit=1)[0] if head.split() else head):
        if word in words.vocabulary.retired:
            raise refuse("not-in-register", words.vocabulary.retired[word], piece)
    if head in words.reserved or re.fullmatch(r"(25|50|75)?X[0-9]", head):
        raise refuse("not-in-register", "It cannot stand here: the word means something else.", piece)
    if not re.fullmatch(words.vocabulary.unpublished_system, head):
        raise refuse("not-in-register", "It is not a value of the Register (p. 36).", piece)


def _compartment(text: str, system: SystemEntry | None, form: Form, words: Words) -> Compartment:
    name, *subs = text.split(" ")
    entry = None
    if system is not None:
        entry = next(
            (
                c
                for c in system.compartments
                if name in ({c.name, c.title} if form is Form.BANNER else {c.name})
            ),
            None,
        )
    pattern = _NAME.pattern if system is None else system.compartment_pattern
    if entry is None and (not re.fullmatch(pattern, name) or name in words.reserved):
        raise refuse("sci-compartment", "It is not a compartment of that control system.", text)
    sub_pattern = _NAME.pattern if system is None else (entry.sub_pattern if entry else "")
    if any(not re.fullmatch(sub_pattern, sub) for sub in subs):
        raise refuse("sci-sub-compartment", "It is not a sub-compartment in the right form.", text)
    _ascending(subs, "sci-sub-compartment", text)
    return Compartment(entry.name if entry else name, tuple(subs))


# ── SAP ─────────────────────────────────────────────────────────────────────


def read_sap(marking: Marking, segment: str, form: Form, words: Words, legacy: bool) -> Marking:
    """`("SAR-"|"SPECIAL ACCESS REQUIRED-") prog ("/" prog)*`, the indicator once (pp. 99-101)."""
    prefix = next((p for p in _SAP_PREFIXES[form] if segment.startswith(p)), None)
    if prefix is None:
        raise refuse("sap-indicator", "A special access marking is SAR- and a program identifier.", segment)
    programs = tuple(_program(piece, form, words) for piece in segment[len(prefix) :].split("/"))
    _ascending([program.name for program in programs], "sap", segment)
    return replace(marking, sap=programs)


def _program(piece: str, form: Form, words: Words) -> Program:
    head, *rest = piece.split("-")
    pattern = (
        words.vocabulary.program_identifier if form is Form.BANNER else words.vocabulary.program_abbreviation
    )
    if not re.fullmatch(pattern, head) or head == "SAR":
        raise refuse("sap-program", "The indicator SAR- is followed by program identifiers (p. 99).", piece)
    compartments = []
    for text in rest:
        names = text.split(" ")
        if not all(_NAME.fullmatch(name) for name in names):
            raise refuse("sap-compartment", "A compartment is letters and digits.", text)
        _ascending(names[1:], "sap-sub-compartment", text)
        compartments.append(Compartment(names[0], tuple(names[1:])))
    _ascending([compartment.name for compartment in compartments], "sap-compartment", piece)
    return Program(head, tuple(compartments))


# ── AEA and FGI ─────────────────────────────────────────────────────────────


def read_aea(marking: Marking, segment: str, form: Form, words: Words, legacy: bool) -> Marking:
    """RD and FRD with their subsets, then the others, in Register order (pp. 103-122)."""
    keys: list[str] = []
    for piece in segment.split("/"):
        head, *rest = piece.split("-")
        entry = _entry(head, form, words.aea, words)
        for part in rest:
            marking = _aea_subset(marking, part, entry, form, words)
        keys.append(entry.key)
    _register_order(keys, [entry.key for entry in words.vocabulary.aea], segment)
    return replace(marking, aea=frozenset(keys))


def _aea_subset(marking: Marking, part: str, entry: ControlEntry, form: Form, words: Words) -> Marking:
    cnwdi = {"CNWDI", "CRITICAL NUCLEAR WEAPON DESIGN INFORMATION"} if form is Form.BANNER else {"CNWDI"}
    if part in cnwdi and entry.key == "RD" and not marking.sigmas and not marking.cnwdi:
        return replace(marking, cnwdi=True)
    name, *numbers = part.split(" ")
    if name != ("SIGMA" if form is Form.BANNER else "SG") or not entry.sigma or marking.sigmas:
        raise refuse("aea-subset", "It is not a subset of that marking, or not in that form.", part)
    known = [str(number) for number in words.vocabulary.sigma_numbers]
    if not numbers or any(number not in known for number in numbers):
        raise refuse(
            "sigma-number", f"SIGMA numbers are {', '.join(known)}, each after a space (p. 108).", part
        )
    _ascending(numbers, "sigma", part)
    return replace(marking, sigmas=tuple(int(number) for number in numbers))


def read_fgi(marking: Marking, segment: str, form: Form, words: Words, legacy: bool) -> Marking:
    """`"FGI" (" " CODES)?` (p. 122); without codes the source is concealed."""
    text = segment
    if form is Form.BANNER:
        text = text.replace("FOREIGN GOVERNMENT INFORMATION", "FGI", 1)
    if text == "FGI":
        return replace(marking, fgi=())
    if not text.startswith("FGI "):
        raise refuse("fgi-separator", "FGI is followed by codes, each after a space (p. 16).", segment)
    found = codes(text[4:], " ", "fgi", words)
    if "USA" in found:
        raise refuse("fgi-usa", "Foreign government information is not from USA.", segment)
    return replace(marking, fgi=found)


# ── dissemination ───────────────────────────────────────────────────────────


def read_dissemination(marking: Marking, segment: str, form: Form, words: Words, legacy: bool) -> Marking:
    """Dissemination controls in Register order, REL TO and DISPLAY ONLY with their lists (pp. 131-168)."""
    if legacy:
        segment = _EYES.sub(lambda m: "REL TO USA" + m.group(1).replace("/", ", "), segment)
    elif _EYES.search(segment) or "EYES" in segment:
        raise refuse("eyes-only", "EYES ONLY has been refused since 1 October 2017 (p. 157).", segment)
    keys: list[str] = []
    plain: set[str] = set()
    for piece in segment.split("/"):
        prefix = next((p for p in _REL_PREFIXES[form] if piece.startswith(p)), None)
        if prefix is not None:
            marking = replace(marking, rel_to=_release_list(piece[len(prefix) :], words))
            keys.append("REL TO")
        elif piece == "REL" and form is Form.PORTION:
            marking = replace(marking, rel_to=())
            keys.append("REL TO")
        elif piece.startswith(_DISPLAY):
            marking = replace(marking, display_only=_display_list(piece[len(_DISPLAY) :], words))
            keys.append("DISPLAY ONLY")
        else:
            key = _plain_control(piece, form, words)
            keys.append(key)
            plain.add(key)
    _register_order(keys, [entry.key for entry in words.vocabulary.dissemination], segment)
    return replace(marking, dissemination=frozenset(plain))


def _plain_control(piece: str, form: Form, words: Words) -> str:
    if piece.startswith("REL") and piece not in words.dissemination[form]:
        raise refuse("rel-malformed", "The marking is REL TO USA, [LIST] (p. 150).", piece)
    key = _entry(piece, form, words.dissemination, words).key
    if key in {"REL TO", "DISPLAY ONLY"}:
        raise refuse("list-missing", f"{key} is followed by a list of codes (p. 150).", piece)
    return key


def _release_list(text: str, words: Words) -> tuple[str, ...]:
    if re.search(r"\bAND\b", text):
        raise refuse("rel-and", "Lists have had no AND since 2005 (p. 192).", text)
    first, _, rest = text.partition(", ")
    if first != "USA":
        raise refuse("rel-usa-first", "A release list starts with USA (p. 151).", text)
    if not rest:
        raise refuse("rel-list", "USA is followed by at least one more code (p. 150).", text)
    found = codes(rest, ", ", "rel", words)
    if "USA" in found:
        raise refuse("rel-duplicate", "Nothing is repeated.", text)
    return found


def _display_list(text: str, words: Words) -> tuple[str, ...]:
    found = codes(text, ", ", "display-only", words)
    if "USA" in found:
        raise refuse("display-only-usa", "DISPLAY ONLY names foreign recipients, not USA (p. 163).", text)
    return found


def read_non_ic(marking: Marking, segment: str, form: Form, words: Words, legacy: bool) -> Marking:
    """Non-IC dissemination controls in Register order (pp. 169-191)."""
    keys = [_entry(piece, form, words.non_ic, words).key for piece in segment.split("/")]
    _register_order(keys, [entry.key for entry in words.vocabulary.non_ic], segment)
    return replace(marking, non_ic=frozenset(keys))


def _entry(piece: str, form: Form, tables: dict[Form, dict[str, str]], words: Words) -> ControlEntry:
    """The vocabulary's entry for a value, in the form it is written in."""
    key = tables[form].get(piece)
    if key is not None:
        return words.entries[key]
    other = Form.PORTION if form is Form.BANNER else Form.BANNER
    if piece in tables[other]:
        right = words.entries[tables[other][piece]].written(form)
        raise refuse("wrong-form", f"In a {form.value} it is written {right} (pp. 26-27).", piece)
    why = words.vocabulary.retired.get(piece, "It is not a value of this category of the Register (p. 36).")
    raise refuse("not-in-register", why, piece)


def _register_order(keys: list[str], order: list[str], where: str) -> None:
    if len(set(keys)) != len(keys):
        raise refuse("duplicate", "Nothing is repeated.", where)
    if keys != sorted(keys, key=order.index):
        raise refuse("value-order", "Values stand in the Register's order (pp. 36-38).", where)
