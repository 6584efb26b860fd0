"""What will be sent is read before it is sent, and nothing reaches the model early: the order says so.

    draft → redaction → policy → storage's rules → durable `draft.read` record → worker

It is the same check as for a message that is sent, and every reading has its own durable record before it.
There is at most one such record every `RECORD_SECONDS`, because nothing is read in between. What turns out
wrong costs nothing but the reading: the worker keeps the longest beginning that agrees.
"""

from __future__ import annotations

import secrets
import threading

from govdesk.chat.checking import check
from govdesk.chat.fitting import answer_room, blocks, cut_in_force, history_of
from govdesk.chat.ports import AuditLog, Clock, ConversationStore, Inference, PolicyDecider, Redactor
from govdesk.chat.running import Fields, entry
from govdesk.domain.decision import Deny
from govdesk.domain.ids import ConversationId, TurnId
from govdesk.domain.record import Event
from govdesk.domain.redaction import counts
from govdesk.domain.turn import AheadResult, Counted, Later, Outcome, Role, Sampling
from govdesk.errors import AuditClosedError, GovDeskError

RECORD_SECONDS = 2.0
"""Least time between two records of reading ahead."""
MAX_CHARACTERS = 400_000
"""A longer draft fits no context; it is checked when it is sent."""
NEW = "new"
"""The conversation that a draft will begin: it has no id yet, and no id looks like this."""


class ReadingAhead:
    """Implements `chat.ports.Ahead`.

    Args:
        audit: where each reading is recorded before it starts.
        decider: policy's decision on the draft.
        redactor: redaction under the policy in force.
        inference: the worker.
        store: encrypted history.
        clock: time.
        marking: the system's marking.
        policy_stamp: `id@hash` of the policy in force.
        allowed: whether policy lets anything be read ahead.
    """

    def __init__(
        self,
        *,
        audit: AuditLog,
        decider: PolicyDecider,
        redactor: Redactor,
        inference: Inference,
        store: ConversationStore,
        clock: Clock,
        marking: str,
        policy_stamp: str,
        allowed: bool,
    ) -> None:
        self._audit = audit
        self._decider = decider
        self._redactor = redactor
        self._inference = inference
        self._store = store
        self._clock = clock
        self._marking = marking
        self._policy = policy_stamp
        self._allowed = allowed
        self._one_at_a_time = threading.Lock()
        self._asked = 0
        """How often something was stopped: what began before that does not go on."""
        self._recorded_at: float | None = None

    def stop(self) -> None:
        """What is being read is not what will be sent: stop, at once, from any thread."""
        self._asked += 1
        self._inference.stop_reading()

    def read(self, conversation: ConversationId | None, text: str) -> AheadResult:
        """Read the conversation and the draft as far as they are certain.

        Raises:
            AuditClosedError: there is no durable record, and nothing was read.
            GovDeskError: the worker or the history failed; the record says so.
        """
        asked = self._asked
        if not self._allowed or len(text) > MAX_CHARACTERS or not (text or conversation):
            return None
        with self._one_at_a_time:
            return self._read(conversation, text, asked)

    def _read(self, conversation: ConversationId | None, text: str, asked: int) -> AheadResult:
        now = self._clock.monotonic()
        if self._recorded_at is not None and now - self._recorded_at < RECORD_SECONDS:
            return Later(self._recorded_at + RECORD_SECONDS - now)
        draft, findings, denied = "", {}, None
        if text:
            checked = check(text, self._redactor, self._decider)
            draft, findings = checked.text, counts(checked.findings)
            denied = checked.decision.rule if isinstance(checked.decision, Deny) else None
        fields: Fields = {"characters": len(text), "findings": findings}
        if self._stopped(asked):
            return None  # nothing was recorded, and nothing was read
        self._recorded_at = now
        if denied is not None:
            self._record("denied", conversation, {**fields, "rule": denied})
            return None
        self._record("intent", conversation, fields)
        try:
            messages = self._store.messages(conversation) if conversation else ()
            given = history_of(blocks(messages, cut_in_force(messages)))
            info = self._inference.model()
            history = (*given, (Role.USER, draft))
            turn = TurnId(secrets.token_hex(12))
            read = self._inference.read_ahead(
                turn, history, conversation or NEW, lambda: not self._stopped(asked)
            )
        except AuditClosedError:
            raise
        except GovDeskError as error:
            self._record("failure", conversation, {**fields, "code": error.code})
            raise
        if read is None:
            self._record(Outcome.CANCELLED.value, conversation, fields)
            return None
        tokens = {"prompt": read.prompt_tokens, "reused": read.reused_tokens, "read": read.read_tokens}
        outcome = Outcome.CANCELLED.value if read.cancelled else "success"
        self._record(outcome, conversation, {**fields, "tokens": tokens})
        if not read.prompt_tokens or not text:
            return None
        room = info.context_tokens - answer_room(info.context_tokens, Sampling().max_tokens)
        return Counted(read.prompt_tokens, room, read.estimated)

    def _stopped(self, asked: int) -> bool:
        return asked != self._asked  # from another thread, at any time

    def _record(self, outcome: str, conversation: ConversationId | None, fields: Fields) -> None:
        self._audit.append(
            entry(
                Event.DRAFT_READ,
                outcome,
                conversation or "",
                marking=self._marking,
                policy=self._policy,
                fields=fields,
            )
        )
