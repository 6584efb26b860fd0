"""What the model read of a long conversation outlives the worker and the session, sealed, if policy lets it.

It is `chat.ports.Inference` around another one: before a conversation is read, what was kept of it is given
back; once it is quiet, what is new is kept. Nothing of this is in a person's way: whatever fails costs
reading again, and is on record with ids and counts.

What is kept is what was sent to the model: the last prompt, or what was read ahead since, both past policy
and redaction. What the model wrote was not redacted, and is not kept before it is part of a prompt: the
worker gives nothing behind the last prompt, and a state of more tokens than were sent is not taken.

A state is used only under the same marking, policy, model and library, and goes with its conversation.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Generator
from dataclasses import dataclass

from govdesk import crypto
from govdesk.chat.ports import AuditLog, Clock, Inference
from govdesk.chat.reading_ahead import NEW
from govdesk.config import Profile
from govdesk.domain.ids import ConversationId, TurnId
from govdesk.domain.inference import Count, Piece, Read, Stopped
from govdesk.domain.policy import PolicyInForce
from govdesk.domain.prompt_state import PromptState
from govdesk.domain.record import Entry, Event
from govdesk.domain.turn import ModelInfo, Reading, Role, Sampling
from govdesk.errors import AuditClosedError, GovDeskError, MachineError
from govdesk.inference.prompt_states import Left, PromptStates, new_memfd, no_end
from govdesk.inference.supervisor import Supervisor
from govdesk.storage.database import Database
from govdesk.storage.prompt_states import PromptStateFiles

LEAST_TOKENS = 512
"""A shorter conversation is read again as fast as it would be taken from disk."""
QUIET_SECONDS = 20.0
"""So long nothing was asked before what is new is kept: not after each turn."""
CLOSE_SECONDS = 2.0
"""Most that locking and quitting wait for it, whatever it is that takes the time."""
_LOOK_SECONDS = 1.0
_WAIT_SECONDS = 3.0
_END_WAIT_SECONDS = 0.5
"""Longest that giving back waits for what gives way, and that the end waits for a running answer."""
_CODES = {
    errno.ENOSPC: "disk.full",
    errno.ENOMEM: "state.no-memory",
    errno.EMFILE: "state.no-memory",
    errno.ENFILE: "state.no-memory",
}
_Fields = dict[str, str | bool | int | dict[str, int] | None]


@dataclass(frozen=True, slots=True)
class _Unsaved:
    """What was asked last and is not kept yet. `tokens`: most that were sent to the model at once since."""

    conversation: ConversationId
    tokens: int


class PromptCache:
    """Implements `chat.ports.Inference` over another one, for one unlocked session.

    Args:
        inference: the worker.
        states: moves states out of it and back.
        files: the sealed files.
        audit: where each saving, restoring and forgetting is recorded.
        clock: time.
        marking: the system's marking.
        policy_stamp: `id@hash` of the policy in force.
        allowed: whether policy lets anything be kept.
    """

    def __init__(
        self,
        *,
        inference: Inference,
        states: PromptStates,
        files: PromptStateFiles,
        audit: AuditLog,
        clock: Clock,
        marking: str,
        policy_stamp: str,
        allowed: bool,
    ) -> None:
        self._inference = inference
        self._states = states
        self._files = files
        self._audit = audit
        self._clock = clock
        self._marking = marking
        self._policy = policy_stamp
        self._allowed = allowed
        self._unsaved: _Unsaved | None = None
        self._quiet_from = 0.0
        self._one_at_a_time = threading.Lock()
        self._closing = threading.Event()

    # ── chat.ports.Inference ─────────────────────────────────────────────────

    def model(self) -> ModelInfo:
        """The model that will answer, loaded."""
        return self._inference.model()

    def answer(
        self,
        turn: TurnId,
        history: tuple[tuple[Role, str], ...],
        sampling: Sampling,
        conversation: str = "",
    ) -> Generator[Reading | Piece | Stopped, None, None]:
        """One answer; what was kept of the conversation is given back first."""
        self._inference.stop_reading()
        self._restore(ConversationId(conversation))
        sent = 0
        try:
            with contextlib.closing(self._inference.answer(turn, history, sampling, conversation)) as events:
                for event in events:
                    if isinstance(event, Reading):
                        sent = event.total_tokens
                    yield event
        finally:
            if conversation and sent:  # else the worker still has what it had
                self._unsaved = _Unsaved(ConversationId(conversation), sent)
            self._quiet_from = self._clock.monotonic()

    def count(self, turn: TurnId, history: tuple[tuple[Role, str], ...]) -> Count:
        """How many tokens a history takes."""
        return self._inference.count(turn, history)

    def read_ahead(
        self,
        turn: TurnId,
        history: tuple[tuple[Role, str], ...],
        conversation: str,
        wanted: Callable[[], bool],
    ) -> Read | None:
        """Read ahead; what was kept of the conversation is given back first: it was opened, say."""
        if self._unsaved is not None and self._unsaved.conversation != conversation:
            self.save()  # another conversation takes the room
        if wanted():
            self._restore(ConversationId(conversation))
        read = self._inference.read_ahead(turn, history, conversation, wanted)
        unsaved = self._unsaved
        if read is not None and unsaved is not None and unsaved.conversation == conversation:
            sent = max(unsaved.tokens, read.reused_tokens + read.read_tokens)
            self._unsaved = _Unsaved(unsaved.conversation, sent)
        return read

    def stop_reading(self) -> None:
        """Stop reading ahead."""
        self._inference.stop_reading()

    def cancel(self) -> None:
        """Stop the running answer."""
        self._inference.cancel()

    # ── what is kept ─────────────────────────────────────────────────────────

    def begin(self) -> None:
        """After unlocking, beside everything else: tidy up, then keep what is new whenever it is quiet."""
        threading.Thread(target=self._live, name="states", daemon=True).start()

    def tidy(self) -> None:
        """Remove files that nobody owns, and what there is no room for; all where policy keeps nothing."""
        over = 0
        with self._one_at_a_time:
            removed = self._files.sweep() if self._allowed else self._files.clear()
            if self._allowed:
                over = self._files.make_room(ConversationId(""), 0)
        if removed:
            self._forgotten("", "left-over" if self._allowed else "policy", removed)
        if over:
            self._forgotten("", "quota", over)

    def save(self, left: Left = no_end) -> bool:
        """Keep what is new of the conversation that was asked last, if it is worth it; False when not.

        Args:
            left: how many seconds there are for all of it; what is not kept by then is given up.

        Raises:
            AuditClosedError: nothing may be kept without a record.
        """
        unsaved = self._unsaved
        if not self._allowed or unsaved is None:
            return False
        if not self._one_at_a_time.acquire(timeout=max(0.0, min(_WAIT_SECONDS, left()))):
            if left is not no_end:
                self._record(Event.STATE_SAVE, "failure", unsaved.conversation, {"code": "time"})
            return False
        try:
            return self._save(left)
        finally:
            self._one_at_a_time.release()

    def deleted(self, conversation: ConversationId) -> None:
        """A conversation was deleted, and its key with it: the worker forgets it, and the files go.

        Nothing raises: it is deleted, and a file that stays is noise that the next unlocking removes.
        """
        if self._unsaved is not None and self._unsaved.conversation == conversation:
            self._unsaved = None
        with contextlib.suppress(GovDeskError):
            self._states.forget(conversation)
            self._states.forget(NEW)  # what was read ahead before it had a name
        with contextlib.suppress(GovDeskError, OSError), self._one_at_a_time:
            if removed := self._files.sweep():
                self._forgotten(conversation, "deleted", removed)

    def close(self) -> None:
        """Before the session ends: keep what is new, in bounded time; nothing that fails stops the end."""
        self._closing.set()
        end = self._clock.monotonic() + CLOSE_SECONDS
        with contextlib.suppress(GovDeskError, OSError):
            self.save(lambda: end - self._clock.monotonic())

    def look(self) -> None:
        """Keep what is new once nothing was asked for long enough; nothing that fails is in anybody's way."""
        quiet = self._clock.monotonic() - self._quiet_from
        if self._unsaved is not None and quiet >= QUIET_SECONDS:
            with contextlib.suppress(GovDeskError, OSError):  # a closed log too: the next turn meets it
                self.save()

    def _live(self) -> None:
        with contextlib.suppress(GovDeskError, OSError):
            self.tidy()
        while self._allowed and not self._closing.wait(_LOOK_SECONDS):
            self.look()

    def _save(self, left: Left) -> bool:
        unsaved, binding = self._unsaved, self._binding()
        if unsaved is None or not binding:
            return False
        conversation = unsaved.conversation
        wait = 0.0 if left is no_end else _END_WAIT_SECONDS  # else what runs, reading ahead say, goes first
        try:
            kept = self._files.kept(conversation)
            tokens = self._states.tokens(conversation, wait_seconds=wait, left=left)
            if tokens is None:
                return False  # it is at work: later
            if self._unsaved is unsaved:
                self._unsaved = None
            if tokens < LEAST_TOKENS or (
                kept is not None and (kept.tokens, kept.binding) == (tokens, binding)
            ):
                return False
            fields = self._keep(unsaved, binding, wait, left)
        except AuditClosedError:
            raise
        except (GovDeskError, OSError) as error:
            if self._unsaved is unsaved:
                self._unsaved = None  # what failed is not tried again and again
            self._record(Event.STATE_SAVE, "failure", conversation, {"code": _code(error)})
            return False
        self._record(Event.STATE_SAVE, "success", conversation, fields)
        return True

    def _keep(self, unsaved: _Unsaved, binding: bytes, wait_seconds: float, left: Left) -> _Fields:
        """Have the state, make room for it, seal it."""
        conversation, room = unsaved.conversation, self._files.room()
        self._record(Event.STATE_SAVE, "intent", conversation, {})
        state = self._states.save(conversation, unsaved.tokens, room, wait_seconds=wait_seconds, left=left)
        if state is None:
            raise MachineError("There is no state to keep.", code="disk.full" if room < 1 else "state.none")
        try:
            if gone := self._files.make_room(conversation, state.state_bytes):
                self._forgotten("", "quota", gone)
            self._files.keep(conversation, state, binding, self._clock.utc_ns(), lambda: left() <= 0)
        finally:
            os.close(state.descriptor)
        return {"tokens": state.tokens, "bytes": state.state_bytes}

    def _restore(self, conversation: ConversationId) -> None:
        """Give the worker what was kept, where it holds nothing of it; AuditClosedError alone leaves here."""
        if not self._allowed or not conversation:
            return
        if not self._one_at_a_time.acquire(timeout=_WAIT_SECONDS):
            return  # a large state is being sealed: this one is read again
        try:
            self._give_back(conversation)
        except AuditClosedError:
            raise
        except (GovDeskError, OSError):
            return  # the answer itself meets what is wrong, and says so
        finally:
            self._one_at_a_time.release()

    def _give_back(self, conversation: ConversationId) -> None:
        kept = self._files.kept(conversation)
        if kept is None:
            return
        self._inference.model()
        binding = self._binding()
        if not binding or self._states.tokens(conversation, wait_seconds=_WAIT_SECONDS) != 0:
            return
        if kept.binding != binding:
            self._files.drop(conversation)
            self._forgotten(conversation, "other", 1)
            return
        fields: _Fields = {"tokens": kept.tokens}
        self._record(Event.STATE_RESTORE, "intent", conversation, fields)
        code = "state.damaged"
        state: PromptState | None = None
        try:
            state = self._files.take(conversation, new_memfd, self._clock.utc_ns())
            if state is not None:
                code = "state.refused"
                if self._states.restore(conversation, state, wait_seconds=_WAIT_SECONDS):
                    code = ""
        except (GovDeskError, OSError) as error:  # the file may be good: it stays
            code = _code(error, "state.not-read")
            raise
        finally:
            if state is not None:
                os.close(state.descriptor)
            if code:
                self._record(Event.STATE_RESTORE, "failure", conversation, {**fields, "code": code})
        if code:
            self._files.drop(conversation)
            self._forgotten(conversation, "damaged", 1)
        else:
            self._record(Event.STATE_RESTORE, "success", conversation, {**fields, "bytes": kept.state_bytes})

    def _binding(self) -> bytes:
        """What a state may be used with: what the worker says of itself, the marking and the policy."""
        loaded = self._states.binding
        if not loaded:
            return b""
        return crypto.sha384(
            loaded, crypto.sha384(self._marking.encode()), crypto.sha384(self._policy.encode())
        )

    def _forgotten(self, conversation: str, why: str, files: int) -> None:
        self._record(Event.STATE_FORGET, "success", conversation, {"files": files, "why": why})

    def _record(self, event: Event, outcome: str, conversation: str, fields: _Fields) -> None:
        self._audit.append(
            Entry(
                event=event,
                outcome=outcome,
                object=conversation,
                marking=self._marking,
                policy=self._policy,
                fields=fields,
            )
        )


def _code(error: GovDeskError | OSError, other: str = "state.not-written") -> str:
    """What the record says of a failure."""
    if isinstance(error, GovDeskError):
        return error.code
    if isinstance(error, TimeoutError):
        return "time"
    return _CODES.get(error.errno or 0, other)


def for_session(
    supervisor: Supervisor,
    database: Database,
    profile: Profile,
    audit: AuditLog,
    clock: Clock,
    policy: PolicyInForce,
) -> PromptCache:
    """The cache of an unlocked session, under the policy in force."""
    return PromptCache(
        inference=supervisor,
        states=PromptStates(supervisor),
        files=PromptStateFiles(database, profile.caches),
        audit=audit,
        clock=clock,
        marking=policy.policy.system_high,
        policy_stamp=policy.stamp,
        allowed=policy.policy.inference.prompt_state_cache,
    )
