"""The desk's drawers open in order, and a failed unlock leaves no open history and no key."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from govdesk.app import desk as desk_module
from govdesk.app.desk import SessionDesk
from govdesk.audit import reading, record
from govdesk.audit.client import AuditClient
from govdesk.audit.daemon import serve
from govdesk.audit.record import Record
from govdesk.audit.store import SEGMENT_NAME
from govdesk.cli.desk import Unlocked
from govdesk.config import Profile
from govdesk.domain.frames import FromAudit, Probe, Shutdown, ToAudit
from govdesk.domain.ids import ConversationId, RecordSeq, TurnId
from govdesk.domain.record import Entry, Event
from govdesk.domain.turn import Outcome, Usage
from govdesk.errors import (
    AuditClosedError,
    BugError,
    CorruptDatabaseError,
    DiskFullError,
    GovDeskError,
    HomeError,
    UnreadableError,
    UsageError,
    WrongPassphraseError,
)
from govdesk.process.channel import Channel, pair
from govdesk.sandbox import selftest
from govdesk.session.key_slots import KeySlots
from govdesk.session.keys import DataKeys
from govdesk.storage.conversations import EncryptedConversations
from govdesk.storage.database import Database
from govdesk.storage.maintenance import Maintenance
from tests import audit_fields
from tests.audit_logs import Clock as Stamp
from tests.audit_logs import Quick

PASSPHRASE = "a harbour seen from seven hills"
PROBES = tuple(
    Probe(channel, True, "EACCES" if channel.endswith("-outside") else "EPERM")
    for channel in sorted(selftest.EVERY)
)


Tries = queue.Queue[bool | GovDeskError]


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def utc_ns(self) -> int:
        return 1

    def monotonic(self) -> float:
        return self.now


class Link:
    """The broker's end, as far as a desk without a worker uses it."""

    def __init__(self) -> None:
        self.locked = 0

    def lock(self) -> None:
        self.locked += 1


class Log(AuditClient):
    """The real client; refuses one event on demand, as a log does that closed."""

    refuses: tuple[Event, str] | None = None

    def append(self, entry: Entry) -> RecordSeq:
        audit_fields.check(entry)
        if self.refuses == (entry.event, entry.outcome):
            raise AuditClosedError("closed")
        return super().append(entry)


def quick(path: Path) -> KeySlots:
    return KeySlots(path, minimum_iterations=1, iterations=10)


class Bench:
    """A desk over the real writer, key slots and history in one folder."""

    def __init__(self, home: Path, link: Link | None = None) -> None:
        self.profile = Profile(home)
        self.profile.create()
        self.clock, self.link = Clock(), link or Link()
        ours, theirs = pair()
        self.writer_end: Channel[ToAudit] = Channel(theirs, ToAudit)
        client_end: Channel[FromAudit] = Channel(ours, FromAudit)
        self.log = Log(client_end)
        self._client_end = client_end
        self._writer = threading.Thread(
            target=serve,
            args=(self.writer_end, self.profile.audit),
            kwargs={"who": Stamp(), "files": Quick(), "probes": PROBES},
        )
        self._writer.start()
        self.desk = SessionDesk(
            profile=self.profile,
            link=self.link,  # type: ignore[arg-type]
            audit=self.log,
            clock=self.clock,
            probes=PROBES,
            broker_probes=PROBES,
            key_slots=quick,
        )

    def started(self) -> SessionDesk:
        self.desk.start("terminal", "0")
        return self.desk

    def consented(self) -> SessionDesk:
        desk = self.started()
        desk.record_consent("test")
        return desk

    def with_profile(self) -> SessionDesk:
        desk = self.consented()
        desk.create_profile(PASSPHRASE)
        return desk

    def records(self, *events: Event) -> list[Record]:
        with reading.open_read_only(self.profile.audit / SEGMENT_NAME) as file:
            found = [record.decode(line.untrusted)[0] for line in reading.lines(file)]
        return [one for one in found if not events or one.event in {event.value for event in events}]

    def stop_writer(self) -> None:
        """The writer ends; the session is not told."""
        self._client_end.send(Shutdown())
        self._writer.join(10)
        self.writer_end.close()

    def close(self) -> None:
        self.desk.close()
        self._client_end.close()
        self._writer.join(10)
        self.writer_end.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "home")
    yield made
    made.close()


@pytest.fixture
def traces(monkeypatch: pytest.MonkeyPatch) -> tuple[list[DataKeys], list[Database]]:
    """Every set of keys and every history that is opened from here on."""
    keys: list[DataKeys] = []
    databases: list[Database] = []
    init, opening = DataKeys.__init__, Database.open.__func__  # type: ignore[attr-defined]

    def note_keys(self: DataKeys, *arguments: object) -> None:
        init(self, *arguments)  # type: ignore[arg-type]
        keys.append(self)

    def note_database(cls: type[Database], *arguments: object) -> Database:
        databases.append(opening(cls, *arguments))
        return databases[-1]

    monkeypatch.setattr(DataKeys, "__init__", note_keys)
    monkeypatch.setattr(Database, "open", classmethod(note_database))
    return keys, databases


def nothing_left(traces: tuple[list[DataKeys], list[Database]]) -> None:
    keys, databases = traces
    assert all(one.wiped for one in keys)
    for database in databases:
        with pytest.raises(UnreadableError), database.reading():
            pass


def test_the_start_is_recorded_in_order(bench: Bench) -> None:
    bench.started()
    events = ["log.start", "app.start", *3 * ["self-test"], "policy.load"]
    assert [one.event for one in bench.records()] == events
    tests = bench.records(Event.SELF_TEST)
    assert [one.object for one in tests] == ["broker", "terminal", "auditd"]


def test_nothing_unlocks_before_consent(bench: Bench) -> None:
    bench.started().create_profile(PASSPHRASE)
    with pytest.raises(BugError):
        bench.desk.unlock(PASSPHRASE)
    assert not bench.records(Event.UNLOCK)


def test_consent_counts_only_once_it_is_on_record(bench: Bench) -> None:
    bench.started().create_profile(PASSPHRASE)
    bench.log.refuses = (Event.CONSENT, "success")
    with pytest.raises(AuditClosedError):
        bench.desk.record_consent("test")
    with pytest.raises(BugError):
        bench.desk.unlock(PASSPHRASE)


def test_a_profile_is_made_between_two_records(bench: Bench) -> None:
    bench.with_profile()
    assert [one.outcome for one in bench.records(Event.PROFILE_INIT)] == ["intent", "success"]
    assert bench.desk.profile_exists
    with pytest.raises(HomeError):
        bench.desk.create_profile(PASSPHRASE)
    failed = bench.records(Event.PROFILE_INIT)[-1]
    assert (failed.outcome, failed.fields) == ("failure", {"code": "home.profile-exists"})


def test_no_record_no_profile(bench: Bench) -> None:
    bench.consented()
    bench.log.refuses = (Event.PROFILE_INIT, "intent")
    with pytest.raises(AuditClosedError):
        bench.desk.create_profile(PASSPHRASE)
    assert not bench.desk.profile_exists
    assert not bench.profile.database.exists()


def test_a_short_passphrase_makes_no_profile(bench: Bench) -> None:
    bench.consented()
    with pytest.raises(UsageError):
        bench.desk.create_profile("short")
    assert not bench.records(Event.PROFILE_INIT)
    assert "15" in bench.desk.passphrase_problem("short")


def test_unlocking(bench: Bench, traces: tuple[list[DataKeys], list[Database]]) -> None:
    unlocked = bench.with_profile().unlock(PASSPHRASE)
    assert unlocked.history.conversations() == ()
    assert [(one.outcome, one.fields) for one in bench.records(Event.UNLOCK)] == [
        ("success", {"how": "passphrase"})
    ]
    bench.desk.close()
    nothing_left(traces)
    assert bench.records()[-1].event == "app.stop"


def test_unlocking_with_the_recovery_code(bench: Bench) -> None:
    code = bench.consented().create_profile(PASSPHRASE)
    assert bench.desk.unlock_with_recovery(code).history.conversations() == ()
    assert bench.records(Event.UNLOCK)[0].fields == {"how": "recovery code"}


def test_a_second_unlock_is_refused_and_the_first_goes_on(bench: Bench) -> None:
    unlocked = bench.with_profile().unlock(PASSPHRASE)
    with pytest.raises(BugError):
        bench.desk.unlock(PASSPHRASE)
    assert unlocked.history.conversations() == ()


def test_a_wrong_passphrase_leaves_nothing_open_and_may_be_tried_again(
    bench: Bench, traces: tuple[list[DataKeys], list[Database]]
) -> None:
    bench.with_profile()
    with pytest.raises(WrongPassphraseError):
        bench.desk.unlock("wrong " + PASSPHRASE)
    nothing_left(traces)
    failed = bench.records(Event.UNLOCK)[0]
    assert (failed.outcome, failed.fields["code"]) == ("failure", "unlock.wrong-passphrase")
    assert bench.desk.unlock(PASSPHRASE).history.conversations() == ()


def test_a_history_that_does_not_open_leaves_no_key(
    bench: Bench, traces: tuple[list[DataKeys], list[Database]]
) -> None:
    bench.with_profile()
    bench.profile.database.write_bytes(b"")
    with pytest.raises(CorruptDatabaseError):
        bench.desk.unlock(PASSPHRASE)
    assert len(traces[0]) >= 1
    nothing_left(traces)
    assert bench.records(Event.UNLOCK)[0].fields["code"] == "storage.empty"


@pytest.mark.parametrize("failing", ["success", "both"])
def test_when_the_unlock_is_not_on_record_nothing_stays_open(
    bench: Bench, traces: tuple[list[DataKeys], list[Database]], failing: str
) -> None:
    bench.with_profile()
    bench.log.refuses = (Event.UNLOCK, "success")
    if failing == "both":
        bench.stop_writer()  # the failure cannot be recorded either
        bench.log.refuses = None
    with pytest.raises(AuditClosedError):
        bench.desk.unlock(PASSPHRASE)
    assert len(traces[1]) == 1
    nothing_left(traces)


def test_a_bug_while_unlocking_leaves_nothing_open(
    bench: Bench, traces: tuple[list[DataKeys], list[Database]], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.with_profile()
    monkeypatch.setattr(SessionDesk, "_introduce", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        bench.desk.unlock(PASSPHRASE)
    nothing_left(traces)
    assert bench.records(Event.UNLOCK)[-1].fields["code"] == "bug"
    monkeypatch.undo()


def test_a_session_that_ends_while_it_unlocks_keeps_nothing(
    bench: Bench, traces: tuple[list[DataKeys], list[Database]], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.with_profile()
    introduce = SessionDesk._introduce

    def close_first(desk: SessionDesk, database: Database) -> object:
        unlocked = introduce(desk, database)
        desk.close()
        return unlocked

    monkeypatch.setattr(SessionDesk, "_introduce", close_first)
    with pytest.raises(UnreadableError) as caught:
        bench.desk.unlock(PASSPHRASE)
    assert caught.value.code == "unlock.ended"
    assert [one.outcome for one in bench.records(Event.UNLOCK)] == ["failure"]
    nothing_left(traces)


def test_keys_are_wiped_even_when_the_history_does_not_close(
    bench: Bench, traces: tuple[list[DataKeys], list[Database]], monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.with_profile().unlock(PASSPHRASE)

    def broken(_database: Database) -> None:
        raise BugError("the driver")

    monkeypatch.setattr(Database, "close", broken)
    with pytest.raises(BugError):
        bench.desk.close()
    assert all(keys.wiped for keys in traces[0])
    monkeypatch.undo()
    traces[1][0].close()


def test_a_writer_that_goes_while_nothing_happens_stops_the_answer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped = threading.Event()
    monkeypatch.setattr(bench.desk._inference, "cancel", stopped.set)
    bench.with_profile().unlock(PASSPHRASE)
    assert not stopped.wait(1)
    bench.stop_writer()
    assert stopped.wait(30)


@pytest.fixture
def tries(monkeypatch: pytest.MonkeyPatch) -> Tries:
    """What each try to clean came to; nobody waits between two looks."""
    results: Tries = queue.Queue()
    compact = Database.compact_if_due

    def note(database: Database) -> bool:
        try:
            done = compact(database)
        except GovDeskError as error:
            results.put(error)
            raise
        results.put(done)
        return done

    monkeypatch.setattr(Database, "compact_if_due", note)
    monkeypatch.setattr(desk_module, "_CLEAN_SECONDS", 0.01)
    monkeypatch.setattr(desk_module, "_AGAIN_SECONDS", 0.01)
    return results


def with_a_conversation(bench: Bench) -> tuple[Unlocked, EncryptedConversations, ConversationId]:
    unlocked = bench.with_profile().unlock(PASSPHRASE)
    assert bench.desk._database is not None
    store = EncryptedConversations(bench.desk._database)
    return unlocked, store, store.create("x", "", 1)


def cleaned(bench: Bench) -> list[tuple[str, object]]:
    """The records of cleaning, once there is one."""
    while not (found := bench.records(Event.HISTORY_CLEAN)):
        threading.Event().wait(0.01)
    return [(one.outcome, one.fields) for one in found]


def test_what_a_deletion_left_is_cleaned_in_the_background_and_recorded(bench: Bench, tries: Tries) -> None:
    unlocked, store, conversation = with_a_conversation(bench)
    unlocked.history.delete(conversation)
    assert tries.get(timeout=30) is True
    assert cleaned(bench) == [("success", {})]
    assert bench.desk._database is not None
    assert not bench.desk._database.compact_due
    assert store.conversations() == ()


def test_a_deletion_whose_cleaning_fails_is_a_success_and_the_failure_is_told_once(
    bench: Bench, tries: Tries, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_maintenance: Maintenance) -> bool:
        raise DiskFullError("full")

    monkeypatch.setattr(Maintenance, "vacuum", full)
    unlocked, _, conversation = with_a_conversation(bench)
    unlocked.history.delete(conversation)
    assert [one.outcome for one in bench.records(Event.DELETE)] == ["intent", "success"]
    assert isinstance(tries.get(timeout=30), DiskFullError)
    assert cleaned(bench) == [("failure", {"code": "disk.full.compact"})]
    with pytest.raises(queue.Empty):
        tries.get(timeout=0.3)
    home = bench.profile.home
    bench.close()

    monkeypatch.setattr(Maintenance, "vacuum", lambda _: True)
    again = Bench(home)
    try:
        again.consented().unlock(PASSPHRASE)
        assert tries.get(timeout=30) is True, "the next unlocking tries again"
    finally:
        again.close()


def test_nothing_is_cleaned_while_a_turn_runs(bench: Bench, tries: Tries) -> None:
    unlocked, store, gone = with_a_conversation(bench)
    running = store.create("y", "", 1)
    store.begin_turn(running, TurnId("t"), "q", (), "", "", 1)
    unlocked.history.delete(gone)
    with pytest.raises(queue.Empty):
        tries.get(timeout=0.3)
    store.finish_turn(TurnId("t"), Outcome.COMPLETED, (), None, Usage(), RecordSeq(1), 1)
    assert tries.get(timeout=30) is True


def test_a_try_that_gave_way_is_made_again(
    bench: Bench, tries: Tries, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([False, True])
    monkeypatch.setattr(Maintenance, "vacuum", lambda _: next(answers))
    unlocked, _, conversation = with_a_conversation(bench)
    unlocked.history.delete(conversation)
    assert [tries.get(timeout=30), tries.get(timeout=30)] == [False, True]
    assert cleaned(bench) == [("success", {})]


def test_idle_time_and_locking(bench: Bench) -> None:
    bench.with_profile().unlock(PASSPHRASE)
    assert bench.desk.touch()
    assert not bench.desk.idle_over
    bench.clock.now += 1e6
    assert bench.desk.idle_over
    assert not bench.desk.touch()
    bench.desk.lock()
    assert bench.link.locked == 1
    assert bench.records(Event.LOCK)[0].fields == {"reason": "idle"}


def test_turns_that_a_crash_left_open_get_one_outcome(bench: Bench) -> None:
    """One was recorded only, one was stored and recorded, one was stored and had its outcome recorded."""
    desk = bench.with_profile()
    desk.unlock(PASSPHRASE)
    assert desk._database is not None
    store = EncryptedConversations(desk._database)
    conversation = store.create("x", "", 1)
    for turn in ("recorded", "stored", "ended"):
        bench.log.append(Entry(Event.TURN_INTENT, "permit", object=turn))
        if turn != "recorded":
            store.begin_turn(conversation, TurnId(turn), "q", (), "", "", 1)
    bench.log.append(Entry(Event.TURN_OUTCOME, "completed", object="ended"))
    home = bench.profile.home
    bench.close()

    again = Bench(home)
    try:
        again.consented().unlock(PASSPHRASE)
        outcomes = [(one.object, one.outcome) for one in again.records(Event.TURN_OUTCOME)]
        assert sorted(outcomes) == [
            ("ended", "completed"),
            ("recorded", "interrupted"),
            ("stored", "interrupted"),
        ]
        assert again.desk._database is not None
        shown = EncryptedConversations(again.desk._database).messages(ConversationId(conversation))
        assert [message.outcome for message in shown if message.outcome] == [
            Outcome.INTERRUPTED,
            Outcome.COMPLETED,
        ]
    finally:
        again.close()


def test_looking_at_the_list_has_the_record_of_the_unlocking(bench: Bench) -> None:
    unlocked = bench.with_profile().unlock(PASSPHRASE)
    before = len(bench.records())
    unlocked.history.conversations()
    assert len(bench.records()) == before
