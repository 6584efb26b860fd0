"""Full-text search that no query string can break: every word typed is quoted, none is an operator.

All words must be there; the last one may be only begun. Accents do not matter. Titles come before
messages, the latest first.
"""

from __future__ import annotations

import sqlite_utils

from govdesk.crypto import random_bytes
from govdesk.domain.ids import ConversationId, TurnId
from govdesk.domain.turn import Conversation, Role, SearchHit

MAX_QUERY_CHARACTERS = 1_000
MAX_QUERY_WORDS = 32
MAX_HITS = 1_000
SNIPPET_TOKENS = 16
FOUND_START, FOUND_END = "\u2068", "\u2069"
_ELLIPSIS = "…"

# CROSS JOIN keeps the index outermost: hits come in descending order and LIMIT stops early.
_TITLES = """
    SELECT c.id, c.title, c.marking, c.created_utc_ns, c.updated_utc_ns, '', 'user',
        snippet(title_index, 0, ?, ?, ?, ?)
    FROM title_index CROSS JOIN conversations AS c ON c.seq = title_index.rowid
    WHERE title_index MATCH ? ORDER BY title_index.rowid DESC LIMIT ?
"""
_MESSAGES = """
    SELECT c.id, c.title, c.marking, c.created_utc_ns, c.updated_utc_ns, t.id, m.role,
        snippet(message_index, 0, ?, ?, ?, ?)
    FROM message_index
    CROSS JOIN messages AS m ON m.seq = message_index.rowid
    CROSS JOIN turns AS t ON t.seq = m.turn
    CROSS JOIN conversations AS c ON c.seq = t.conversation
    WHERE message_index MATCH ? ORDER BY message_index.rowid DESC LIMIT ?
"""


def match_expression(untrusted_query: str) -> str | None:
    """The FTS5 expression for what a person typed; None when there is nothing to look for.

    A quoted string is never an operator (sqlite.org/fts5.html 3.1).
    """
    text = untrusted_query[:MAX_QUERY_CHARACTERS].encode("utf-8", "ignore").decode("utf-8").replace("\0", " ")
    words = [word for word in text.split() if any(character.isalnum() for character in word)]
    if not words:
        return None
    quoted = ['"' + word.replace('"', '""') + '"' for word in words[:MAX_QUERY_WORDS]]
    # A space after the last word ends it; without one the person may still be typing.
    if not text[-1].isspace() and any(character.isalnum() for character in text.split()[-1]):
        quoted[-1] += "*"
    return " ".join(quoted)


def find(sql: sqlite_utils.Database, untrusted_query: str, limit: int) -> tuple[SearchHit, ...]:
    """Hits in titles (their `turn` is empty), then in messages.

    Args:
        sql: the open history.
        untrusted_query: anything.
        limit: most hits; clamped to 0 … `MAX_HITS`.
    """
    expression = match_expression(untrusted_query)
    left = min(max(limit, 0), MAX_HITS)
    hits: list[SearchHit] = []
    if expression is None:
        return ()
    # The stored text may hold the marks itself; marks that nobody can guess are put in and then exchanged.
    nonce = random_bytes(8).hex()
    start, end = f"\x02{nonce}\x02", f"\x03{nonce}\x03"
    for statement in (_TITLES, _MESSAGES):
        rows = sql.execute(statement, (start, end, _ELLIPSIS, SNIPPET_TOKENS, expression, left)).fetchall()
        hits += [_hit(row, start, end) for row in rows]
        left -= len(rows)
    return tuple(hits)


def _hit(row: tuple[str, str, str, int, int, str, str, str], start: str, end: str) -> SearchHit:
    conversation, title, marking, created, updated, turn, role, snippet = row
    snippet = snippet.replace(FOUND_START, "").replace(FOUND_END, "")
    return SearchHit(
        conversation=Conversation(ConversationId(conversation), title, marking, created, updated),
        turn=TurnId(turn),
        role=Role(role),
        snippet=snippet.replace(start, FOUND_START).replace(end, FOUND_END),
    )
