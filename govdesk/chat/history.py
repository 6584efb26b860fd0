"""History as a person uses it: every look, search, renaming and deletion is on record before and after.

The list of conversations and their titles has no record of its own: the record of the unlocking covers
it, since whoever unlocks sees it. A turn's own reading and writing goes to the store directly, under the
turn's own records.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

from govdesk.chat.ports import AuditLog, History
from govdesk.chat.recording import recorded
from govdesk.domain.ids import ConversationId
from govdesk.domain.record import Entry, Event
from govdesk.domain.turn import Conversation, Message, SearchHit


class AuditedHistory:
    """Implements `chat.ports.History` over another one.

    Args:
        history: the encrypted one.
        audit: where its use is recorded.
        marking: the system's marking.
        policy_stamp: `id@hash` of the policy in force.
        deleted: told of each conversation that was deleted, for what else is kept of it.
    """

    def __init__(
        self,
        history: History,
        audit: AuditLog,
        marking: str,
        policy_stamp: str,
        deleted: Callable[[ConversationId], None] = lambda _: None,
    ) -> None:
        self._history = history
        self._audit = audit
        self._marking = marking
        self._policy = policy_stamp
        self._deleted = deleted

    def conversations(self) -> tuple[Conversation, ...]:
        """All conversations, the latest first; the record of the unlocking covers their titles."""
        return self._history.conversations()

    def messages(self, conversation: ConversationId) -> tuple[Message, ...]:
        """All messages of a conversation, between the records of a `view`."""
        with self._recorded(Event.VIEW, conversation):
            return self._history.messages(conversation)

    def rename(self, conversation: ConversationId, title: str) -> None:
        """Change the title, between two records."""
        with self._recorded(Event.RENAME, conversation):
            self._history.rename(conversation, title)

    def delete(self, conversation: ConversationId) -> None:
        """Delete, between two records."""
        with self._recorded(Event.DELETE, conversation):
            self._history.delete(conversation)
            self._deleted(conversation)

    def search(self, query: str, limit: int = 50) -> tuple[SearchHit, ...]:
        """Search, between records that say how long the query was, never what it was."""
        with self._recorded(Event.SEARCH, "", characters=len(query)):
            return self._history.search(query, limit)

    def _recorded(
        self, event: Event, conversation: str, **fields: str | bool | int | dict[str, int] | None
    ) -> AbstractContextManager[object]:
        entry = Entry(
            event=event,
            outcome="intent",
            object=conversation,
            marking=self._marking,
            policy=self._policy,
            fields=fields,
        )
        return recorded(self._audit, entry)
