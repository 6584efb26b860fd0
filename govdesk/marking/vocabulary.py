"""The words of the Register, decoded strictly from data; a site replaces the file, not the program."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path

import msgspec

from govdesk.config import RESOURCES
from govdesk.errors import MachineError
from govdesk.marking.value import Form, Level

SCHEMA = 1
MAX_VOCABULARY_BYTES = 1_000_000
DEFAULT_FILE = RESOURCES / "marking" / "us-ic-2016.toml"


class _Struct(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Base: frozen, unknown keys refused."""


class CompartmentEntry(_Struct, frozen=True):
    """A published compartment and what using it demands."""

    name: str
    title: str = ""
    levels: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    sub_pattern: str = ""
    sub_levels: tuple[str, ...] = ()
    sub_needs: tuple[str, ...] = ()
    sub_excludes: tuple[str, ...] = ()


class SystemEntry(_Struct, frozen=True):
    """A published SCI control system. `compartment_pattern`: shape of its unpublished compartments."""

    name: str
    title: str = ""
    levels: tuple[str, ...] = ()
    needs_compartment: bool = False
    compartment_pattern: str = ""
    compartment_levels: tuple[str, ...] = ()
    compartments: tuple[CompartmentEntry, ...] = ()

    def compartment(self, name: str) -> CompartmentEntry | None:
        """The published compartment of that name."""
        return next((entry for entry in self.compartments if entry.name == name), None)


class ControlEntry(_Struct, frozen=True):
    """A control marking: its forms in text and the rules of its use."""

    key: str
    title: str = ""
    banner: str = ""
    portion: str = ""
    levels: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    access: bool = True
    sigma: bool = False

    def written(self, form: Form) -> str:
        """The authorised abbreviation in a form."""
        if form is Form.BANNER:
            return self.banner or self.key
        return self.portion or self.key


class CuiEntry(_Struct, frozen=True):
    """Categories of controlled unclassified information."""

    categories: tuple[str, ...] = ()


class Codes(_Struct, frozen=True):
    """Country and organisation codes. `members`: the groups that may be expanded."""

    trigraphs: str
    tetragraphs: tuple[str, ...] = ()
    members: dict[str, tuple[str, ...]] = {}


class Vocabulary(_Struct, frozen=True):
    """One edition of the marking vocabulary."""

    schema: int
    edition: str
    sigma_numbers: tuple[int, ...]
    unpublished_system: str
    program_identifier: str
    program_abbreviation: str
    sci: tuple[SystemEntry, ...]
    aea: tuple[ControlEntry, ...]
    dissemination: tuple[ControlEntry, ...]
    non_ic: tuple[ControlEntry, ...]
    cui: CuiEntry
    codes: Codes
    retired: dict[str, str] = {}

    def system(self, name: str) -> SystemEntry | None:
        """The published SCI control system of that name."""
        return next((entry for entry in self.sci if entry.name == name), None)


class Words:
    """A vocabulary with its look-up tables, built once."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.codes = frozenset(vocabulary.codes.trigraphs.split()) | frozenset(vocabulary.codes.tetragraphs)
        self.aea = {form: _table(vocabulary.aea, form) for form in Form}
        self.dissemination = {form: _table(vocabulary.dissemination, form) for form in Form}
        self.non_ic = {form: _table(vocabulary.non_ic, form) for form in Form}
        self.categories = frozenset(vocabulary.cui.categories)
        self.entries: Mapping[str, ControlEntry] = {
            entry.key: entry for entry in (*vocabulary.aea, *vocabulary.dissemination, *vocabulary.non_ic)
        }
        self.reserved = self._reserved()

    def _reserved(self) -> frozenset[str]:
        """Words that mean something already: no unpublished name may be one of them."""
        words = {"CUI", "FGI", "CTS", "NS", "NC", "NR", "NU", "NATO", "COSMIC"}
        for level in Level:
            words |= {level.title, level.portion}
        for tables in (self.aea, self.dissemination, self.non_ic):
            for table in tables.values():
                words |= table.keys()
        for system in self.vocabulary.sci:
            words |= {system.name, system.title}
        return frozenset(words) | self.codes | self.vocabulary.retired.keys()

    def expand(self, codes: tuple[str, ...]) -> frozenset[str]:
        """The codes themselves with the members of the groups that may be expanded (Table 3 row 23)."""
        result = set(codes)
        for code in codes:
            result.update(self.vocabulary.codes.members.get(code, ()))
        return frozenset(result)

    def contract(self, codes: frozenset[str]) -> frozenset[str]:
        """Undo `expand`: leave out what a group that is there already names."""
        named = {m for code in codes for m in self.vocabulary.codes.members.get(code, ())}
        return codes - named


def _table(entries: tuple[ControlEntry, ...], form: Form) -> dict[str, str]:
    """Text to key. A banner takes titles and abbreviations, a portion only its own mark (p. 27)."""
    table = {entry.written(form): entry.key for entry in entries}
    if form is Form.BANNER:
        table |= {entry.title: entry.key for entry in entries if entry.title}
    return table


def read(path: Path) -> Words:
    """Read a vocabulary file.

    Raises:
        MachineError: it is missing, too large, or not a vocabulary this program knows.
    """
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_VOCABULARY_BYTES:
            raise msgspec.ValidationError("too large")
        vocabulary = msgspec.toml.decode(raw, type=Vocabulary)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise MachineError(
            f"The marking vocabulary {path.name} cannot be read: {error}.",
            code="marking.vocabulary",
            todo="Reinstall GovDesk or put the site's vocabulary back.",
        ) from error
    if vocabulary.schema != SCHEMA:
        raise MachineError(
            f"The marking vocabulary {path.name} has schema {vocabulary.schema}, not {SCHEMA}.",
            code="marking.vocabulary",
            todo="Install the GovDesk that belongs to it.",
        )
    return Words(vocabulary)


@functools.cache
def default() -> Words:
    """The vocabulary shipped with the program, read once."""
    return read(DEFAULT_FILE)
