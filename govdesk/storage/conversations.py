"""The encrypted history of conversations: each call one durable transaction, and what is deleted is gone.

Implements `ConversationStore` and `History` of `chat.ports`. Text arrives redacted; findings are
stored as positions and types, never as values. Safe to use from several threads.

An answer that streams is kept as parts, one row each, so that storing the next part costs the same
however long the answer is; its words enter the search index when the turn ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import sqlite_utils

from govdesk.crypto import random_bytes
from govdesk.domain.ids import ConversationId, ModelDigest, RecordSeq, TurnId
from govdesk.domain.redaction import Finding
from govdesk.domain.turn import (
    Conversation,
    Cut,
    Message,
    ModelInfo,
    Outcome,
    Role,
    SearchHit,
    Thinking,
    Usage,
)
from govdesk.errors import BugError, GovDeskError, UsageError
from govdesk.storage import faults, search
from govdesk.storage.database import Database

_NOT_THOUGHT = Thinking()
_FINDINGS = msgspec.json.Decoder(tuple[Finding, ...])


def _new_id() -> str:
    return random_bytes(16).hex()


class EncryptedConversations:
    """`ConversationStore` and `History` on an open `Database`.

    Args:
        database: open; its owner closes it.
        new_id: makes a conversation's id.
    """

    def __init__(self, database: Database, new_id: Callable[[], str] = _new_id) -> None:
        self._database = database
        self._new_id = new_id

    def create(self, title: str, marking: str, now_utc_ns: int) -> ConversationId:
        """Create an empty conversation."""
        conversation = ConversationId(self._new_id())
        title = storable(title)
        with self._database.writing() as sql:
            cursor = sql.execute(
                "INSERT INTO conversations (id, title, marking, created_utc_ns, updated_utc_ns)"
                " VALUES (?, ?, ?, ?, ?)",
                (conversation, title, marking, now_utc_ns, now_utc_ns),
            )
            sql.execute("INSERT INTO title_index (rowid, title) VALUES (?, ?)", (cursor.lastrowid, title))
        return conversation

    def conversations(self) -> tuple[Conversation, ...]:
        """All conversations, the latest first."""
        with self._database.reading() as sql:
            rows = sql.execute(
                "SELECT id, title, marking, created_utc_ns, updated_utc_ns FROM conversations"
                " ORDER BY updated_utc_ns DESC, seq DESC"
            ).fetchall()
        return tuple(Conversation(*row) for row in rows)

    def messages(self, conversation: ConversationId) -> tuple[Message, ...]:
        """All messages in order; an answer that still streams has the text stored so far.

        Raises:
            UsageError: there is no such conversation.
        """
        with self._database.reading() as sql:
            seq = _conversation(sql, conversation)
            rows = sql.execute(
                "SELECT m.role, m.text, t.id, m.created_utc_ns, t.marking, m.findings, t.outcome, t.code,"
                " m.thinking, m.thinking_findings, m.thinking_seconds,"
                " t.model_name, t.model_digest, t.model_context_tokens, t.prompt_tokens, t.read_tokens,"
                " t.answer_tokens, t.first_token_seconds, t.total_seconds, t.cut_turns, t.cut_summary, t.seq"
                " FROM turns AS t JOIN messages AS m ON m.turn = t.seq"
                " WHERE t.conversation = ? ORDER BY m.seq",
                (seq,),
            ).fetchall()
            streaming = {
                row[-1]: _parts(sql, row[-1])
                for row in rows
                if row[6] is None and row[0] == Role.ASSISTANT.value
            }
            thoughts = {turn: _parts(sql, turn, thinking=True) for turn in streaming}
        return tuple(_message(row, streaming, thoughts) for row in rows)

    def begin_turn(
        self,
        conversation: ConversationId,
        turn: TurnId,
        prompt: str,
        findings: tuple[Finding, ...],
        marking: str,
        policy: str,
        now_utc_ns: int,
        cut: Cut = Cut(),  # noqa: B008  frozen
    ) -> None:
        """Store the redacted prompt, the empty answer's row and what the model is not given, all or nothing.

        Raises:
            UsageError: there is no such conversation.
        """
        prompt = storable(prompt)
        with self._database.writing() as sql:
            seq = _conversation(sql, conversation)
            turn_seq = sql.execute(
                "INSERT INTO turns (id, conversation, begun_utc_ns, marking, policy, cut_turns, cut_summary)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (turn, seq, now_utc_ns, marking, policy, cut.turns, cut.summary),
            ).lastrowid
            insert = (
                "INSERT INTO messages (turn, role, text, findings, created_utc_ns) VALUES (?, ?, ?, ?, ?)"
            )
            for row in (
                (turn_seq, Role.USER.value, prompt, _encode(findings), now_utc_ns),
                (turn_seq, Role.ASSISTANT.value, "", "[]", now_utc_ns),
            ):
                message = sql.execute(insert, row).lastrowid
                sql.execute("INSERT INTO message_index (rowid, text) VALUES (?, ?)", (message, row[2]))
            sql.execute("UPDATE conversations SET updated_utc_ns = ? WHERE seq = ?", (now_utc_ns, seq))

    def append_answer(self, turn: TurnId, text: str) -> None:
        """Append redacted text to the answer, durably."""
        self._append(turn, text, thinking=False)

    def append_thinking(self, turn: TurnId, text: str) -> None:
        """Append redacted text to what the model thought before its answer, durably."""
        self._append(turn, text, thinking=True)

    def _append(self, turn: TurnId, text: str, *, thinking: bool) -> None:
        if not text:
            return
        with self._database.writing() as sql:
            seq, _ = _open_turn(sql, turn)
            sql.execute(
                "INSERT INTO answer_parts (turn, text, thinking) VALUES (?, ?, ?)",
                (seq, storable(text), int(thinking)),
            )

    def finish_turn(
        self,
        turn: TurnId,
        outcome: Outcome,
        findings: tuple[Finding, ...],
        model: ModelInfo | None,
        usage: Usage,
        record: RecordSeq,
        now_utc_ns: int,
        code: str = "",
        thinking: Thinking = _NOT_THOUGHT,
    ) -> None:
        """Close the turn with its one outcome; the answer's parts become its text, and can be found."""
        with self._database.writing() as sql:
            seq, conversation = _open_turn(sql, turn)
            text, thought = _parts(sql, seq), _parts(sql, seq, thinking=True)
            (message,) = sql.execute(
                "SELECT seq FROM messages WHERE turn = ? AND role = ?", (seq, Role.ASSISTANT.value)
            ).fetchone()
            sql.execute(
                "UPDATE messages SET text = ?, findings = ?, created_utc_ns = ?, thinking = ?,"
                " thinking_findings = ?, thinking_seconds = ? WHERE seq = ?",
                (
                    text,
                    _encode(findings),
                    now_utc_ns,
                    thought,
                    _encode(thinking.findings),
                    thinking.seconds,
                    message,
                ),
            )
            sql.execute(
                "INSERT INTO message_index (message_index, rowid, text) VALUES ('delete', ?, '')", (message,)
            )
            sql.execute("INSERT INTO message_index (rowid, text) VALUES (?, ?)", (message, text))
            sql.execute("DELETE FROM answer_parts WHERE turn = ?", (seq,))
            sql.execute(
                "UPDATE turns SET outcome = ?, ended_utc_ns = ?, record = ?, model_name = ?,"
                " model_digest = ?, model_context_tokens = ?, prompt_tokens = ?, read_tokens = ?,"
                " answer_tokens = ?, first_token_seconds = ?, total_seconds = ?, code = ? WHERE seq = ?",
                (
                    outcome.value,
                    now_utc_ns,
                    record,
                    model.name if model else None,
                    model.digest if model else None,
                    model.context_tokens if model else None,
                    usage.prompt_tokens,
                    usage.read_tokens,
                    usage.answer_tokens,
                    usage.first_token_seconds,
                    usage.total_seconds,
                    code,
                    seq,
                ),
            )
            sql.execute(
                "UPDATE conversations SET updated_utc_ns = ? WHERE seq = ?", (now_utc_ns, conversation)
            )

    def unfinished_turns(self) -> tuple[TurnId, ...]:
        """Turns without an outcome: what a crash left, the oldest first."""
        with self._database.reading() as sql:
            rows = sql.execute("SELECT id FROM turns WHERE outcome IS NULL ORDER BY seq").fetchall()
        return tuple(TurnId(turn) for (turn,) in rows)

    def rename(self, conversation: ConversationId, title: str) -> None:
        """Change the title; traces of the old one may stay in the encrypted file until it is written anew.

        That happens after the next deletion (`Database.compact_if_due`).

        Raises:
            UsageError: there is no such conversation.
        """
        title = storable(title)
        with self._database.writing() as sql:
            seq = _conversation(sql, conversation)
            _forget_title(sql, seq)
            sql.execute("UPDATE conversations SET title = ? WHERE seq = ?", (title, seq))
            sql.execute("INSERT INTO title_index (rowid, title) VALUES (?, ?)", (seq, title))
        with contextlib.suppress(GovDeskError):  # it is renamed; the next opening or deletion does this again
            self._database.scrub()

    def delete(self, conversation: ConversationId) -> None:
        """Delete the conversation and everything in it, in one transaction; once durable, nothing raises.

        Traces may be in the encrypted file until it is written anew. That is marked in the same
        transaction and done by `Database.compact_if_due`, which the session calls once nobody is at work.

        Raises:
            UsageError: there is no such conversation.
        """
        with self._database.writing() as sql:
            seq = _conversation(sql, conversation)
            _forget_title(sql, seq)
            # An external-content index must be told the very words it indexed.
            sql.execute(
                "INSERT INTO message_index (message_index, rowid, text)"
                " SELECT 'delete', m.seq, m.text FROM turns AS t JOIN messages AS m ON m.turn = t.seq"
                " WHERE t.conversation = ?",
                (seq,),
            )
            sql.execute("DELETE FROM conversations WHERE seq = ?", (seq,))
            self._database.compact_later(sql)
        with contextlib.suppress(GovDeskError):  # it is deleted; what fails here `compact_if_due` does again
            self._database.scrub()
            self._database.forget_backups()

    def search(self, query: str, limit: int = 50) -> tuple[SearchHit, ...]:
        """Full-text search in titles and messages; any query string is safe.

        A hit in a title has an empty `turn`.
        """
        with self._database.reading() as sql:
            return search.find(sql, query, limit)


def storable(text: str) -> str:
    """The text with each lone surrogate, which UTF-8 cannot hold, replaced by one U+FFFD."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)
    return text


def _encode(findings: tuple[Finding, ...]) -> str:
    return msgspec.json.encode(findings).decode("utf-8")


def _conversation(sql: sqlite_utils.Database, conversation: ConversationId) -> int:
    row = sql.execute("SELECT seq FROM conversations WHERE id = ?", (conversation,)).fetchone()
    if row is None:
        raise UsageError(
            "There is no such conversation.",
            code="storage.no-conversation",
            kept="Nothing was changed.",
            todo="It may have been deleted; choose another one.",
        )
    return int(row[0])


def _open_turn(sql: sqlite_utils.Database, turn: TurnId) -> tuple[int, int]:
    row = sql.execute("SELECT seq, conversation, outcome FROM turns WHERE id = ?", (turn,)).fetchone()
    if row is None:
        raise UsageError(
            "The conversation was deleted while this answer was being written.",
            code="storage.no-turn",
            kept="Nothing of it was kept.",
            todo="Ask again in another conversation.",
        )
    if row[2] is not None:
        raise BugError("A turn was continued that has its outcome.", code="bug.storage.turn-ended")
    return int(row[0]), int(row[1])


def _parts(sql: sqlite_utils.Database, turn_seq: int, *, thinking: bool = False) -> str:
    # Joined here: SQL's group_concat and || stop at a NUL character.
    rows = sql.execute(
        "SELECT text FROM answer_parts WHERE turn = ? AND thinking = ? ORDER BY seq",
        (turn_seq, int(thinking)),
    ).fetchall()
    return "".join(text for (text,) in rows)


def _forget_title(sql: sqlite_utils.Database, seq: int) -> None:
    sql.execute(
        "INSERT INTO title_index (title_index, rowid, title) SELECT 'delete', seq, title FROM conversations"
        " WHERE seq = ?",
        (seq,),
    )


def _message(row: Sequence[Any], streaming: dict[int, str], thoughts: dict[int, str]) -> Message:
    *row, cut_turns, cut_summary, turn_seq = row
    role, text, turn, created, marking, findings, outcome, code, *rest = row
    thought, thought_findings, thought_seconds, name, digest, context, *numbers = rest
    answer = role == Role.ASSISTANT.value
    try:
        return Message(
            role=Role(role),
            text=streaming.get(turn_seq, text) if answer else text,
            turn=TurnId(turn),
            created_utc_ns=created,
            marking=marking,
            findings=_FINDINGS.decode(findings),
            outcome=Outcome(outcome) if answer and outcome is not None else None,
            code=(code or "") if answer else "",
            model=ModelInfo(name, ModelDigest(digest), context) if answer and name is not None else None,
            usage=Usage(*numbers) if answer and None not in numbers else Usage(),
            cut=Cut(cut_turns, None if cut_summary is None else TurnId(cut_summary)),
            thinking=Thinking(
                thoughts.get(turn_seq, thought), _FINDINGS.decode(thought_findings), thought_seconds
            )
            if answer
            else _NOT_THOUGHT,
        )
    except (msgspec.DecodeError, ValueError):
        raise faults.damaged("a message's row is not of its shape") from None
