"""An unsent draft is stored text: redacted as such, recorded, and not kept when policy blocks it.

What could not be sent is not kept either: a draft is no way round the check of a prompt.
"""

from __future__ import annotations

from govdesk.chat.ports import AuditLog, Clock, DraftStore, Redactor
from govdesk.chat.recording import recorded
from govdesk.domain.ids import ConversationId
from govdesk.domain.record import Entry, Event
from govdesk.domain.redaction import Direction, counts
from govdesk.domain.turn import Draft


class RedactedDrafts:
    """Implements `chat.ports.Drafts` over a store.

    Args:
        store: the encrypted one.
        redactor: redaction under the policy in force.
        audit: where each keeping is recorded.
        clock: time.
        marking: the system's marking.
        policy_stamp: `id@hash` of the policy in force.
    """

    def __init__(
        self,
        *,
        store: DraftStore,
        redactor: Redactor,
        audit: AuditLog,
        clock: Clock,
        marking: str,
        policy_stamp: str,
    ) -> None:
        self._store = store
        self._redactor = redactor
        self._audit = audit
        self._clock = clock
        self._marking = marking
        self._policy = policy_stamp

    def keep(self, conversation: ConversationId | None, text: str) -> Draft:
        """Redact, record how much and how many findings of which type, then keep.

        The place alone holds no words and has no record.
        """
        if not text:
            draft = Draft(conversation, "")
            self._store.keep(draft, self._clock.utc_ns())
            return draft
        # Redacted for storage alone, a marking would become a placeholder, and the rest could be sent later.
        as_prompt = self._redactor.redact(text, Direction.PROMPT)
        redacted = as_prompt if as_prompt.blocked else self._redactor.redact(text, Direction.STORAGE)
        draft = Draft(conversation, "" if redacted.blocked else redacted.text, redacted.findings)
        entry = Entry(
            event=Event.DRAFT_KEEP,
            outcome="denied",
            object=conversation or "",
            marking=self._marking,
            policy=self._policy,
            fields={"characters": len(text), "findings": counts(redacted.findings)},
        )
        if redacted.blocked:
            self._audit.append(entry)
            self._store.keep(draft, self._clock.utc_ns())
            return draft
        with recorded(self._audit, entry):
            self._store.keep(draft, self._clock.utc_ns())
        return draft

    def kept(self) -> Draft | None:
        """The draft that was kept last."""
        return self._store.kept()
