"""A session measures the model that it answered with and keeps that; it loads models as a person chose."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from govdesk.cli.doctor import _computing, _conversations
from govdesk.domain.frames import FromWorker, Generate, LoadModel, SetThreads, Tune
from govdesk.domain.record import Event
from govdesk.domain.turn import Ended, Sampling
from govdesk.inference import tuner as tuner_module
from govdesk.inference import tuning as tuning_module
from govdesk.inference.fit import QUALITY_NOTE
from govdesk.inference.tuning import Tunings
from govdesk.process.channel import Channel
from tests.processes import DirectBroker
from tests.unit.app.test_app_desk import Bench, Link

_PATIENCE_SECONDS = 90.0
"""On a machine that is busy with other tests; on a quiet one it takes some seconds."""


class Broker(Link, DirectBroker):
    """Starts real workers and notes what they are told."""

    def __init__(self) -> None:
        Link.__init__(self)
        DirectBroker.__init__(self)
        self.told: list[msgspec.Struct] = []

    def start_worker(self, gpu: str = "") -> Channel[FromWorker]:
        channel = super().start_worker(gpu)
        send = channel.send

        def noted(frame: msgspec.Struct, descriptors: tuple[int, ...] = ()) -> None:
            self.told.append(frame)
            send(frame, descriptors)

        channel.send = noted  # type: ignore[method-assign]
        return channel

    def orders(self) -> list[SetThreads]:
        return [frame for frame in self.told if isinstance(frame, SetThreads)]


@pytest.fixture
def busy_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tests run beside this one: what they use is not what is tested here."""
    monkeypatch.setattr(tuner_module, "QUIET_PERCENT", 10**6)
    monkeypatch.setattr(tuning_module, "QUIET_PERCENT", 10**6)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "home", Broker())
    yield made
    made.close()


def test_after_a_question_and_a_quiet_moment_the_tuning_is_kept_and_the_worker_told(
    bench: Bench, busy_is_quiet: None
) -> None:
    desk, broker = bench.with_profile(), bench.link
    assert isinstance(broker, Broker)
    unlocked = desk.unlock("a harbour seen from seven hills")
    (before,) = [check for check in _computing(desk) if check.id == "compute.tuning"]
    assert not before.ok and before.found.startswith("not measured yet")
    *_, ended = unlocked.chat.run_turn(None, "Name a river.", Sampling(max_tokens=4))
    assert isinstance(ended, Ended) and ended.text
    end = time.monotonic() + _PATIENCE_SECONDS
    while not broker.orders() and time.monotonic() < end:
        time.sleep(0.1)
    tunings: Tunings = desk._tunings
    kept = tunings.threads(desk.model().digest)
    assert kept is not None, f"{bench.profile.tuning} says nothing of the model"
    assert broker.orders() == [kept]
    kinds = [type(frame) for frame in broker.told]
    assert kinds.index(Generate) < kinds.index(Tune) < kinds.index(SetThreads)
    (after,) = [check for check in _computing(desk) if check.id == "compute.tuning"]
    assert after.ok and f"{kept.threads} threads to answer" in after.found
    desk._inference.stop()
    desk.model()
    assert broker.orders() == [kept, kept]


def test_conversations_are_kept_in_half_the_memory_where_that_was_chosen_and_it_is_on_record(
    bench: Bench,
) -> None:
    desk, broker = bench.started(), bench.link
    assert isinstance(broker, Broker)
    desk.model()
    desk.models.halve_context(halve=True)
    assert desk._inference.held is not None and desk._inference.held.order.kv == "f16", "not before the next"
    desk._inference.stop()
    desk.model()
    orders = [frame.kv for frame in broker.told if isinstance(frame, LoadModel)]
    assert orders == ["f16", "q8_0"]
    assert [record.fields["kv"] for record in bench.records(Event.MODEL_LOAD)] == orders
    (check,) = [_conversations(desk)]
    assert check.ok and check.found.startswith("memory: halved. ") and QUALITY_NOTE in check.found
