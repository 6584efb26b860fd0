"""A second real model, of another family and without a chat template, takes the same way and ends in words.

Gemma 3 270M is a base model under terms of its own: `make gemma` obtains it, for these tests only.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from govdesk import config
from govdesk.app.rules import covers
from govdesk.domain.ids import RecordSeq, TurnId
from govdesk.domain.inference import Piece
from govdesk.domain.record import Entry, Event
from govdesk.domain.turn import Role, Sampling
from govdesk.errors import ModelError, WorkerError
from govdesk.inference import catalogue, store
from govdesk.inference.manifest import read_manifest
from govdesk.inference.supervisor import Supervisor
from govdesk.sandbox import selftest
from tests.conftest import CHECKOUT
from tests.processes import DirectBroker

GEMMA = CHECKOUT / "models" / "gemma-3-270m.gguf"
ONE = Sampling(max_tokens=1, temperature=0.0)
pytestmark = pytest.mark.skipif(
    not GEMMA.exists(), reason="needs the second model: `make gemma` obtains it, under Gemma's own terms"
)


def _trust() -> tuple[str, ...]:
    return ((config.RESOURCES / "policy" / "trust" / "development-signing.pem").read_text(),)


def _approved(name: str) -> store.Model:
    manifest = read_manifest(config.MODELS / f"{name}.toml", _trust())
    return catalogue.approved_model(
        (config.MODELS,), _trust(), (manifest.variants[0].digest,), "UNCLASSIFIED", covers
    )


class Line:
    """A supervisor over a real worker, for the model that is chosen now."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.records: list[Entry] = []
        self.broker = DirectBroker()
        self.supervisor = Supervisor(
            self.broker, lambda: _approved(self.name), self.record, selftest.require_closed
        )

    def record(self, entry: Entry) -> RecordSeq:
        self.records.append(entry)
        return RecordSeq(len(self.records))

    def ask(self) -> list[object]:
        return list(self.supervisor.answer(TurnId("t"), ((Role.USER, "Hello."),), ONE))


def test_approval_by_digest_chooses_between_two_installed_models() -> None:
    assert _approved("gemma-3-270m").path == GEMMA
    assert _approved("smollm2-135m-instruct").path != GEMMA


def test_it_is_admitted_as_the_bytes_that_were_signed() -> None:
    model = _approved("gemma-3-270m")
    (descriptor,) = store.open_verified(model).descriptors
    try:
        assert os.fstat(descriptor).st_size == model.variant.bytes == GEMMA.stat().st_size
        with pytest.raises(PermissionError):
            os.pwrite(descriptor, b"x", 0)
    finally:
        os.close(descriptor)


def test_under_the_other_models_name_it_is_refused(tmp_path: Path) -> None:
    manifest = _approved("smollm2-135m-instruct").manifest
    file = tmp_path / manifest.variants[0].files[0].file
    shutil.copyfile(GEMMA, file)
    with pytest.raises(ModelError) as caught:
        store.open_verified(store.Model(manifest, file))
    assert caught.value.code == "model.size"


def test_a_base_model_without_a_chat_template_is_explained_and_the_next_model_works() -> None:
    line = Line("gemma-3-270m")
    try:
        with pytest.raises((ModelError, WorkerError)) as caught:
            line.ask()
        assert caught.value.code == "template.missing"
        assert "has no chat template" in caught.value.explain()
        assert [entry.event for entry in line.records].count(Event.MODEL_LOAD) == 1
        line.name = "smollm2-135m-instruct"
        assert any(isinstance(event, Piece) for event in line.ask())
    finally:
        line.supervisor.stop()
