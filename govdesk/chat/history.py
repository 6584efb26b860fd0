"""History as a person uses it: every look, search, renaming and deletion is recorded before it happens.

The turn's own reading and writing goes to the store directly, under the turn's own records.
"""

from __future__ import annotations

from govdesk.chat.ports import AuditLog, ConversationStore
from govdesk.domain.ids import ConversationId, RecordSeq, TurnId
from govdesk.domain.record import Entry, Event
from govdesk.domain.redaction import Finding
from govdesk.domain.turn import Conversation, Message, ModelInfo, Outcome, SearchHit, Usage


class AuditedHistory:
    """Implements `chat.ports.ConversationStore` over another one.

    Args:
        store: the encrypted history.
        audit: where it is recorded.
        marking: the system's marking.
        policy_stamp: `id@hash` of the policy in force.
    """

    def __init__(self, store: ConversationStore, audit: AuditLog, marking: str, policy_stamp: str) -> None:
        self._store = store
        self._audit = audit
        self._marking = marking
        self._policy = policy_stamp

    def create(self, title: str, marking: str, now_utc_ns: int) -> ConversationId:
        """Create an empty conversation; the turn that needs it has its own record."""
        return self._store.create(title, marking, now_utc_ns)

    def conversations(self) -> tuple[Conversation, ...]:
        """All conversations, the latest first."""
        return self._store.conversations()

    def messages(self, conversation: ConversationId) -> tuple[Message, ...]:
        """All messages of a conversation, after a `view` record."""
        self._record(Event.VIEW, conversation)
        return self._store.messages(conversation)

    def begin_turn(
        self,
        conversation: ConversationId,
        turn: TurnId,
        prompt: str,
        findings: tuple[Finding, ...],
        marking: str,
        policy: str,
        now_utc_ns: int,
    ) -> None:
        """Store a turn's prompt; the turn has its own record."""
        self._store.begin_turn(conversation, turn, prompt, findings, marking, policy, now_utc_ns)

    def append_answer(self, turn: TurnId, text: str) -> None:
        """Append to an answer; the turn has its own record."""
        self._store.append_answer(turn, text)

    def finish_turn(
        self,
        turn: TurnId,
        outcome: Outcome,
        findings: tuple[Finding, ...],
        model: ModelInfo | None,
        usage: Usage,
        record: RecordSeq,
        now_utc_ns: int,
    ) -> None:
        """Close a turn; the turn has its own record."""
        self._store.finish_turn(turn, outcome, findings, model, usage, record, now_utc_ns)

    def unfinished_turns(self) -> tuple[TurnId, ...]:
        """Turns without an outcome."""
        return self._store.unfinished_turns()

    def rename(self, conversation: ConversationId, title: str) -> None:
        """Change the title, after a record."""
        self._record(Event.RENAME, conversation)
        self._store.rename(conversation, title)

    def delete(self, conversation: ConversationId) -> None:
        """Delete, after a record."""
        self._record(Event.DELETE, conversation)
        self._store.delete(conversation)

    def search(self, query: str, limit: int = 50) -> tuple[SearchHit, ...]:
        """Search, after a record that says how long the query was, never what it was."""
        self._record(Event.SEARCH, "", characters=len(query))
        return self._store.search(query, limit)

    def _record(
        self, event: Event, conversation: str, **fields: str | bool | int | dict[str, int] | None
    ) -> None:
        self._audit.append(
            Entry(
                event=event,
                outcome="success",
                object=conversation,
                marking=self._marking,
                policy=self._policy,
                fields=fields,
            )
        )
