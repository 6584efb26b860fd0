"""A model that was imported is loaded by the real worker, with the manifest's own template where it has one."""

from __future__ import annotations

from pathlib import Path

import pytest

from govdesk import crypto
from govdesk.domain.ids import RecordSeq, TurnId
from govdesk.domain.inference import Stopped
from govdesk.domain.record import Entry, Event
from govdesk.domain.turn import Role, Sampling
from govdesk.inference.importing import import_package
from govdesk.inference.media import Package
from govdesk.inference.supervisor import Supervisor
from govdesk.sandbox import selftest
from tests.packages import PUBLIC, Medium, one, shelf, split
from tests.processes import DirectBroker

OWN = "{% for message in messages %}<|im_start|>{{ message['content'] }}<|im_end|>{% endfor %}"


@pytest.mark.parametrize(
    ("files", "template"),
    [(one(), ""), (one(), OWN), (split(3), "")],
    ids=["its own", "the manifest's", "split"],
)
def test_from_the_medium_to_an_answer(tmp_path: Path, files: tuple[bytes, ...], template: str) -> None:
    medium = Medium(tmp_path / "medium", {"F16": files})
    if template:
        medium.template, medium.template_sha384 = template, crypto.sha384(template.encode()).hex()
    medium.write()
    here = shelf(tmp_path / "models", medium.digest())
    with Package(medium.folder, (PUBLIC,)) as package:
        variants = here.importable(package)
        import_package(package, here.own, variants, lambda _: None, lambda: False)
        here.accept(package.manifest)
    entries: list[Entry] = []

    def record(entry: Entry) -> RecordSeq:
        entries.append(entry)
        return RecordSeq(len(entries))

    supervisor = Supervisor(DirectBroker(), here.choose, record, selftest.require_closed)
    try:
        asked = ((Role.USER, "Hello."),)
        events = list(supervisor.answer(TurnId("t"), asked, Sampling(max_tokens=4, temperature=0.0)))
        assert isinstance(events[-1], Stopped)
        loaded = supervisor.model_loaded()
        assert loaded is not None and loaded.digest == medium.digest()
        loads = [entry for entry in entries if entry.event is Event.MODEL_LOAD]
        assert [(entry.outcome, entry.model) for entry in loads] == [("success", medium.digest())]
    finally:
        supervisor.stop()
