"""Each step is tested, a verified backup comes first, and a failed step leaves the old format."""

import stat

import pytest

from govdesk.domain.ids import ConversationId, TurnId
from govdesk.domain.turn import Cut
from govdesk.errors import CorruptDatabaseError
from govdesk.storage.conversations import EncryptedConversations
from govdesk.storage.database import Database
from govdesk.storage.drafts import EncryptedDrafts
from govdesk.storage.migrations import (
    MIGRATIONS,
    m001_history,
    m002_draft,
    m003_prompt_states,
    m004_thinking,
    m005_what_the_model_saw,
)

NEXT = len(MIGRATIONS) + 1


def next_step(sql):
    sql.execute("ALTER TABLE turns ADD COLUMN note TEXT")
    sql.execute("UPDATE turns SET note = 'migrated'")


def broken_step(sql):
    sql.execute("UPDATE messages SET text = 'ruined'")
    sql.execute("this is not SQL")


@pytest.fixture
def older(path, key):
    database = Database.create(path, key)
    store = EncryptedConversations(database)
    conversation = store.create("kept", "", 1)
    store.begin_turn(conversation, TurnId("t"), "kept prompt", (), "", "", 1)
    database.close()
    return conversation


def test_m001_history(path, key):
    assert MIGRATIONS[0] is m001_history
    database = Database.create(path, key, (m001_history,))
    with database.reading() as sql:
        tables = {name for name in sql.table_names() if "index" not in name}
        assert tables == {"conversations", "turns", "messages", "answer_parts"}
        assert all(sql.table(name).strict for name in tables)
        assert set(sql.table_names(fts5=True)) == {"message_index", "title_index"}
        references = {
            name: [(k.column, k.other_table) for k in sql.table(name).foreign_keys] for name in tables
        }
    assert references["turns"] == [("conversation", "conversations")]
    assert references["messages"] == references["answer_parts"] == [("turn", "turns")]
    database.close()


def test_m002_draft(path, key):
    assert MIGRATIONS[1] is m002_draft
    Database.create(path, key, (m001_history,)).close()
    database = Database.open(path, key, (m001_history, m002_draft))
    with database.reading() as sql:
        assert sql.table("draft").strict
        assert [(k.column, k.other_table) for k in sql.table("draft").foreign_keys] == [
            ("conversation", "conversations")
        ]
        assert "code" in {column.name for column in sql.table("turns").columns}
    assert EncryptedDrafts(database).kept() is None
    database.close()


def test_m003_prompt_states(path, key):
    """The key of a state goes with its conversation, and is a whole one."""
    assert MIGRATIONS[2] is m003_prompt_states
    Database.create(path, key, (m001_history, m002_draft)).close()
    database = Database.open(path, key, (m001_history, m002_draft, m003_prompt_states))
    insert = "INSERT INTO prompt_states VALUES (1, ?, 'f', x'', 1, 1, 1, 1)"
    with database.writing() as sql:
        assert sql.table("prompt_states").strict
        sql.execute("INSERT INTO conversations VALUES (1, 'c', 't', '', 1, 1)")
        sql.execute(insert, (bytes(32),))
    with pytest.raises(Exception, match="refused a statement"), database.writing() as sql:
        sql.execute("UPDATE prompt_states SET key = ?", (bytes(31),))
    with database.writing() as sql:
        sql.execute("DELETE FROM conversations")
        assert sql.table("prompt_states").count == 0
    database.close()


def test_m005_what_the_model_saw(path, key):
    """A turn from before was given everything."""
    assert m005_what_the_model_saw in MIGRATIONS
    database = Database.create(path, key, (m001_history, m002_draft))
    with database.writing() as sql:
        sql.execute("INSERT INTO conversations VALUES (1, 'c', 't', '', 1, 1)")
        sql.execute("INSERT INTO title_index (rowid, title) VALUES (1, 't')")
        sql.execute(
            "INSERT INTO turns (id, conversation, begun_utc_ns, marking, policy) VALUES ('t',1,1,'','')"
        )
        sql.execute("INSERT INTO messages VALUES (1, 1, 'user', 'kept', '[]', 1)")
        sql.execute("INSERT INTO message_index (rowid, text) VALUES (1, 'kept')")
    database.close()
    database = Database.open(path, key)
    (message,) = EncryptedConversations(database).messages(ConversationId("c"))
    assert message.cut == Cut()
    store = EncryptedConversations(database)
    store.begin_turn(ConversationId("c"), TurnId("s"), "p", (), "", "", 2, Cut(1, TurnId("s")))
    assert [one.cut for one in store.messages(ConversationId("c"))[1:]] == [Cut(1, TurnId("s"))] * 2
    with pytest.raises(Exception, match="refused a statement"):
        store.begin_turn(ConversationId("c"), TurnId("u"), "p", (), "", "", 2, Cut(-1))
    database.close()


def test_m004_thinking(path, key):
    assert m004_thinking in MIGRATIONS
    database = Database.create(path, key, (m001_history, m002_draft))
    with database.writing() as sql:
        sql.execute(
            "INSERT INTO conversations (id, title, marking, created_utc_ns, updated_utc_ns)"
            " VALUES ('c', 'c', '', 1, 1)"
        )
        sql.execute(
            "INSERT INTO turns (id, conversation, begun_utc_ns, marking, policy) VALUES ('t', 1, 1, '', '')"
        )
        sql.execute(
            "INSERT INTO messages (turn, role, text, findings, created_utc_ns)"
            " VALUES (1, 'assistant', '', '[]', 1)"
        )
        sql.execute("INSERT INTO message_index (rowid, text) VALUES (1, '')")
        sql.execute("INSERT INTO title_index (rowid, title) VALUES (1, 'c')")
        sql.execute("INSERT INTO answer_parts (turn, text) VALUES (1, 'an older part')")
    database.close()
    database = Database.open(path, key, (m001_history, m002_draft, m004_thinking))
    with database.reading() as sql:
        assert sql.execute(
            "SELECT thinking, thinking_findings, thinking_seconds FROM messages"
        ).fetchall() == [("", "[]", 0.0)]
        assert sql.execute("SELECT text, thinking FROM answer_parts").fetchall() == [("an older part", 0)]
    database.check()
    database.close()


def test_an_older_history_is_backed_up_and_brought_up_to_date(path, key, older):
    database = Database.open(path, key, (*MIGRATIONS, next_step))
    with database.reading() as sql:
        assert sql.execute("SELECT note FROM turns").fetchall() == [("migrated",)]
        assert sql.execute("PRAGMA user_version").fetchone() == (NEXT,)
    (backup,) = database.backups()
    assert backup.name == f"history.db.before-{NEXT:03d}"
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert b"kept prompt" not in backup.read_bytes()
    database.close()
    restored = Database.open(backup, key)
    assert EncryptedConversations(restored).messages(older)[0].text == "kept prompt"
    restored.check()
    restored.close()


def test_two_steps_have_two_backups(path, key, older):
    def third(sql):
        sql.execute("CREATE TABLE third (x INTEGER)")

    database = Database.open(path, key, (*MIGRATIONS, next_step, third))
    assert [b.name for b in database.backups()] == [
        f"history.db.before-{NEXT:03d}",
        f"history.db.before-{NEXT + 1:03d}",
    ]
    database.close()


def test_a_history_that_is_up_to_date_is_not_copied(path, key, older):
    database = Database.open(path, key)
    assert database.backups() == ()
    database.close()


def test_a_failed_step_leaves_the_old_format(path, key, older):
    with pytest.raises(Exception, match="refused a statement"):
        Database.open(path, key, (*MIGRATIONS, broken_step))
    database = Database.open(path, key)
    with database.reading() as sql:
        assert sql.execute("PRAGMA user_version").fetchone() == (NEXT - 1,)
    assert EncryptedConversations(database).messages(older)[0].text == "kept prompt"
    assert len(database.backups()) == 1
    database.close()


def test_no_step_without_a_sound_backup(path, key, older, monkeypatch):
    ran = []

    def spoil(sql):
        raise CorruptDatabaseError("the copy is not sound")

    monkeypatch.setattr("govdesk.storage.diagnosis.check_all", spoil)
    with pytest.raises(CorruptDatabaseError, match="copy"):
        Database.open(path, key, (*MIGRATIONS, lambda sql: ran.append(1)))
    assert ran == []
    assert [f.name for f in path.parent.iterdir()] == ["history.db"], "a copy that is not sound has no name"


def test_a_damaged_history_is_not_migrated(path, key, older):
    content = bytearray(path.read_bytes())
    content[-2000] ^= 1
    path.write_bytes(content)
    ran = []
    with pytest.raises(CorruptDatabaseError):
        Database.open(path, key, (*MIGRATIONS, lambda sql: ran.append(1)))
    assert ran == []


def test_a_deletion_removes_the_backups_that_still_have_it(path, key, older):
    database = Database.open(path, key, (*MIGRATIONS, next_step))
    EncryptedConversations(database).delete(older)
    assert database.backups() == ()
    database.close()
