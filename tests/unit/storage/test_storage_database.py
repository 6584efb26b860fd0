"""Every way a history file can be wrong has its own error, and loses nothing."""

import os
import shutil
import stat
import subprocess
import sys
import textwrap

import pytest
import sqlcipher3.dbapi2 as driver

from govdesk.domain.ids import TurnId
from govdesk.errors import (
    BugError,
    CorruptDatabaseError,
    DiskFullError,
    HomeError,
    InstanceRunningError,
    NewerDatabaseError,
)
from govdesk.storage import connection as connections
from govdesk.storage.connection import PAGE_BYTES, connect
from govdesk.storage.conversations import EncryptedConversations
from govdesk.storage.database import Database
from govdesk.storage.migrations import MIGRATIONS


@pytest.fixture
def filled(path, key):
    """A closed history of 40 turns."""
    database = Database.create(path, key)
    store = EncryptedConversations(database)
    conversation = store.create("forty", "", 1)
    for number in range(40):
        store.begin_turn(conversation, TurnId(f"t{number}"), f"word{number} " * 200, (), "", "", number)
    database.close()
    return conversation


def flip(path, offset):
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def read_all(path, key, conversation=None):
    """Open, read one conversation or everything, close."""
    database = Database.open(path, key)
    try:
        if conversation is None:
            database.check()
        else:
            EncryptedConversations(database).messages(conversation)
    finally:
        database.close()


def refused(path, key, error=CorruptDatabaseError):
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(error) as caught:
        Database.open(path, key)
    if before is not None:
        assert path.read_bytes() == before, "a refused file must not change"
    assert caught.value.what
    assert caught.value.kept
    assert caught.value.todo
    assert caught.value.exit_code in {4, 5}
    return caught.value.code


def test_only_the_owner_can_read_the_files(database, store, path):
    store.create("x", "", 1)
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert {f.name for f in path.parent.iterdir()} == {"history.db", "history.db-wal", "history.db-shm"}


def test_a_file_that_others_can_read_is_closed_to_them(path, key, filled):
    path.chmod(0o644)
    Database.open(path, key).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_connection_is_hardened(database):
    with database.reading() as sql:

        def pragma(name):
            return sql.execute(f"PRAGMA {name}").fetchone()[0]

        assert int(pragma("cipher_memory_security")) == 1
        assert pragma("secure_delete") == 1
        assert pragma("trusted_schema") == 0
        assert pragma("temp_store") == 2
        assert pragma("cipher_log_level") == "NONE"
        assert pragma("foreign_keys") == 1
        assert pragma("journal_mode") == "wal"
        assert pragma("synchronous") == 2
        assert pragma("application_id") == 0x474F5644
        assert pragma("user_version") == len(MIGRATIONS)
        for index in ("message_index", "title_index"):
            row = sql.execute(f"SELECT v FROM {index}_config WHERE k = 'secure-delete'").fetchone()
            assert row == (1,)


@pytest.mark.parametrize(
    "statement",
    [
        "ATTACH DATABASE '/tmp/elsewhere.db' AS other",
        "DETACH DATABASE main",
        "SELECT load_extension('anything')",
        "VACUUM",
        "VACUUM INTO '/tmp/elsewhere.db'",
    ],
)
def test_the_connection_reaches_no_other_file(database, statement):
    with pytest.raises(BugError), database.reading() as sql:
        sql.execute(statement)


def test_the_key_is_used_raw_and_its_text_form_is_overwritten(path, key, filled, monkeypatch):
    seen = []

    class Recorder:
        def set_key(self, literal):
            seen.append((bytes(literal), literal))

    connections._set_raw_key(Recorder(), key)
    (given, literal) = seen[0]
    assert given == b"x'" + bytes(key).hex().encode() + b"'"
    assert not any(literal)
    # Raw: the same file opens with PRAGMA key in its documented raw form.
    other = driver.connect(path)
    other.execute(f"PRAGMA key = \"x'{bytes(key).hex()}'\"")
    assert other.execute("SELECT count(*) FROM turns").fetchone() == (40,)
    other.close()


def test_a_key_of_another_length_is_refused(path):
    with pytest.raises(ValueError, match="32 bytes"):
        connect(path, bytearray(16))


def test_wrong_key(path, key, filled):
    assert refused(path, bytearray(32)) == "storage.wrong-key"
    Database.open(path, key).close()


def test_wrong_key_with_a_write_ahead_file_loses_nothing(path, key, tmp_path):
    database = Database.create(path, key)
    store = EncryptedConversations(database)
    store.create("in the write-ahead file", "", 1)
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for name in ("history.db", "history.db-wal"):
        shutil.copy(tmp_path / name, crashed / name)
    database.close()
    with pytest.raises(CorruptDatabaseError):
        Database.open(crashed / "history.db", bytearray(32))
    again = Database.open(crashed / "history.db", key)
    assert [c.title for c in EncryptedConversations(again).conversations()] == ["in the write-ahead file"]
    again.close()


@pytest.mark.parametrize("offset", [20, 100, 2000, PAGE_BYTES - 10])
def test_a_flipped_bit_in_the_first_page(path, key, filled, offset):
    flip(path, offset)
    assert refused(path, key) == "storage.corrupt"


def test_a_destroyed_salt_is_never_opened(path, key, filled):
    flip(path, 3)
    assert refused(path, key) == "storage.wrong-key"


def test_a_flipped_bit_in_every_later_page_is_seen(path, key, filled):
    whole = path.read_bytes()
    pages = len(whole) // PAGE_BYTES
    assert pages > 20
    for page in range(1, pages):
        path.write_bytes(whole)
        flip(path, page * PAGE_BYTES + (page * 97) % PAGE_BYTES)
        with pytest.raises(CorruptDatabaseError) as caught:
            read_all(path, key)
        assert caught.value.code == "storage.corrupt"


def test_a_damaged_middle_page_is_an_error_where_it_is_read(path, key, filled):
    whole = bytearray(path.read_bytes())
    for page in range(4, len(whole) // PAGE_BYTES):
        whole[page * PAGE_BYTES + 50] ^= 1
    path.write_bytes(whole)
    with pytest.raises(CorruptDatabaseError):
        read_all(path, key, filled)


@pytest.mark.parametrize("kept", [1, 3000, PAGE_BYTES, 5 * PAGE_BYTES, 5 * PAGE_BYTES + 7])
def test_a_cut_file(path, key, filled, kept):
    path.write_bytes(path.read_bytes()[:kept])
    assert refused(path, key) in {"storage.corrupt", "storage.not-a-database"}


def test_an_empty_file_is_not_filled(path, key):
    path.write_bytes(b"")
    assert refused(path, key) == "storage.empty"


def test_a_missing_file_is_not_made(path, key):
    assert refused(path, key) == "storage.missing"
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"Dear diary,\n" * 10, "storage.not-a-database"),
        (b"SQLite format 3\0" + bytes(8176), "storage.not-a-database"),
        (os.urandom(PAGE_BYTES * 3), "storage.wrong-key"),
        (bytes(PAGE_BYTES * 3 + 5), "storage.wrong-key"),
    ],
    ids=["text", "plain-sqlite", "random", "zeros"],
)
def test_a_file_that_is_not_a_history(path, key, content, code):
    path.write_bytes(content)
    assert refused(path, key) == code


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_something_else_in_its_place(path, key, kind, tmp_path):
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    else:
        os.mkfifo(path)
    assert refused(path, key) == "storage.not-a-database"


def test_another_programs_encrypted_database(path, key):
    other = connect(path, key)
    other.execute("CREATE TABLE t (x)")
    other.close()
    assert refused(path, key) == "storage.not-a-database"


def test_a_newer_history_is_not_touched(path, key, filled):
    raw = connect(path, key)
    raw.execute("PRAGMA user_version = 99")
    raw.close()
    before = path.read_bytes()
    with pytest.raises(NewerDatabaseError) as caught:
        Database.open(path, key)
    assert "99" in caught.value.explain()
    assert path.read_bytes() == before
    assert [f.name for f in path.parent.iterdir()] == ["history.db"]


def test_create_never_replaces(path, key, filled):
    before = path.read_bytes()
    with pytest.raises(HomeError) as caught:
        Database.create(path, key)
    assert caught.value.code == "storage.exists"
    assert path.read_bytes() == before


def test_a_crash_during_creation_is_started_again(path, key):
    path.with_name("history.db.new").write_bytes(b"half a file")
    Database.create(path, key).close()
    assert [f.name for f in path.parent.iterdir()] == ["history.db"]


def test_another_program_holds_it(database, path, key, monkeypatch):
    monkeypatch.setattr(connections, "BUSY_SECONDS", 0.05)
    other = Database.open(path, key)
    store = EncryptedConversations(other)
    with database.writing():
        with pytest.raises(InstanceRunningError) as caught:
            store.create("x", "", 1)
        assert caught.value.code == "storage.busy"
    store.create("y", "", 1)
    other.close()


def test_no_space_loses_nothing_that_was_stored(database, store):
    conversation = store.create("x", "", 1)
    with database.reading() as sql:
        (pages,) = sql.execute("PRAGMA page_count").fetchone()
        sql.execute(f"PRAGMA max_page_count = {pages + 12}").fetchone()
    done = []

    def until_full():
        for number in range(100):
            store.begin_turn(conversation, TurnId(f"t{number}"), f"word{number} " * 300, (), "", "", 1)
            done.append(f"t{number}")

    with pytest.raises(DiskFullError) as caught:
        until_full()
    assert caught.value.code == "disk.full"
    assert done
    with database.reading() as sql:
        sql.execute("PRAGMA max_page_count = 100000").fetchone()
    assert list(store.unfinished_turns()) == done
    assert [h.turn for h in store.search("word0")] == ["t0"]
    store.begin_turn(conversation, TurnId("after"), "room again", (), "", "", 1)
    database.check()


def child(script, *arguments):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


FILL = """
    import resource, signal, sys
    from pathlib import Path
    from govdesk.domain.ids import TurnId
    from govdesk.errors import DiskFullError
    from govdesk.storage.conversations import EncryptedConversations
    from govdesk.storage.database import Database
    path, key = Path(sys.argv[1]), bytearray(range(32))
    database = Database.create(path, key)
    store = EncryptedConversations(database)
    conversation = store.create("x", "", 1)
    if sys.argv[2] == "limit":
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
    for number in range(1000):
        try:
            store.begin_turn(conversation, TurnId(f"t{number}"), f"word{number} " * 2000, (), "", "", 1)
        except DiskFullError as error:
            print("full", error.code)
            # Reading goes on, and what was stored is there.
            assert len(store.unfinished_turns()) == number, (number, store.unfinished_turns())
            break
        print(f"t{number}", flush=True)
"""


def full_disk(path, kind):
    result = child(FILL, path, kind)
    *done, last = result.stdout.split("\n")[:-1]
    assert last.startswith("full "), result.stderr
    assert len(done) > 3
    return done, last


def test_a_file_size_limit_loses_nothing_that_was_stored(path, key):
    done, last = full_disk(path, "limit")
    assert last == "full disk.write-failed"
    database = Database.open(path, key)
    assert list(EncryptedConversations(database).unfinished_turns()) == done
    database.check()
    database.close()


COMPACT = """
    import resource, signal, sys
    from pathlib import Path
    from govdesk.domain.ids import TurnId
    from govdesk.errors import DiskFullError
    from govdesk.storage.conversations import EncryptedConversations
    from govdesk.storage.database import Database
    database = Database.create(Path(sys.argv[1]), bytearray(range(32)))
    store = EncryptedConversations(database)
    kept, gone = store.create("kept", "", 1), store.create("gone", "", 1)
    for number in range(30):
        store.begin_turn(kept, TurnId(f"t{number}"), f"word{number} " * 6000, (), "", "", 1)
    store.begin_turn(gone, TurnId("gone"), "gone", (), "", "", 1)
    database.scrub()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
    store.delete(gone)
    try:
        database.compact_if_due()
    except DiskFullError as error:
        print(error.code)
    print([c.title for c in store.conversations()], len(store.messages(kept)))
"""


def test_no_space_to_clean_after_a_deletion_is_said_and_loses_nothing(path, key):
    result = child(COMPACT, path)
    assert result.stdout == "disk.full.compact\n['kept'] 60\n", result.stderr
    database = Database.open(path, key)
    store = EncryptedConversations(database)
    assert [c.title for c in store.conversations()] == ["kept"]
    database.check()
    assert database.compact_if_due()
    database.check()
    database.close()


def mounted(folder, size="1m"):
    return subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )


@pytest.mark.skipif(shutil.which("mount") is None or os.geteuid() != 0, reason="needs a small mounted disk")
def test_a_full_disk_loses_nothing_that_was_stored(tmp_path, key):
    folder = tmp_path / "small"
    folder.mkdir()
    if mounted(folder).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        done, last = full_disk(folder / "history.db", "disk")
        assert last == "full disk.full"
        saved = tmp_path / "moved"
        shutil.copytree(folder, saved)
    finally:
        subprocess.run(["umount", str(folder)], check=True)
    database = Database.open(saved / "history.db", key)
    assert list(EncryptedConversations(database).unfinished_turns()) == done
    database.check()
    database.close()


@pytest.mark.skipif(shutil.which("mount") is None or os.geteuid() != 0, reason="needs a small mounted disk")
def test_no_room_for_a_new_history_leaves_nothing_behind(tmp_path, key):
    """From no room at all to just enough, in steps of one page: made whole, or not at all."""
    folder = tmp_path / "small"
    folder.mkdir()
    refusals = made = 0
    for kilobytes in range(8, 260, 4):
        if mounted(folder, f"{kilobytes}k").returncode != 0:
            pytest.skip("mounting is not allowed here")
        path = folder / "history.db"
        try:
            Database.create(path, key).close()
            made += 1
            Database.open(path, key).close()
        except DiskFullError:
            refusals += 1
            if not made:
                assert list(folder.iterdir()) == [], kilobytes
        finally:
            subprocess.run(["umount", str(folder)], check=True)
        if made >= 3:
            break
    assert refusals > 10
    assert made == 3


def test_a_history_is_made_without_a_file_beside_it(path, key, monkeypatch):
    """Nothing of it may be in a write-ahead file when it takes its name."""
    names = []
    rename = type(path).rename

    def look(draft, target):
        names.append(sorted(file.name for file in path.parent.iterdir()))
        return rename(draft, target)

    monkeypatch.setattr(type(path), "rename", look)
    Database.make(path, key)
    assert names == [["history.db.new"]]
    assert path.read_bytes()
    raw = connect(path, key)
    assert raw.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    raw.close()


def test_a_history_that_cannot_be_finished_leaves_no_draft(path, key):
    def broken(_sql):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Database.make(path, key, (*MIGRATIONS, broken))
    assert list(path.parent.iterdir()) == []


def test_a_file_that_may_not_be_read(path, key, filled):
    script = """
        import os, sys
        from pathlib import Path
        from govdesk.errors import HomeError
        from govdesk.storage.database import Database
        path = Path(sys.argv[1])
        path.chmod(0)
        if os.geteuid() == 0:  # root may read everything
            os.chdir(path.parent)
            path = Path(path.name)
            os.setresuid(65534, 65534, 65534)
        try:
            Database.open(path, bytearray(range(32)))
        except HomeError as error:
            print(error.code, error.exit_code)
    """
    result = child(script, path)
    assert result.stdout == "storage.no-access 5\n", result.stderr


def test_a_file_whose_mode_may_not_be_changed_is_explained(path, key, filled, monkeypatch):
    def refuse(_path, _mode):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(type(path), "chmod", refuse)
    with pytest.raises(HomeError):
        Database.open(path, key)
    monkeypatch.undo()
    Database.open(path, key).close()


def test_a_folder_that_may_not_be_written(tmp_path, key):
    with pytest.raises(HomeError):
        Database.create(tmp_path / "nowhere" / "history.db", key)
