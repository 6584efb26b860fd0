"""A real worker on the real Vulkan backend, behind its walls; on Mesa's software device where there is no card."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from govdesk.domain.frames import Device, Devices, GpuBackend, ListDevices, WorkerHello
from govdesk.domain.ids import RecordSeq, TurnId
from govdesk.domain.policy import GpuRule
from govdesk.domain.record import Entry, Event
from govdesk.domain.turn import Role, Sampling
from govdesk.inference import graphics_words, patience, placement
from govdesk.inference.graphics import Graphics
from govdesk.inference.graphics_look import Look, look
from govdesk.inference.placement import Placement, Share, Sizes
from govdesk.inference.supervisor import Supervisor
from govdesk.sandbox import selftest
from tests.integration import test_worker
from tests.processes import DirectBroker

_SOFTWARE = sorted(Path("/usr/share/vulkan/icd.d").glob("lvp_icd*.json"))
_HERE = look("vulkan")

pytestmark = [
    pytest.mark.skipif(not _HERE.installed, reason="Vulkan's backend is not here: `make backends` makes it"),
    pytest.mark.skipif(not _SOFTWARE, reason="Mesa's software device is not here (mesa-vulkan-drivers)"),
]
EXACT = Sampling(max_tokens=8, temperature=0.0, top_k=1, seed=1)


def software(backend: GpuBackend) -> Look:
    """As if the software device were a card: it has no device node, and needs none."""
    node = (Path("/dev/null"),)
    return Look(backend, backend == "vulkan", node, node, _HERE.driver, "test")


@pytest.fixture
def broker() -> Iterator[DirectBroker]:
    """The library leaves software devices out unless one is named by number."""
    broker = DirectBroker()
    broker.environment = {
        "GGML_VK_VISIBLE_DEVICES": "0",
        "VK_ICD_FILENAMES": str(_SOFTWARE[0]),
    }
    yield broker
    broker.stop_worker()


def test_the_software_device_computes_behind_the_walls(broker: DirectBroker) -> None:
    channel = broker.start_worker("vulkan")
    hello = channel.receive(60)
    assert hello is not None
    assert isinstance(hello[0], WorkerHello)
    selftest.require_closed(hello[0].probes)
    assert {probe.channel for probe in hello[0].probes} == selftest.EVERY, "every channel, as for any worker"
    channel.send(ListDevices(compute=True))
    answer = channel.receive(120)
    assert answer is not None, broker.worker_end(5)
    assert isinstance(answer[0], Devices)
    assert [device.backend for device in answer[0].devices] == ["Vulkan"], answer[0]
    assert answer[0].devices[0].memory_bytes >= answer[0].devices[0].free_bytes > 0
    channel.close()


def test_a_whole_model_answers_from_the_device(broker: DirectBroker, tmp_path: Path) -> None:
    records = []

    def record(entry):
        records.append(entry)
        return len(records)

    graphics = Graphics(GpuRule.VULKAN, tmp_path / "graphics.json", software)
    supervisor = Supervisor(broker, test_worker._model, record, selftest.require_closed, graphics=graphics)
    history = ((Role.USER, "Say hello."),)
    try:
        pieces = list(supervisor.answer(TurnId("t"), history, EXACT))
        assert graphics.used is not None, graphics.statuses
        assert any(getattr(piece, "untrusted_text", "").strip() for piece in pieces)
        placed = graphics.used.placement
        assert placed is not None
        assert placed.placed == placed.layers
        assert graphics_words.runs_on(graphics).endswith(f"({placed.layers} of {placed.layers} layers)")
    finally:
        supervisor.stop()
    loads = [entry.fields for entry in records if entry.event is Event.MODEL_LOAD]
    assert loads[-1]["layers"] == {"Vulkan0": placed.layers + 1}


def test_a_model_split_over_two_devices_answers_as_on_one(
    broker: DirectBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The software device twice: the library takes it for two, each with layers of its own."""
    broker.environment["GGML_VK_VISIBLE_DEVICES"] = "0,0"
    monkeypatch.setattr(patience, "SILENCE_SECONDS", 500.0)  # software, and twice: no hang is looked for here
    history = ((Role.USER, "Say hello."),)

    def halves(needs: Sizes, found: Sequence[Device]) -> Placement:
        first, second = found
        layers = len(needs.layers)
        return Placement((Share(first, 12), Share(second, layers + 1 - 12)), layers, needs.total)

    def answer(split: bool) -> tuple[str, dict[str, int]]:
        graphics, records = Graphics(GpuRule.VULKAN, tmp_path / "graphics.json", software), []

        def record(entry: Entry) -> RecordSeq:
            records.append(entry)
            return RecordSeq(len(records))

        supervisor = Supervisor(
            broker, test_worker._model, record, selftest.require_closed, graphics=graphics
        )
        with monkeypatch.context() as patched:
            if split:
                patched.setattr(placement, "place", halves)
            try:
                pieces = list(supervisor.answer(TurnId("t"), history, EXACT))
            finally:
                supervisor.stop()
        layers = [entry.fields for entry in records if entry.event is Event.MODEL_LOAD][-1]["layers"]
        return "".join(getattr(piece, "untrusted_text", "") for piece in pieces), layers

    text, layers = answer(split=True)
    assert layers == {"Vulkan0": 12, "Vulkan1": 19}
    whole, layers = answer(split=False)
    assert list(layers.values()) == [31], "what fits one device is not split"
    assert whole == text
    assert text.strip()


def test_a_worker_without_the_backend_in_its_order_has_no_device(broker: DirectBroker) -> None:
    channel = broker.start_worker()
    assert channel.receive(60) is not None
    channel.send(ListDevices())
    assert channel.receive(60) is None, "the question breaks the rules, and ends it"
    channel.close()
