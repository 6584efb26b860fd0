"""Models are admitted, not found: a signed manifest, an approved digest, no version older than one before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from govdesk import config
from govdesk.errors import MarkingError, ModelError
from govdesk.inference.manifest import SUFFIX, Manifest, read_manifest
from govdesk.inference.store import Model, models_of

OLDER = "model.older"
"""Code of what is refused for its version alone."""
_KEPT = "Your conversations are unchanged."


@dataclass(frozen=True, slots=True)
class Rules:
    """What policy says of models, and what decides under it."""

    trust_roots: tuple[str, ...]
    approved: tuple[str, ...]
    system_high: str
    dominates: Callable[[str, str], bool]
    """Whether the first marking covers the second; raises MarkingError when one is none."""


@dataclass(frozen=True, slots=True)
class Found:
    """What lies in the models' folders: every manifest that may be used, and why the others may not."""

    models: tuple[Model, ...]
    refused: tuple[tuple[Path, ModelError], ...]
    older: tuple[tuple[Model, ModelError], ...] = ()
    """The models of those that were refused only because a newer version was here."""

    @property
    def by_digest(self) -> dict[str, Model]:
        """Of two folders with the same model the first has the word."""
        return {model.digest: model for model in reversed(self.models)}


def find(
    folders: tuple[Path, ...],
    trust_roots: tuple[str, ...],
    floors: Mapping[str, int],
    counts: Callable[[Model], bool],
) -> Found:
    """Read every manifest in the folders.

    A version that is older than the floor, or than another manifest of the same name here, is refused.

    Args:
        folders: where manifests (`*.toml` with `*.toml.sig`) and files lie.
        trust_roots: ML-DSA-87 public keys (PEM).
        floors: by manifest name, the highest version that was used here before.
        counts: a newer manifest takes an older one's place only when one of its models counts, because it
            can answer: an update must not leave a workstation without a model.
    """
    read: list[tuple[Path, Manifest]] = []
    refused: list[tuple[Path, ModelError]] = []
    for path in (path for folder in folders for path in manifests(folder)):
        try:
            read.append((path, read_manifest(path, trust_roots)))
        except ModelError as error:
            refused.append((path, error))
    least = dict(floors)
    for path, manifest in read:
        if any(counts(model) for model in models_of(manifest, path.parent)):
            least[manifest.name] = max(manifest.version, least.get(manifest.name, 0))
    models: list[Model] = []
    older: list[tuple[Model, ModelError]] = []
    for path, manifest in read:
        try:
            require_not_older(manifest, least.get(manifest.name, 0))
        except ModelError as error:
            refused.append((path, error))
            older += [(model, error) for model in models_of(manifest, path.parent)]
            continue
        models += models_of(manifest, path.parent)
    return Found(tuple(models), tuple(refused), tuple(older))


def manifests(folder: Path) -> list[Path]:
    """The manifests in a models folder and in the folders of imported models; no hidden ones."""
    found = [*folder.glob("*" + SUFFIX), *folder.glob("*/*" + SUFFIX)]
    hidden = [path for path in found if any(part.startswith(".") for part in path.relative_to(folder).parts)]
    return sorted(set(found) - set(hidden))


def require_not_older(manifest: Manifest, least: int) -> None:
    """Versions never go backwards.

    Raises:
        ModelError: the manifest's version is below.
    """
    if manifest.version < least:
        raise ModelError(
            f"The manifest of {manifest.title} has version {manifest.version}; version {least} was here "
            "before.",
            code=OLDER,
            kept="The older one is not used. " + _KEPT,
            todo="Ask your administrator for the current model package.",
        )


def approved_model(
    folders: tuple[Path, ...],
    trust_roots: tuple[str, ...],
    approved: tuple[str, ...],
    system_high: str,
    dominates: Callable[[str, str], bool],
    *,
    floors: Mapping[str, int] | None = None,
    rank: Callable[[str], int] = lambda _quantization: 0,
) -> Model:
    """The first approved model whose manifest checks and whose files are there, in the policy's order.

    Of several variants of that model that are approved and there, the one whose format this processor likes
    best; of equals, the one that stands first in the manifest: that order is the signer's.
    A manifest's `roles` are the template's, and say nothing about people: while GovDesk is not installed for
    several people, its owner has every role.

    Args:
        folders: where manifests and files lie; see `find`.
        trust_roots: ML-DSA-87 public keys (PEM).
        approved: SHA-384 digests, from policy.
        system_high: the workstation's highest marking: what may be said to the model.
        dominates: whether the first marking covers the second; raises MarkingError when one is none.
        floors: see `find`.
        rank: how well this processor likes a quantisation; 0 is best.

    Raises:
        ModelError: there is none; says what was missing.
    """
    found = find(
        folders,
        trust_roots,
        floors or {},
        lambda model: can_answer(model, approved, system_high, dominates),
    )
    here = found.by_digest
    candidates = [here[digest] for digest in approved if digest in here]
    low = [model for model in candidates if not covers(model, system_high, dominates)]
    fitting = [model for model in candidates if model not in low]
    whole = [model for model in fitting if not model.missing]
    if whole:
        variants = [model for model in whole if model.manifest == whole[0].manifest]
        return min(variants, key=lambda model: (rank(model.variant.quantization), model.number))
    if fitting:
        raise missing(fitting[0])
    if low:
        raise marked_too_low(low[0], system_high)
    raise ModelError(
        " ".join(["No model that the policy approves is installed.", *(e.what for _, e in found.refused)]),
        code="model.none-approved",
        kept=_KEPT,
        todo="Ask your administrator which model is approved here.",
    )


def draft_for(
    model: Model,
    found: Found,
    approved: tuple[str, ...],
    system_high: str,
    dominates: Callable[[str, str], bool],
) -> Model | None:
    """The model that a manifest names to draft for its own: admitted as any other model.

    Args:
        model: the one that answers.
        found: what lies in the folders.
        approved: SHA-384 digests, from policy.
        system_high: see `approved_model`.
        dominates: see `approved_model`.

    Returns:
        None when the manifest names none.

    Raises:
        ModelError: the one that is named may not be used, or is not here.
    """
    name = model.manifest.draft
    if not name:
        return None
    here = found.by_digest
    candidates = [
        here[digest] for digest in approved if digest in here and here[digest].manifest.name == name
    ]
    if not candidates:
        raise ModelError(
            f"The model {name}, which is to draft for {model.manifest.title}, is not here or not approved.",
            code="draft.none-approved",
            kept=_KEPT,
            todo="Ask your administrator to import and approve it; answers only come sooner with it.",
        )
    if not covers(candidates[0], system_high, dominates):
        raise marked_too_low(candidates[0], system_high)
    if candidates[0].missing:
        raise missing(candidates[0])
    return candidates[0]


def can_answer(
    model: Model, approved: tuple[str, ...], system_high: str, dominates: Callable[[str, str], bool]
) -> bool:
    """It is approved, may see what this workstation holds, and its files are there."""
    return model.digest in approved and not model.missing and covers(model, system_high, dominates)


def covers(model: Model, system_high: str, dominates: Callable[[str, str], bool]) -> bool:
    """Whether everything that this workstation may hold may be said to the model."""
    try:
        return dominates(model.manifest.highest_marking, system_high)
    except MarkingError:
        return False  # what is no marking covers nothing


def missing(model: Model) -> ModelError:
    """Its manifest is here, a file is not."""
    path = (*model.missing, model.path)[0]
    return ModelError(
        f"The model file {path.name} is missing from {path.parent}.",
        code="model.missing",
        kept=_KEPT,
        todo="Run the set-up again (`make run`)."
        if path.parent == config.MODELS
        else "Import the model package again (`govdesk model import`).",
    )


def marked_too_low(model: Model, system_high: str) -> ModelError:
    """It may not see what this workstation may hold."""
    manifest = model.manifest
    return ModelError(
        f"The model {manifest.title} may see up to {manifest.highest_marking}; this workstation holds up "
        f"to {system_high}.",
        code="model.marking",
        kept="It was not loaded. " + _KEPT,
        todo="Ask your administrator for a model that is approved for this workstation's markings.",
    )
