"""The session's end of the broker's channel: what tells never waits behind what asks."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from govdesk.domain.frames import (
    AuditEnded,
    FromBroker,
    LockNow,
    Quit,
    Raise,
    StartWorker,
    StopWorker,
    ToBroker,
    Welcome,
    WorkerEnded,
    WorkerStarted,
)
from govdesk.errors import AuditClosedError, BugError, WorkerError
from govdesk.process import link as module
from govdesk.process.channel import Channel, pair
from govdesk.process.link import BrokerLink


class Line:
    """A link, and the broker's end of it in the test's hands."""

    def __init__(self) -> None:
        ours, theirs = pair()
        channel: Channel[FromBroker] = Channel(ours, FromBroker)
        self.link = BrokerLink(channel)
        self.broker: Channel[ToBroker] = Channel(theirs, ToBroker)

    def told(self) -> ToBroker:
        received = self.broker.receive(10)
        assert received is not None
        return received[0]

    def close(self) -> None:
        self.link._channel.close()
        self.broker.close()


@pytest.fixture
def line() -> Iterator[Line]:
    line = Line()
    yield line
    line.close()


def test_the_welcome_brings_the_writers_channel(line: Line) -> None:
    memory = os.memfd_create("test")
    line.broker.send(Welcome(audit=True), (memory,))
    welcome, descriptor = line.link.welcome()
    assert welcome == Welcome(audit=True)
    assert descriptor is not None
    os.close(descriptor)
    os.close(memory)


def test_anything_else_first_is_a_bug(line: Line) -> None:
    line.broker.send(Raise())
    with pytest.raises(BugError):
        line.link.welcome()


def test_a_worker_comes_with_its_channel_and_old_ends_are_forgotten(line: Line) -> None:
    ours, theirs = pair()
    line.broker.send(WorkerEnded(exit_code=0, signal=9))
    line.broker.send(WorkerStarted(), (theirs.fileno(),))
    channel = line.link.start_worker("vulkan")
    assert line.told() == StartWorker(gpu="vulkan")
    assert line.link.worker_end(0.0) is None
    theirs.close()
    channel.close()
    assert ours.recv(1) == b""
    ours.close()


def test_a_broker_that_does_not_answer_is_a_known_error(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BROKER_SECONDS", 0.1)
    with pytest.raises(WorkerError):
        line.link.start_worker()


def test_nothing_starts_without_the_writer(line: Line) -> None:
    line.broker.send(AuditEnded(exit_code=5, signal=0))
    with pytest.raises(AuditClosedError) as raised:
        line.link.start_worker()
    assert raised.value.code == "audit.gone"
    assert line.link.audit_end(0.0) == AuditEnded(exit_code=5, signal=0)  # and is still known


def test_ends_are_told_apart(line: Line) -> None:
    line.broker.send(AuditEnded(exit_code=0, signal=9))
    line.broker.send(WorkerEnded(exit_code=5, signal=0))
    assert line.link.worker_end(10) == WorkerEnded(exit_code=5, signal=0)
    assert line.link.worker_end(0.0) is None
    assert line.link.audit_end(10) == AuditEnded(exit_code=0, signal=9)


def test_being_asked_to_raise_is_answered_once_and_costs_nothing_else(line: Line) -> None:
    line.broker.send(WorkerEnded(exit_code=0, signal=0))
    line.broker.send(Raise())
    assert line.link.raise_asked()
    assert not line.link.raise_asked()
    assert line.link.worker_end(0.0) == WorkerEnded(exit_code=0, signal=0)


@pytest.mark.parametrize(
    ("tell", "frame"),
    [
        (BrokerLink.stop_worker, StopWorker()),
        (BrokerLink.lock, LockNow()),
        (lambda link: link.quit(3), Quit(exit_code=3)),
    ],
)
def test_telling_does_not_wait_for_a_thread_that_asks(
    line: Line, tell: Callable[[BrokerLink], None], frame: ToBroker
) -> None:
    asking = threading.Thread(target=line.link.worker_end, args=(30.0,), daemon=True)
    asking.start()
    while not line.link._talking.locked():
        time.sleep(0.01)
    tell(line.link)
    assert line.told() == frame
    assert asking.is_alive()
    line.broker.close()
    asking.join(10)
    assert not asking.is_alive()
