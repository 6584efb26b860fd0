"""The models of a session: what copies, reads whole or removes them is on record before and after."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from govdesk import config
from govdesk.app.preferences import Preferences
from govdesk.app.rules import POLICY_FOLDER, covers
from govdesk.chat.ports import AuditLog
from govdesk.chat.recording import recorded
from govdesk.config import Profile
from govdesk.domain.models import (
    Checked,
    ContextMemory,
    Imported,
    ModelDetails,
    ModelList,
    Place,
    Removed,
    Watch,
    Which,
)
from govdesk.domain.policy import PolicyInForce
from govdesk.domain.record import Entry, Event
from govdesk.errors import AuditClosedError, GovDeskError, UsageError
from govdesk.inference import fit, formats, importing, installed, media, plan, processor
from govdesk.inference.catalogue import Rules
from govdesk.inference.gguf import GgufFacts
from govdesk.inference.manifest import Variant
from govdesk.inference.media import Package
from govdesk.inference.shelf import Shelf
from govdesk.inference.store import Model
from govdesk.inference.tuning import Tunings
from govdesk.inference.worker_line import LoadedModel
from govdesk.policy.loader import trust_roots

Fields = dict[str, str | bool | int | dict[str, int] | None]


def shelf(
    profile: Profile, policy: PolicyInForce, held: Callable[[], LoadedModel | None] = lambda: None
) -> Shelf:
    """The models of a profile under a policy.

    Args:
        profile: where they are.
        policy: in force.
        held: the model that is loaded in this session, if one is.
    """
    tunings = Tunings(profile.tuning, processor.read())
    return Shelf(
        config.MODELS,
        profile.models,
        Rules(
            trust_roots(POLICY_FOLDER / "trust"),
            policy.policy.models.approved,
            policy.policy.system_high,
            covers,
        ),
        formats.this_cpu(),
        fit=lambda model, facts: _fit(model, facts, tunings, held()),
    )


def _fit(model: Model, facts: GgufFacts, tunings: Tunings, held: LoadedModel | None) -> str:
    """Whether it fits, as it would be loaded now, and how fast it will be by what was measured here."""
    reading = tunings.bytes_per_second(fit.work_per_token(facts))
    here = plan.machine(0, reading)
    if held is not None and held.info.digest == model.digest:
        return fit.loaded(facts, plan.loaded_as(held.order), here).words
    if held is not None and not held.order.devices:  # what a card holds is none of this memory
        goes = fit.memory(held.facts, plan.loaded_as(held.order), here.repacked).loaded
        here = plan.machine(goes, reading)
    return plan.judge(facts, model.manifest.context_tokens, here).words


class RecordedModels:
    """Implements `domain.models.Models`.

    Args:
        shelf: does the work.
        audit: the log.
        policy: in force.
        in_use: digest of the loaded model, or empty.
        preferences: this person's.
    """

    def __init__(
        self,
        shelf: Shelf,
        audit: AuditLog,
        policy: PolicyInForce,
        in_use: Callable[[], str],
        preferences: Preferences,
    ) -> None:
        self._shelf = shelf
        self._preferences = preferences
        self._audit = audit
        self._policy = policy
        self._in_use = in_use
        self._trust_roots = trust_roots(POLICY_FOLDER / "trust")

    def models(self) -> ModelList:
        """What is here, in which state."""
        return self._shelf.models(self._in_use())

    def model_details(self, which: Which, quantization: str = "") -> ModelDetails:
        """One of them."""
        return self._shelf.model_details(which, quantization, self._in_use())

    def look_into(self, place: str) -> Place:
        """The names in a folder; no record: nothing is read."""
        return media.look_into(place)

    def import_model(
        self, place: str, watch: Watch, stopped: Callable[[], bool], quantization: str = ""
    ) -> Imported:
        """Copy a model from a medium; on record even when it is refused at its manifest."""
        with contextlib.ExitStack() as stack:
            with self._refusals("import", ""):
                package = stack.enter_context(Package(Path(place), self._trust_roots))
            manifest = package.manifest
            with self._refusals("import", manifest.name):
                variants = self._shelf.importable(package, quantization)
            fields: Fields = {
                "version": manifest.version,
                "bytes": sum(variant.bytes for variant in variants),
                "variants": len(variants),
                "approved": any(self._shelf.is_approved(variant) for variant in variants),
                **self._digests(variants),
            }
            entry = self._entry(Event.MODEL_IMPORT, manifest.name, fields, variants[0].digest)
            with recorded(self._audit, entry):
                copied = importing.import_package(package, self._shelf.own, variants, watch, stopped)
                gone = self._shelf.accept(manifest)
        return Imported(
            name=manifest.name,
            version=manifest.version,
            title=manifest.title,
            lines=self._shelf.lines(manifest.name, manifest.version, self._in_use()),
            copied_bytes=copied,
            removed_versions=gone,
        )

    def verify_model(self, which: Which, watch: Watch, stopped: Callable[[], bool]) -> Checked:
        """Read every file of a model and compare it with what was signed; a wrong one fails on record."""
        model = self._shelf.find(which)[0]
        which = replace(which, version=model.manifest.version)
        entry = self._entry(Event.MODEL_VERIFY, which.name, {"version": model.manifest.version}, model.digest)
        with recorded(self._audit, entry) as record:
            checked = self._shelf.verify(which, watch, stopped)
            record.fields = {"files": len(checked.files), "unsound": checked.unsound}
            record.code = "model.digest" if checked.unsound else ""
        return checked

    def context_memory(self) -> ContextMemory:
        """What this person chose for the memory of conversations."""
        facts = self._shelf.facts_of_chosen()
        possible = facts is not None and fit.kv_possible(facts, "q8_0")
        return ContextMemory(self._preferences.choices.halve_context, possible, fit.QUALITY_NOTE)

    def halve_context(self, *, halve: bool) -> ContextMemory:
        """Choose it; how a model was loaded is on record with its loading."""
        self._preferences.halve_context(halve=halve)
        return self.context_memory()

    def remove_model(self, which: Which) -> Removed:
        """Remove an imported version of a model."""
        with self._refusals("remove", which.name):
            one = self._shelf.removable(which, self._in_use())
        entry = self._entry(
            Event.MODEL_REMOVE, one.name, {"version": one.version}, self._shelf.digest_in(one)
        )
        with recorded(self._audit, entry):
            size = installed.remove(one)
        return Removed(
            name=one.name,
            version=one.version,
            size_bytes=size,
            stays="Conversations that it answered stay. Its version is remembered: an older one "
            "is not taken.",
        )

    def _digests(self, variants: tuple[Variant, ...]) -> Fields:
        """Each variant's digest, numbered, and whether policy approves it: 1 or 0 by the same number."""
        numbered = {str(number): variant for number, variant in enumerate(variants, 1)}
        digests: Fields = {f"digest.{number}": variant.digest for number, variant in numbered.items()}
        approved = {number: int(self._shelf.is_approved(variant)) for number, variant in numbered.items()}
        return {**digests, "approved_digests": approved}

    @contextlib.contextmanager
    def _refusals(self, action: str, name: str) -> Iterator[None]:
        """What is refused before its own record begins has one of its own; a name that is none is not."""
        try:
            yield
        except UsageError:
            raise
        except GovDeskError as error:
            fields: Fields = {"action": action, "code": error.code}
            with contextlib.suppress(AuditClosedError):
                self._audit.append(self._entry(Event.MODEL_REFUSE, name, fields, "", "failure"))
            raise

    def _entry(self, event: Event, name: str, fields: Fields, digest: str, outcome: str = "intent") -> Entry:
        return Entry(
            event=event,
            outcome=outcome,
            object=name,
            marking=self._policy.policy.system_high,
            policy=self._policy.stamp,
            model=digest,
            fields=fields,
        )
