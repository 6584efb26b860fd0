"""The models of one workstation: which are here, in which state, what may come and what may go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from govdesk.domain.models import (
    Checked,
    ModelDetails,
    ModelLine,
    ModelList,
    ModelState,
    RefusedLine,
    Watch,
    Which,
)
from govdesk.errors import MarkingError, ModelError
from govdesk.inference import catalogue, checking, formats, installed, naming, staging
from govdesk.inference.catalogue import Rules
from govdesk.inference.floors import Floors
from govdesk.inference.gguf import GgufFacts
from govdesk.inference.installed import Installed
from govdesk.inference.manifest import Manifest, Variant
from govdesk.inference.media import Package
from govdesk.inference.showing import Showing, facts_of
from govdesk.inference.store import Model, models_of

_KEPT = "Nothing was imported. Your conversations are unchanged."


class Shelf:
    """Reads and changes the models' folders; records nothing (`govdesk.app.models` does).

    Args:
        shipped: the folder that came with GovDesk.
        own: the profile's models.
        rules: what policy says.
        cpu: what the processor has.
        fit: whether a model fits this machine, in words.
    """

    def __init__(
        self,
        shipped: Path,
        own: Path,
        rules: Rules,
        cpu: formats.Cpu,
        fit: Callable[[Model, GgufFacts], str] | None = None,
    ) -> None:
        self._shipped = shipped
        self.own = own
        self._rules = rules
        self._cpu = cpu
        self._fit = fit
        self.floors = Floors(own)

    def choose(self) -> Model:
        """The model that answers; its version is remembered.

        Raises:
            ModelError: there is none.
        """
        model = self._choose()
        self.floors.raise_to(model.manifest.name, model.manifest.version)
        return model

    def models(self, loaded: str = "") -> ModelList:
        """Everything that lies there.

        Args:
            loaded: digest of the model that is loaded in this session, or empty.
        """
        found = self._found()
        showing = self._showing(loaded)
        here = [*((model, "") for model in found.models), *((model, e.what) for model, e in found.older)]
        return ModelList(
            models=tuple(showing.line(model, why) for model, why in here),
            refused=tuple(
                RefusedLine(str(path), e.code, e.what)
                for path, e in found.refused
                if e.code != catalogue.OLDER
            ),
            fast=formats.fast_formats(self._cpu),
        )

    def model_details(self, which: Which, quantization: str = "", loaded: str = "") -> ModelDetails:
        """One of them: of several variants the one that answers, else one that is here.

        Args:
            which: which version.
            quantization: which variant; empty: see above.
            loaded: see `models`.

        Raises:
            UsageError: there is none, or several versions and none is named.
        """
        chosen = self._chosen()
        model = min(self.find(which, quantization), key=lambda m: (m != chosen, bool(m.missing)))
        older = next((error.what for other, error in self._found().older if other == model), "")
        return self._showing(loaded).details(model, older)

    def facts_of_chosen(self) -> GgufFacts | None:
        """What the files of the model that answers hold; None when there is none, or they are damaged."""
        chosen = self._chosen()
        return facts_of(chosen)[0] if chosen is not None else None

    def find(self, which: Which, quantization: str = "") -> tuple[Model, ...]:
        """The variants of one version, the imported before the shipped.

        Raises:
            UsageError: there is none, or several versions and none is named.
        """

        def fits(model: Model) -> bool:
            return (
                model.manifest.name == which.name
                and which.imported in {None, self.is_imported(model)}
                and quantization in {"", model.variant.quantization}
            )

        found = self._found()
        usable = [model for model in found.models if fits(model)]
        older = [model for model, _ in found.older if fits(model)]
        models = naming.meant(which, usable, older, quantization)
        return tuple(sorted(models, key=lambda model: not self.is_imported(model)))

    def is_imported(self, model: Model) -> bool:
        """It lies in the profile."""
        return self.own in model.path.parents

    def importable(self, package: Package, quantization: str = "") -> tuple[Variant, ...]:
        """Which variants of a package to copy: those whose files are on the medium.

        Raises:
            ModelError: its version is too old, its marking is none, or no variant is whole.
        """
        manifest = package.manifest
        least = self.floors.read().get(manifest.name, 0)
        rivals = [model for model in self._found().models if model.manifest.name == manifest.name]
        versions = [model.manifest.version for model in rivals if self._counts(model)]
        catalogue.require_not_older(manifest, max(least, *versions, 0))
        self._require_marking(manifest)
        whole = tuple(
            variant
            for variant in manifest.variants
            if variant.quantization in {quantization or variant.quantization}
            and all(package.holds(part) for part in variant.files)
        )
        if not whole:
            parts = [part for variant in manifest.variants for part in variant.files]
            lacking = ", ".join([part.file for part in parts if not package.holds(part)][:10])
            raise ModelError(
                f"No variant of {manifest.title} is whole on the medium; "
                f"missing: {lacking or 'one in ' + quantization}.",
                code="model.missing",
                kept=_KEPT,
                todo="Ask whoever gave you the model for the whole package.",
            )
        return whole

    def is_approved(self, variant: Variant) -> bool:
        """Policy names its digest."""
        return variant.digest in self._rules.approved

    def accept(self, manifest: Manifest) -> tuple[int, ...]:
        """After an import: a version that can answer is the oldest that is taken from now on.

        Older imported versions of it go. One that policy approves and that may not see what this workstation
        holds takes nothing's place.

        Returns:
            The versions that were removed.
        """
        here = [
            one.folder
            for one in installed.versions(self.own, manifest.name)
            if one.version == manifest.version
        ]
        if not any(self._counts(model) for folder in here for model in models_of(manifest, folder)):
            return ()
        self.floors.raise_to(manifest.name, manifest.version)
        gone = []
        for one in installed.versions(self.own, manifest.name):
            if one.version < manifest.version:
                staging.remove_folder(one.folder)
                gone.append(one.version)
        return tuple(gone)

    def verify(self, which: Which, watch: Watch, stopped: Callable[[], bool]) -> Checked:
        """Read every file of a version's variants that are here, and compare.

        Of a variant that was not imported nothing is missing. Where there is no file at all, all are.

        Raises:
            UsageError: there is none, or several versions and none is named.
            ImportStopped: it was stopped.
        """
        models = self.find(which)
        manifest = models[0].manifest
        here = tuple(m for m in models if len(m.missing) < len(m.paths)) or models[:1]
        formats_here = {model.variant.quantization for model in here}
        return Checked(
            name=manifest.name,
            version=manifest.version,
            title=manifest.title,
            files=checking.check(here, watch, stopped),
            not_imported=tuple(
                variant.quantization
                for variant in manifest.variants
                if variant.quantization not in formats_here
            ),
        )

    def lines(self, name: str, version: int, loaded: str = "") -> tuple[ModelLine, ...]:
        """The imported variants of one version, as the list shows them."""
        here = self.models(loaded).models
        return tuple(
            line
            for line in here
            if (line.name, line.version, line.imported) == (name, version, True)
            and line.state is not ModelState.MISSING
        )

    def removable(self, which: Which, in_use: str) -> Installed:
        """The imported version that may be removed, whether it is used here or not.

        Args:
            which: a version must be named where several are imported.
            in_use: digest of the one that is loaded, or empty.

        Raises:
            UsageError: there is none, or several and none is named.
            ModelError: it is in use, or came with GovDesk.
        """
        here = installed.versions(self.own, which.name)
        meant = [one for one in here if which.imported is not False and which.version in {None, one.version}]
        if not meant:
            raise self._not_removable(self.find(which)[0])
        naming.require_one(which.name, (one.version for one in meant))
        version = meant[0].version
        if in_use and any(model.digest == in_use for model in self._models_in(meant[0].folder)):
            raise ModelError(
                f"Version {version} of the model {which.name} is in use in this session.",
                code="model.in-use",
                kept="It was not removed.",
                todo=f"Close GovDesk, then type `govdesk model remove {which.name} --version {version}`.",
            )
        return meant[0]

    def digest_in(self, one: Installed) -> str:
        """What the record of a removal names: the first variant whose files are there; empty for none."""
        models = self._models_in(one.folder)
        return next((model.digest for model in models if not model.missing), "")

    def _models_in(self, folder: Path) -> list[Model]:
        found = self._found()
        models = (*found.models, *(model for model, _ in found.older))
        return [model for model in models if model.path.parent == folder]

    def _not_removable(self, model: Model) -> ModelError:
        manifest = model.manifest
        if self.is_imported(model):
            return ModelError(
                f"The model {manifest.title}, version {manifest.version}, lies in {model.path.parent}, which "
                "no import made.",
                code="model.place",
                kept="It is unchanged.",
                todo="Whoever put it there can remove its files.",
            )
        return ModelError(
            f"The model {manifest.title}, version {manifest.version}, came with GovDesk and is not removed.",
            code="model.shipped",
            kept="It is unchanged.",
            todo="Remove it with the installation.",
        )

    def draft_for(self, model: Model) -> Model | None:
        """The approved model that drafts for another; see `catalogue.draft_for`."""
        rules = self._rules
        return catalogue.draft_for(model, self._found(), rules.approved, rules.system_high, rules.dominates)

    @property
    def _folders(self) -> tuple[Path, ...]:
        return (self._shipped, self.own)

    def _found(self) -> catalogue.Found:
        return catalogue.find(self._folders, self._rules.trust_roots, self.floors.read(), self._counts)

    def _counts(self, model: Model) -> bool:
        return catalogue.can_answer(
            model, self._rules.approved, self._rules.system_high, self._rules.dominates
        )

    def _showing(self, loaded: str) -> Showing:
        return Showing(self._rules, self._cpu, self._fit, self.is_imported, self._chosen(), loaded)

    def _choose(self) -> Model:
        rules = self._rules
        return catalogue.approved_model(
            self._folders,
            rules.trust_roots,
            rules.approved,
            rules.system_high,
            rules.dominates,
            floors=self.floors.read(),
            rank=self._rank,
        )

    def _chosen(self) -> Model | None:
        try:
            return self._choose()
        except ModelError:
            return None

    def _rank(self, quantization: str) -> int:
        return formats.speed(quantization, self._cpu).rank

    def _require_marking(self, manifest: Manifest) -> None:
        try:
            self._rules.dominates(manifest.highest_marking, "UNCLASSIFIED")
        except MarkingError as error:
            raise ModelError(
                f"The manifest of {manifest.title} names a highest marking that is none.",
                code="model.marking",
                kept=_KEPT,
                todo="Ask whoever signed it for a corrected one.",
            ) from error
