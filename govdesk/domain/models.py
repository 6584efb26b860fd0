"""What people see of models: which are here, in which state, and how far an import is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class ModelState(Enum):
    """Whether a model can answer; the words that people see."""

    READY = "ready"
    NOT_APPROVED = "not approved by policy"
    MARKING = "may not see what this workstation holds"
    MISSING = "file missing"
    DAMAGED = "file damaged"
    OLDER = "older than a version that was used here"


class Answers(Enum):
    """Whether a model answers in this session; the words that people see."""

    NO = ""
    NOW = "answers"
    NEXT = "answers from the next start"
    STILL = "answers until the next start"


@dataclass(frozen=True, slots=True)
class Which:
    """Which model is meant: the name alone does not say, several versions of one may lie here.

    `version`: None for the only one there is. `imported`: True for the profile's, False for what came with
    GovDesk, None for either.
    """

    name: str
    version: int | None = None
    imported: bool | None = None


@dataclass(frozen=True, slots=True)
class ModelLine:
    """One model in one format. Sizes in bytes, `digest` as policies name it."""

    name: str
    version: int
    title: str
    quantization: str
    digest: str
    size_bytes: int
    state: ModelState
    why: str
    """What is wrong, in words; empty when nothing is."""
    format_words: str
    fit_words: str
    """Whether it fits this machine; empty when that cannot be said."""
    imported: bool
    """Lies in the profile; False: came with GovDesk."""
    chosen: bool
    """The one that is loaded next."""
    answers: Answers
    """Another may be loaded still."""
    highest_marking: str
    license: str
    license_text: str
    provenance: str
    architecture: str
    context_tokens: int
    roles: tuple[str, ...]
    files: tuple[str, ...]
    draft: str
    """The model that the manifest names to draft for this one; empty for none."""

    @property
    def which(self) -> Which:
        """How to ask for it."""
        return Which(self.name, self.version, self.imported)

    @property
    def draft_words(self) -> str:
        """As people read it."""
        return f"{self.draft} (used when it is approved and has room)" if self.draft else "none"


@dataclass(frozen=True, slots=True)
class RefusedLine:
    """A manifest that lies there and is not used."""

    file: str
    code: str
    why: str


@dataclass(frozen=True, slots=True)
class ModelList:
    """Everything in the models' folders. `fast` names the formats that this processor reads fast."""

    models: tuple[ModelLine, ...]
    refused: tuple[RefusedLine, ...]
    fast: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModelDetails:
    """One model looked at closely, its file's own words included: those are untrusted."""

    line: ModelLine
    signer: str
    """SHA-384 of the public key that the manifest is signed by."""
    manifest_template: str | None
    """The manifest's own; None: it has none, and the file's is used."""
    untrusted_file_template: str | None
    """None: the file has none, or cannot be read."""
    template_as_signed: bool | None
    """The template that is used has the hash that the manifest names; None: nobody could look."""
    file_problem: str
    """Why the file was refused by the validator; empty when it was not."""
    file_facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Place:
    """A folder where a model may be: what is in it by name, sorted. `parent`: empty at the top."""

    folder: str
    parent: str
    folders: tuple[str, ...]
    manifests: tuple[str, ...]
    left_out: int
    """Names that are not shown: too many, or not in UTF-8. Hidden ones are none of them."""


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """How far. `doing` is `checking what was copied before`, `copying` or `checking`."""

    doing: str
    file: str
    done_bytes: int
    total_bytes: int
    seconds: float

    @property
    def percent(self) -> int:
        """Whole per cent of all bytes, rounded down."""
        return self.done_bytes * 100 // self.total_bytes if self.total_bytes else 100


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import ended with."""

    name: str
    version: int
    title: str
    lines: tuple[ModelLine, ...]
    copied_bytes: int
    removed_versions: tuple[int, ...]
    """Older versions of it that were here and are gone."""


@dataclass(frozen=True, slots=True)
class Verified:
    """A file, and whether it has the bytes that were signed."""

    file: str
    sound: bool
    why: str


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check of one version found."""

    name: str
    version: int
    title: str
    files: tuple[Verified, ...]
    not_imported: tuple[str, ...]
    """The formats of which no file is here: there is nothing to be wrong."""

    @property
    def unsound(self) -> int:
        """So many files are not what was signed."""
        return sum(not file.sound for file in self.files)


@dataclass(frozen=True, slots=True)
class Removed:
    """What was removed, in bytes, and what stays."""

    name: str
    version: int
    size_bytes: int
    stays: str


@dataclass(frozen=True, slots=True)
class ContextMemory:
    """Whether conversations are kept in half the memory, and whether the model that answers can do so."""

    halved: bool
    possible: bool
    note: str
    """What it costs, in words."""

    @property
    def words(self) -> str:
        """As people read it."""
        if not self.halved:
            return "whole"
        return "halved" if self.possible else "chosen to be halved, which this model cannot: whole"


Watch = Callable[[ImportProgress], None]
"""Called a few times a second while an import runs, on the thread that runs it."""


class ModelLooks(Protocol):
    """The models of this workstation, to look at."""

    def models(self) -> ModelList:
        """What is here, in which state."""
        ...

    def model_details(self, which: Which, quantization: str = "") -> ModelDetails:
        """One of them.

        Raises:
            UsageError: there is none, or several versions and none is named.
        """
        ...


class Models(ModelLooks, Protocol):
    """The same, to change: what changes models or reads them whole is on record."""

    def look_into(self, place: str) -> Place:
        """The names in a folder, or in the nearest one above that there is; slow on a medium.

        Raises:
            UnreadableError: it cannot be read.
        """
        ...

    def import_model(
        self, place: str, watch: Watch, stopped: Callable[[], bool], quantization: str = ""
    ) -> Imported:
        """Copy a model from a folder, or the one that a manifest describes; goes on where it was stopped.

        Every variant that is whole there, or the one of a quantisation.

        Raises:
            GovDeskError: refused, or stopped (code `model.import-stopped`); says what was kept.
        """
        ...

    def verify_model(self, which: Which, watch: Watch, stopped: Callable[[], bool]) -> Checked:
        """Read every file of a model and compare it with what was signed."""
        ...

    def context_memory(self) -> ContextMemory:
        """What this person chose for the memory of conversations."""
        ...

    def halve_context(self, *, halve: bool) -> ContextMemory:
        """Choose it; in force when a model is loaded the next time.

        Raises:
            GovDeskError: that cannot be kept.
        """
        ...

    def remove_model(self, which: Which) -> Removed:
        """Remove an imported version of a model, also one that is not used.

        Raises:
            GovDeskError: it is in use, came with GovDesk, or is none.
        """
        ...
