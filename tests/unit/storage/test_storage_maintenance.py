"""After a deletion the file is written anew beside everybody else; that fails neither a deletion nor an opening."""

import os
import shutil
import subprocess
import sys
import textwrap
import threading

import pytest

from govdesk.domain.ids import TurnId
from govdesk.errors import BugError, DiskFullError, HomeError, InstanceRunningError
from govdesk.storage import connection as connections
from govdesk.storage.connection import confine_to_vacuum, connect
from govdesk.storage.conversations import EncryptedConversations
from govdesk.storage.database import Database
from govdesk.storage.faults import no_memory
from govdesk.storage.maintenance import Maintenance


def fill(store, turns=30):
    conversation = store.create("kept", "", 1)
    for number in range(turns):
        store.begin_turn(conversation, TurnId(f"t{number}"), f"word{number} " * 2000, (), "", "", 1)
    return conversation


def reopened(database, key):
    database.close()
    return Database.open(database.path, key)


class Gate:
    """Stops a rewriting at its first step until the test lets it go on."""

    def __init__(self, monkeypatch):
        self.reached, self.go_on = threading.Event(), threading.Event()
        must_stop = Maintenance._must_stop

        def wait(maintenance):
            self.reached.set()
            assert self.go_on.wait(30)
            return must_stop(maintenance)

        monkeypatch.setattr(Maintenance, "_must_stop", wait)


@pytest.fixture
def under_way(path, key, monkeypatch):
    """A deletion whose rewriting has begun, on a thread of its own: database, store, gate, thread, results."""
    gate = Gate(monkeypatch)
    gate.go_on.set()
    database = Database.create(path, key)
    store = EncryptedConversations(database)
    fill(store, 60)
    gone = store.create("gone", "", 2)
    gate.reached.clear()
    gate.go_on.clear()
    results = []
    store.delete(gone)
    thread = threading.Thread(target=lambda: results.append(database.compact_if_due()))
    thread.start()
    assert gate.reached.wait(10)
    yield database, store, gate, thread, results
    gate.go_on.set()
    thread.join()
    database.close()


def let_go_once_somebody_waits(database, gate):
    while not database._maintenance._waiting:
        pass
    gate.go_on.set()


def test_a_deletion_rewrites_nothing_itself_and_empties_the_write_ahead_file(database, store, monkeypatch):
    monkeypatch.setattr(Maintenance, "vacuum", lambda _: pytest.fail("a person waits"))
    assert not database.compact_wanted
    store.delete(fill(store))
    assert database.compact_wanted
    assert database.compact_due == 1
    assert database.path.with_name("history.db-wal").stat().st_size == 0


def test_it_is_done_once(database, store):
    store.delete(fill(store))
    assert database.compact_if_due()
    assert not database.compact_wanted
    assert database.compact_due == 0
    assert database.path.with_name("history.db-wal").stat().st_size <= 100_000, "all but the mark is home"
    assert not database.compact_if_due()


def test_an_opening_rewrites_nothing_and_wants_it(database, store, key, monkeypatch):
    store.delete(fill(store))
    monkeypatch.setattr(Maintenance, "vacuum", lambda _: pytest.fail("a person waits"))
    again = reopened(database, key)
    assert again.compact_wanted
    assert again.compact_due == 1
    again.close()


def test_reading_goes_on_beside_it(under_way):
    _, store, _, _, results = under_way
    assert [conversation.title for conversation in store.conversations()] == ["kept"]
    assert store.search("word7")
    assert results == [], "the rewriting was under way all the time"


def test_readers_do_not_queue_behind_a_writer_that_waits_for_it(under_way):
    database, store, gate, thread, _ = under_way
    writing = threading.Thread(target=store.create, args=("written meanwhile", "", 3))
    writing.start()
    while not database._maintenance._waiting:
        pass
    titles = []
    reading = threading.Thread(target=lambda: titles.extend(c.title for c in store.conversations()))
    reading.start()
    reading.join(10)
    assert titles == ["kept"], "read while the writer waited"
    gate.go_on.set()
    writing.join()
    thread.join()


def test_a_writer_does_not_wait_for_its_first_half_and_it_stays_due(under_way):
    database, store, gate, thread, results = under_way
    releasing = threading.Thread(target=let_go_once_somebody_waits, args=(database, gate))
    releasing.start()
    store.create("written meanwhile", "", 3)
    releasing.join()
    thread.join()
    assert results == [False], "an interrupted rewriting is no error"
    assert database.compact_due == 1
    assert database.compact_wanted
    assert database.compact_if_due()
    assert database.compact_due == 0
    assert {c.title for c in store.conversations()} == {"kept", "written meanwhile"}
    database.check()


def test_closing_gives_it_up_and_it_is_done_after_the_next_opening(under_way, key):
    database, _, gate, thread, _ = under_way
    releasing = threading.Thread(target=let_go_once_somebody_waits, args=(database, gate))
    releasing.start()
    database.close()
    releasing.join()
    thread.join()
    raw = connect(database.path, key)
    assert raw.execute("SELECT count(*) FROM compact_due").fetchone() == (1,)
    raw.close()
    again = Database.open(database.path, key)
    assert again.compact_if_due()
    again.check()
    again.close()


def test_a_deletion_and_its_mark_are_one_transaction(database, store, monkeypatch):
    """Killed right after the deletion: a copy of the files at that moment is written anew once it is open."""
    conversation = fill(store)
    copies = []

    def crash(_database):
        folder = database.path.parent / "crashed"
        folder.mkdir()
        for name in ("history.db", "history.db-wal"):
            shutil.copy(database.path.with_name(name), folder / name)
        copies.append(folder / "history.db")

    monkeypatch.setattr(Database, "scrub", crash)
    store.delete(conversation)
    monkeypatch.undo()
    raw = connect(copies[0], bytearray(range(32)))
    assert raw.execute("SELECT count(*) FROM conversations").fetchone() == (0,)
    assert raw.execute("SELECT count(*) FROM compact_due").fetchone() == (1,)
    raw.close()
    again = Database.open(copies[0], bytearray(range(32)))
    assert again.compact_if_due()
    assert again.compact_due == 0
    again.close()


def test_a_deletion_that_was_undone_leaves_no_mark(database, store):
    conversation = fill(store, 2)

    def fail(sql):
        database.compact_later(sql)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), database.writing() as sql:
        fail(sql)
    assert database.compact_due == 0
    assert not database.compact_if_due()
    assert store.messages(conversation)


def test_another_deletion_meanwhile_stays_due(database, store, monkeypatch):
    first, second = fill(store, 2), store.create("second", "", 1)
    scrub = Database.scrub

    def delete_another(self):
        done = scrub(self)
        monkeypatch.undo()
        with self.writing() as sql:
            sql.execute("DELETE FROM conversations WHERE id = ?", (second,))
            self.compact_later(sql)
        return done

    store.delete(first)
    monkeypatch.setattr(Database, "scrub", delete_another)
    assert database.compact_if_due()
    assert database.compact_due == 2
    assert database.compact_wanted


def test_a_reader_elsewhere_keeps_old_pages_and_it_stays_due(database, store, key, monkeypatch):
    conversation = fill(store, 5)
    monkeypatch.setattr(connections, "BUSY_SECONDS", 0.05)
    with database.reading() as sql:
        sql.execute("PRAGMA busy_timeout = 50").fetchone()
    other = connect(database.path, key)
    other.execute("BEGIN")
    assert other.execute("SELECT count(*) FROM turns").fetchone() == (5,)
    store.delete(conversation)
    with pytest.raises(InstanceRunningError):
        database.compact_if_due()
    assert not database.scrub()
    assert database.compact_due == 1
    assert not database.compact_wanted, "not again and again while the other one reads"
    assert database.path.with_name("history.db-wal").stat().st_size > 0
    other.execute("COMMIT")
    other.close()
    again = reopened(database, key)
    assert again.compact_if_due()
    assert again.compact_due == 0
    again.close()


def test_no_room_to_clean_does_not_lock_anybody_out(path, key, monkeypatch):
    database = Database.create(path, key)
    store = EncryptedConversations(database)
    gone = fill(store)

    def full(_maintenance):
        raise DiskFullError("full")

    monkeypatch.setattr(Maintenance, "vacuum", full)
    store.delete(gone)
    with pytest.raises(DiskFullError) as caught:
        database.compact_if_due()
    assert caught.value.code == "disk.full.compact"
    assert not database.compact_wanted, "the next try would fail as well"
    again = reopened(database, key)
    assert again.compact_due == 1
    monkeypatch.undo()
    assert again.compact_if_due()
    again.close()


@pytest.mark.parametrize("failing", ["scrub", "forget_backups"])
def test_once_a_deletion_is_durable_nothing_raises(database, store, monkeypatch, failing):
    backup = database.path.with_name("history.db.before-002")
    backup.write_bytes(b"old")
    gone = fill(store, 2)

    def fail(_database):
        raise HomeError("gone")

    monkeypatch.setattr(Database, failing, fail)
    store.delete(gone)
    assert store.conversations() == ()
    assert database.compact_due == 1
    with pytest.raises(HomeError):
        database.compact_if_due()
    assert database.compact_due == 1, "traces are left, so it stays due"
    monkeypatch.undo()
    assert database.compact_if_due()
    assert not backup.exists()


@pytest.mark.parametrize("problem", [DiskFullError("full"), no_memory()])
def test_an_opening_that_cannot_empty_the_write_ahead_file_opens(database, key, monkeypatch, problem):
    database.close()

    def fail(_database):
        raise problem

    monkeypatch.setattr(Database, "scrub", fail)
    again = Database.open(database.path, key)
    assert EncryptedConversations(again).conversations() == ()
    again.close()


def test_once_a_renaming_is_durable_nothing_raises(database, store, monkeypatch):
    renamed = store.create("old", "", 1)

    def full(_database):
        raise DiskFullError("full")

    monkeypatch.setattr(Database, "scrub", full)
    store.rename(renamed, "new")
    assert [conversation.title for conversation in store.conversations()] == ["new"]


LITTLE_MEMORY = """
    import os, resource, sys
    from pathlib import Path
    from govdesk.errors import MachineError
    from govdesk.storage.database import Database
    path, key = Path(sys.argv[1]), bytearray(range(32))
    now = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (now + 30_000_000,) * 2)
    for _ in range(2):
        database = Database.open(path, key)
        try:
            print(database.compact_if_due())
        except MachineError as error:
            print(error.code, database.compact_due, database.compact_wanted)
        database.close()
"""


def test_a_history_larger_than_memory_opens_and_stays_due(database, store, key):
    with database.writing() as sql:
        sql.execute("CREATE TABLE ballast (bytes BLOB)")
        for _ in range(60):
            sql.execute("INSERT INTO ballast VALUES (?)", (os.urandom(1_000_000),))
    store.delete(store.create("gone", "", 1))
    database.close()
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LITTLE_MEMORY), str(database.path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout == "memory.full 1 False\n" * 2, result.stderr
    again = Database.open(database.path, key)
    assert again.compact_if_due()
    again.close()


@pytest.mark.parametrize(
    "statement",
    [
        "ATTACH DATABASE '/tmp/elsewhere.db' AS other",
        "VACUUM INTO '/tmp/elsewhere.db'",
        "DETACH DATABASE main",
    ],
)
def test_its_connection_reaches_no_other_file(database, key, statement):
    connection = connect(database.path, key)
    confine_to_vacuum(connection)
    with pytest.raises(connections.driver.DatabaseError, match=r"not authorized|authorization denied"):
        connection.execute(statement)
    connection.execute("VACUUM")
    connection.close()


def test_the_working_connection_cannot_do_it(database):
    with pytest.raises(BugError), database.reading() as sql:
        sql.execute("VACUUM")
