"""One model as people see it: its state, whether it answers, what its file says of itself."""

from __future__ import annotations

import os
from collections.abc import Callable

from govdesk import crypto
from govdesk.domain.models import Answers, ModelDetails, ModelLine, ModelState
from govdesk.errors import ModelError
from govdesk.inference import catalogue, formats, importing
from govdesk.inference.catalogue import Rules
from govdesk.inference.gguf import GgufFacts
from govdesk.inference.media import read_signed
from govdesk.inference.store import Model, open_regular


class Showing:
    """What is said of the models that lie here.

    Args:
        rules: what policy says.
        cpu: what the processor has.
        fit: whether a model fits this machine, in words.
        is_imported: whether it lies in the profile.
        chosen: the model that answers next.
        loaded: digest of the one that is loaded in this session, or empty.
    """

    def __init__(
        self,
        rules: Rules,
        cpu: formats.Cpu,
        fit: Callable[[Model, GgufFacts], str] | None,
        is_imported: Callable[[Model], bool],
        chosen: Model | None,
        loaded: str,
    ) -> None:
        self._rules = rules
        self._cpu = cpu
        self._fit = fit
        self._is_imported = is_imported
        self._chosen = chosen
        self._loaded = loaded

    def line(self, model: Model, older: str = "") -> ModelLine:
        """It in one format; `older` says why it is too old, where it is."""
        manifest, variant = model.manifest, model.variant
        state, why = (ModelState.OLDER, older) if older else self._state(model)
        facts, _ = facts_of(model) if self._fit and not model.missing else (None, "")
        return ModelLine(
            name=manifest.name,
            version=manifest.version,
            title=manifest.title,
            quantization=variant.quantization,
            digest=model.digest,
            size_bytes=variant.bytes,
            state=state,
            why=why,
            format_words=formats.speed(variant.quantization, self._cpu).value,
            fit_words=self._fit(model, facts) if self._fit and facts else "",
            imported=self._is_imported(model),
            chosen=model == self._chosen,
            answers=self._answers(model),
            highest_marking=manifest.highest_marking,
            license=manifest.license,
            license_text=manifest.license_text,
            provenance=manifest.provenance,
            architecture=manifest.architecture,
            context_tokens=manifest.context_tokens,
            roles=manifest.roles,
            files=tuple(str(path) for path in model.paths),
            draft=manifest.draft,
        )

    def details(self, model: Model, older: str = "") -> ModelDetails:
        """It looked at closely.

        Raises:
            ModelError: its manifest went away meanwhile.
        """
        facts, problem = (None, "") if model.missing else facts_of(model)
        template = facts.chat_template if facts else None
        return ModelDetails(
            line=self.line(model, older),
            signer=self._signer(model),
            manifest_template=model.manifest.template or None,
            untrusted_file_template=template,
            template_as_signed=_as_signed(model, facts),
            file_problem=problem,
            file_facts=_said(facts),
        )

    def _answers(self, model: Model) -> Answers:
        chosen = self._chosen
        if model == chosen:
            return Answers.NOW if self._loaded in {"", model.digest} else Answers.NEXT
        if model.digest == self._loaded and (chosen is None or chosen.digest != self._loaded):
            return Answers.STILL
        return Answers.NO

    def _state(self, model: Model) -> tuple[ModelState, str]:
        """The first thing that is in its way. Its bytes are looked at when it loads, or by `verify`."""
        if model.missing:
            return ModelState.MISSING, catalogue.missing(model).what
        for path, part in zip(model.paths, model.variant.files, strict=True):
            try:
                os.close(open_regular(path, part))
            except ModelError as error:
                return ModelState.DAMAGED, error.what
        if model.digest not in self._rules.approved:
            return ModelState.NOT_APPROVED, "Which models may answer here is set by your organisation."
        if not catalogue.covers(model, self._rules.system_high, self._rules.dominates):
            return ModelState.MARKING, catalogue.marked_too_low(model, self._rules.system_high).what
        return ModelState.READY, ""

    def _signer(self, model: Model) -> str:
        folder = model.path.parent
        for path in catalogue.manifests(folder):
            try:
                signed = read_signed(path, None, self._rules.trust_roots)
            except ModelError:
                continue
            if path.parent == folder and signed.manifest == model.manifest:
                return signed.signer
        raise catalogue.missing(model)  # it was there a moment ago


def facts_of(model: Model) -> tuple[GgufFacts | None, str]:
    try:
        return importing.facts(model.paths), ""
    except ModelError as error:
        return None, error.what


def _as_signed(model: Model, facts: GgufFacts | None) -> bool | None:
    """Whether the template that is used has the hash that the manifest names; None: nobody could look.

    The manifest's own was compared when the manifest was read.
    """
    if model.manifest.template:
        return True
    if facts is None:
        return None
    used = crypto.sha384(facts.chat_template.encode()).hex() if facts.chat_template else ""
    return used == model.manifest.template_sha384


def _said(facts: GgufFacts | None) -> tuple[tuple[str, str], ...]:
    if facts is None:
        return ()
    return (
        ("architecture", facts.architecture),
        ("calls itself", facts.name),
        ("weights mostly", facts.quantization),
        ("parameters", f"{facts.parameters:,}"),
        ("context", f"{facts.context_tokens:,} tokens"),
        ("vocabulary", f"{facts.vocabulary:,} tokens, {facts.tokenizer}"),
    )
