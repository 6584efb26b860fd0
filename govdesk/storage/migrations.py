"""The history's format, as an ordered list of steps from nothing; a step, once shipped, never changes.

`user_version` is the number of steps applied; step and number are stored in one transaction.

The place of what comes later (security.md 2, not built yet): a row MAC over content and generation is a step
that adds `generation` and `mac` to `messages` and `turns`, and a one-row `chain` table for the head.
Content keys per conversation go on `conversations`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import sqlite_utils

Migration = Callable[[sqlite_utils.Database], None]


def m001_history(sql: sqlite_utils.Database) -> None:
    """Conversations, turns, messages, the parts of an answer that still streams, and the full-text index.

    Every message is in the index with the text of its row (an answer that streams with none); FTS5's own
    check relies on it. The index keeps no text of its own (external content), and forgets words when
    their message goes (`secure-delete`).
    """
    for statement in _M001:
        sql.execute(statement)


_M001 = (
    """
    CREATE TABLE conversations (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        title TEXT NOT NULL,
        marking TEXT NOT NULL,
        created_utc_ns INTEGER NOT NULL,
        updated_utc_ns INTEGER NOT NULL
    ) STRICT
    """,
    "CREATE INDEX conversations_latest ON conversations (updated_utc_ns DESC, seq DESC)",
    """
    CREATE TABLE turns (
        seq INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        conversation INTEGER NOT NULL REFERENCES conversations (seq) ON DELETE CASCADE,
        begun_utc_ns INTEGER NOT NULL,
        marking TEXT NOT NULL,
        policy TEXT NOT NULL,
        outcome TEXT CHECK (outcome IN ('completed', 'denied', 'cancelled', 'failed', 'interrupted')),
        ended_utc_ns INTEGER CHECK ((ended_utc_ns IS NULL) = (outcome IS NULL)),
        record INTEGER CHECK ((record IS NULL) = (outcome IS NULL)),
        model_name TEXT,
        model_digest TEXT,
        model_context_tokens INTEGER,
        prompt_tokens INTEGER,
        read_tokens INTEGER,
        answer_tokens INTEGER,
        first_token_seconds REAL,
        total_seconds REAL
    ) STRICT
    """,
    "CREATE INDEX turns_of_conversation ON turns (conversation, seq)",
    "CREATE INDEX turns_unfinished ON turns (seq) WHERE outcome IS NULL",
    """
    CREATE TABLE messages (
        seq INTEGER PRIMARY KEY,
        turn INTEGER NOT NULL REFERENCES turns (seq) ON DELETE CASCADE,
        role TEXT NOT NULL CHECK (role IN ('user', 'assistant')),
        text TEXT NOT NULL,
        findings TEXT NOT NULL,
        created_utc_ns INTEGER NOT NULL,
        UNIQUE (turn, role)
    ) STRICT
    """,
    """
    CREATE TABLE answer_parts (
        seq INTEGER PRIMARY KEY,
        turn INTEGER NOT NULL REFERENCES turns (seq) ON DELETE CASCADE,
        text TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX answer_parts_of_turn ON answer_parts (turn, seq)",
    """
    CREATE VIRTUAL TABLE message_index USING fts5 (
        text, content = 'messages', content_rowid = 'seq', tokenize = 'unicode61 remove_diacritics 2'
    )
    """,
    """
    CREATE VIRTUAL TABLE title_index USING fts5 (
        title, content = 'conversations', content_rowid = 'seq', tokenize = 'unicode61 remove_diacritics 2'
    )
    """,
    "INSERT INTO message_index (message_index, rank) VALUES ('secure-delete', 1)",
    "INSERT INTO title_index (title_index, rank) VALUES ('secure-delete', 1)",
)


def m002_draft(sql: sqlite_utils.Database) -> None:
    """The one draft with the place it was written at; and with each turn the code of why it ended so."""
    for statement in _M002:
        sql.execute(statement)


_M002 = (
    """
    CREATE TABLE draft (
        only INTEGER PRIMARY KEY CHECK (only = 1),
        conversation INTEGER REFERENCES conversations (seq) ON DELETE CASCADE,
        text TEXT NOT NULL,
        findings TEXT NOT NULL,
        kept_utc_ns INTEGER NOT NULL
    ) STRICT
    """,
    "ALTER TABLE turns ADD COLUMN code TEXT",
)


def m003_prompt_states(sql: sqlite_utils.Database) -> None:
    """What the model read of a conversation is kept in a sealed file: its key, its name, what it is bound to.

    The key goes with its conversation, and then nobody opens the file.
    """
    sql.execute(_M003)


_M003 = """
    CREATE TABLE prompt_states (
        conversation INTEGER PRIMARY KEY REFERENCES conversations (seq) ON DELETE CASCADE,
        key BLOB NOT NULL CHECK (length(key) = 32),
        file TEXT NOT NULL UNIQUE,
        binding BLOB NOT NULL,
        tokens INTEGER NOT NULL,
        state_bytes INTEGER NOT NULL,
        file_bytes INTEGER NOT NULL,
        used_utc_ns INTEGER NOT NULL
    ) STRICT
    """


def m004_thinking(sql: sqlite_utils.Database) -> None:
    """What a reasoning model thought before its answer: beside it, and not in the index."""
    for statement in _M004:
        sql.execute(statement)


_M004 = (
    "ALTER TABLE messages ADD COLUMN thinking TEXT NOT NULL DEFAULT ''",
    "ALTER TABLE messages ADD COLUMN thinking_findings TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE messages ADD COLUMN thinking_seconds REAL NOT NULL DEFAULT 0",
    "ALTER TABLE answer_parts ADD COLUMN thinking INTEGER NOT NULL DEFAULT 0",
)


def m005_what_the_model_saw(sql: sqlite_utils.Database) -> None:
    """With each turn: how many of the oldest turns the model was not given, and whose summary instead."""
    for statement in _M005:
        sql.execute(statement)


_M005 = (
    "ALTER TABLE turns ADD COLUMN cut_turns INTEGER NOT NULL DEFAULT 0 CHECK (cut_turns >= 0)",
    "ALTER TABLE turns ADD COLUMN cut_summary TEXT",
)

MIGRATIONS: tuple[Migration, ...] = (
    m001_history,
    m002_draft,
    m003_prompt_states,
    m004_thinking,
    m005_what_the_model_saw,
)


def apply(sql: sqlite_utils.Database, version: int, steps: tuple[Migration, ...]) -> None:
    """Apply `steps[version:]`, each in a transaction with its number.

    Args:
        sql: the open database, at `version`.
        version: number of steps applied so far.
        steps: all steps to reach.
    """
    for number, step in enumerate(steps[version:], start=version + 1):
        with transaction(sql):
            step(sql)
            sql.execute(f"PRAGMA user_version = {number}")


@contextmanager
def transaction(sql: sqlite_utils.Database) -> Iterator[None]:
    """One transaction: committed when the block ends, rolled back when it or the commit raises.

    `sqlite-utils` has one too, but a deferred one; this takes the write lock at once, so that a
    busy file is found before anything was done.
    """
    sql.execute("BEGIN IMMEDIATE")
    try:
        yield
        sql.execute("COMMIT")
    except BaseException:
        sql.rollback()
        raise
