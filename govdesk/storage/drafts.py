"""The unsent draft, one, encrypted: it survives a lock and a crash, and goes with its conversation.

Implements `DraftStore` of `chat.ports`. Text arrives redacted. The file zeroes what is overwritten
(`secure_delete`); traces in the encrypted file go at the latest with the next deletion.
"""

from __future__ import annotations

import msgspec

from govdesk.domain.ids import ConversationId
from govdesk.domain.redaction import Finding
from govdesk.domain.turn import Draft
from govdesk.storage import faults
from govdesk.storage.conversations import storable
from govdesk.storage.database import Database

_FINDINGS = msgspec.json.Decoder(tuple[Finding, ...])


class EncryptedDrafts:
    """`DraftStore` on an open `Database`.

    Args:
        database: open; its owner closes it.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, draft: Draft, now_utc_ns: int) -> None:
        """Keep this draft in place of the last one.

        A conversation that is gone meanwhile counts as a new one.
        """
        findings = msgspec.json.encode(draft.findings).decode("utf-8")
        with self._database.writing() as sql:
            sql.execute(
                "INSERT OR REPLACE INTO draft (only, conversation, text, findings, kept_utc_ns)"
                " VALUES (1, (SELECT seq FROM conversations WHERE id = ?), ?, ?, ?)",
                (draft.conversation, storable(draft.text), findings, now_utc_ns),
            )

    def kept(self) -> Draft | None:
        """The draft that was kept last; None when there is none."""
        with self._database.reading() as sql:
            row = sql.execute(
                "SELECT c.id, d.text, d.findings FROM draft AS d"
                " LEFT JOIN conversations AS c ON c.seq = d.conversation"
            ).fetchone()
        if row is None:
            return None
        conversation, text, findings = row
        try:
            found = _FINDINGS.decode(findings)
        except msgspec.DecodeError:
            raise faults.damaged("the draft's row is not of its shape") from None
        return Draft(None if conversation is None else ConversationId(conversation), text, found)
