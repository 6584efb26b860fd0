"""Client and writer speak over a real channel; every surprise closes the client for good."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from govdesk.audit.client import AuditClient
from govdesk.audit.daemon import serve
from govdesk.audit.record import EntryError
from govdesk.audit.store import SEGMENT_NAME
from govdesk.domain.frames import (
    AppendRecord,
    AuditFailed,
    FromAudit,
    LogOpened,
    OpenLog,
    Recorded,
    Shutdown,
    ToAudit,
)
from govdesk.domain.record import Entry, Event
from govdesk.errors import AuditClosedError
from govdesk.process.channel import Channel, pair
from tests.audit_logs import Clock, Quick, entry, officer


class Pair:
    """Both ends, and a writer's thread when it is started."""

    def __init__(self) -> None:
        ours, theirs = pair()
        self.session: Channel[FromAudit] = Channel(ours, FromAudit)
        self.writer: Channel[ToAudit] = Channel(theirs, ToAudit)
        self.exit_code: int | None = None
        self.thread: threading.Thread | None = None

    def start(self, folder: Path, **options: object) -> None:
        def run() -> None:
            self.exit_code = serve(self.writer, folder, who=Clock(), files=Quick(), **options)  # type: ignore[arg-type]
            self.writer.close()

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def end(self) -> int | None:
        self.session.close()
        if self.thread is not None:
            self.thread.join(10)
        else:
            self.writer.close()
        return self.exit_code


@pytest.fixture
def ends() -> Iterator[Pair]:
    both = Pair()
    yield both
    both.end()


def test_open_append_end(ends: Pair, tmp_path: Path) -> None:
    ends.start(tmp_path / "a")
    client = AuditClient(ends.session)
    opened = client.open((officer()[1],))
    assert (opened.next_seq, opened.recovered, len(opened.log_id)) == (1, False, 32)
    assert [client.append(entry(number)) for number in range(3)] == [1, 2, 3]
    ends.session.send(Shutdown())
    assert ends.thread is not None
    ends.thread.join(10)
    assert ends.exit_code == 0
    with pytest.raises(AuditClosedError) as error:
        client.append(entry(0))
    assert error.value.code == client.closed_code == "audit.gone"


def test_many_threads_one_order(ends: Pair, tmp_path: Path) -> None:
    ends.start(tmp_path / "a")
    client = AuditClient(ends.session)
    client.open()
    seqs: list[int] = []

    def add() -> None:
        seqs.extend(client.append(entry(number)) for number in range(25))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seqs) == list(range(1, 101))


def test_a_failure_is_told_and_stays(ends: Pair, tmp_path: Path) -> None:
    ends.start(tmp_path / "a")
    client = AuditClient(ends.session)
    client.open()
    (tmp_path / "a" / SEGMENT_NAME).unlink()
    codes = []
    for _ in range(3):
        with pytest.raises(AuditClosedError) as error:
            client.append(entry(0))
        codes.append(error.value.code)
    assert codes == ["audit.changed"] * 3
    with pytest.raises(AuditClosedError):
        client.open()
    assert ends.end() == 5


def test_an_entry_that_may_not_be_recorded_is_not_even_sent(ends: Pair, tmp_path: Path) -> None:
    ends.start(tmp_path / "a")
    client = AuditClient(ends.session)
    client.open()
    with pytest.raises(EntryError):
        client.append(Entry(Event.VIEW, "success", fields={"note": "first\nsecond"}))
    assert client.append(entry(0)) == 1


def test_the_writer_does_not_trust_the_session(ends: Pair, tmp_path: Path) -> None:
    """Not opened, a bad entry, a second opening, descriptors nobody asked for."""
    ends.start(tmp_path / "a")
    ends.session.send(OpenLog(()))
    first = ends.session.receive(10)
    ends.session.send(OpenLog(("no key",)))
    second = ends.session.receive(10)
    assert first is not None
    assert second is not None
    assert first[0] == second[0]
    read, write = os.pipe()
    ends.session.send(AppendRecord(entry(0)), (write,))
    os.close(write)
    recorded = ends.session.receive(10)
    assert recorded is not None
    assert isinstance(recorded[0], Recorded)
    assert os.read(read, 1) == b""  # the writer closed what it did not ask for
    os.close(read)
    ends.session.send(AppendRecord(Entry(Event.VIEW, "a whole sentence")))
    for _ in range(2):
        answer = ends.session.receive(10)
        assert answer is not None
        assert answer[0] == AuditFailed("audit.entry")
        ends.session.send(AppendRecord(entry(0)))


def test_append_before_open(ends: Pair, tmp_path: Path) -> None:
    ends.start(tmp_path / "a")
    with pytest.raises(AuditClosedError) as error:
        AuditClient(ends.session).append(entry(0))
    assert error.value.code == "audit.not-open"


def test_a_log_that_cannot_be_opened(ends: Pair, tmp_path: Path) -> None:
    ends.start(tmp_path / "no" / "parent")
    with pytest.raises(AuditClosedError) as error:
        AuditClient(ends.session).open()
    assert error.value.code == "audit.folder"
    assert ends.end() == 5


def test_garbage_ends_the_writer(ends: Pair, tmp_path: Path) -> None:
    ends.start(tmp_path / "a")
    os.write(ends.session.fileno(), b"\0\0\0\x02hi")
    assert ends.thread is not None
    ends.thread.join(10)
    assert ends.exit_code == 70


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (None, "audit.silent"),
        (Recorded(0, ""), "audit.frame"),
        (LogOpened("x", 9, False), "audit.frame"),
        (AuditFailed("audit.disk-full"), "audit.disk-full"),
        (AuditFailed("something.new"), "something.new"),
        (OpenLog(()), "audit.frame"),
    ],
)
def test_surprises_close_the_client(ends: Pair, answer: msgspec.Struct | None, code: str) -> None:
    client = AuditClient(ends.session, answer_seconds=0.05)
    ends.writer.send(LogOpened("x", 5, False))
    client.open()
    if answer is not None:
        ends.writer.send(answer)
    for _ in range(2):
        with pytest.raises(AuditClosedError) as error:
            client.append(entry(0))
        assert error.value.code == code
        ends.writer.send(Recorded(5, ""))  # too late


def test_the_writer_going_away_closes_the_client(ends: Pair) -> None:
    client = AuditClient(ends.session)
    ends.writer.close()
    with pytest.raises(AuditClosedError) as error:
        client.open()
    assert error.value.code == "audit.gone"


def test_an_unopened_client_does_not_believe_a_record(ends: Pair) -> None:
    client = AuditClient(ends.session)
    ends.writer.send(Recorded(0, ""))
    with pytest.raises(AuditClosedError) as error:
        client.append(entry(0))
    assert error.value.code == "audit.frame"


def test_a_writer_that_is_there_lets_the_session_go_on(ends: Pair, tmp_path: Path) -> None:
    ends.start(tmp_path / "a")
    client = AuditClient(ends.session)
    client.open()
    client.require_open()
    assert client.append(entry(0)) == 1
    client.require_open()
    assert client.closed_code == ""


def test_a_writer_that_has_gone_is_found_out_without_a_record(ends: Pair, tmp_path: Path) -> None:
    ends.start(tmp_path / "a")
    client = AuditClient(ends.session)
    client.open()
    ends.session.send(Shutdown())
    assert ends.thread is not None
    ends.thread.join(10)
    for _ in range(2):
        with pytest.raises(AuditClosedError) as caught:
            client.require_open()
        assert caught.value.code == "audit.gone"
    with pytest.raises(AuditClosedError):
        client.append(entry(0))


def test_a_writer_that_speaks_unasked_is_one_that_has_gone(ends: Pair, tmp_path: Path) -> None:
    client = AuditClient(ends.session)
    ends.writer.send(Recorded(7, "0" * 96))
    with pytest.raises(AuditClosedError):
        client.require_open()


def test_who_asks_just_now_finds_out_by_itself(ends: Pair, tmp_path: Path) -> None:
    """The answer that is on its way to somebody else is no surprise."""
    client = AuditClient(ends.session)
    ends.writer.send(LogOpened("0" * 32, 1, False))
    with client._asking:
        client.require_open()
    assert client.closed_code == ""
