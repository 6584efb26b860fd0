"""A turn is one straight line, written once; the order is the security property.

    prompt → policy → redaction → audit (durable) → inference → output redaction → storage
           → audit (outcome) → view

No record, no inference; no redaction, no view. A denial is a value that is audited and shown. Every
turn, however it ends, closes with exactly one outcome record.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field

from govdesk.chat.endings import code_of, ending_words
from govdesk.chat.ports import (
    AuditLog,
    Clock,
    ConversationStore,
    Inference,
    PolicyDecider,
    RedactionStream,
    Redactor,
)
from govdesk.chat.thought import Thought
from govdesk.domain.decision import Deny
from govdesk.domain.ids import ConversationId, RecordSeq, TurnId
from govdesk.domain.inference import Piece, Stopped
from govdesk.domain.policy import MAX_PROMPT_CHARACTERS
from govdesk.domain.record import Entry, Event
from govdesk.domain.redaction import Direction, Finding, Redacted, counts
from govdesk.domain.turn import (
    Decided,
    Ended,
    ModelInfo,
    Outcome,
    Reading,
    Released,
    Role,
    Sampling,
    TurnEvent,
    Usage,
    remembered,
)
from govdesk.errors import AuditClosedError, BugError, GovDeskError, KnownError, MachineError

STORE_SECONDS = 1.0
"""The answer is stored as it streams, about this often."""
TITLE_CHARACTERS = 60
_BLOCKED = (
    "The answer held something that policy blocks, so the rest of it was discarded. What came before it is "
    "kept. Ask in another way, or ask your security officer about the rule."
)
_PROMPT_NOT_STORED = (
    "The message holds something that policy does not let GovDesk store, and nothing is asked that is not "
    "stored."
)


@dataclass(slots=True)
class _Turn:
    """What is known of the running turn."""

    conversation: ConversationId
    id: TurnId
    prompt_findings: tuple[Finding, ...]
    marking: str
    shown: RedactionStream
    stored: RedactionStream
    thought: Thought
    text: list[str] = field(default_factory=list)
    model: ModelInfo | None = None
    usage: Usage = field(default_factory=Usage)
    unstored: list[str] = field(default_factory=list)
    begun: bool = False
    stored_ended: bool = False

    def block(self) -> str:
        """The code of a block, once redaction met something in the answer that policy blocks; else empty."""
        if self.shown.blocked:
            return "output.blocked"
        return "storage.blocked" if self.stored.blocked else self.thought.block()

    def end_stored(self) -> None:
        """No more of the answer comes: what storage's redaction still held is to be stored too."""
        self.thought.end_stored()
        if not self.stored_ended:
            self.stored_ended = True
            self.unstored.append(self.stored.flush())


class ChatService:
    """Runs turns, one at a time.

    Args:
        audit: where every turn is recorded before it starts and when it ends.
        decider: policy's decision on a prompt.
        redactor: redaction under the policy in force.
        inference: the worker.
        store: encrypted history.
        clock: time.
        marking: the system's marking, which every turn carries.
        policy_stamp: `id@hash` of the policy in force.
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
    ) -> None:
        self._audit = audit
        self._decider = decider
        self._redactor = redactor
        self._inference = inference
        self._store = store
        self._clock = clock
        self._marking = marking
        self._policy = policy_stamp
        self._cancelled = False

    def cancel(self) -> None:
        """Stop the running answer; from any thread. The turn ends with the outcome `cancelled`."""
        self._cancelled = True
        self._inference.cancel()

    def recover(self, recorded: Mapping[TurnId, tuple[str, RecordSeq]]) -> int:
        """Close the stored turns that a crash left open; how many there were.

        Args:
            recorded: outcomes that the log has already, by turn. A turn gets its one outcome record once:
                what is missing here is recorded now as `interrupted`.
        """
        turns = self._store.unfinished_turns()
        for turn in turns:
            outcome, record = recorded.get(turn, (Outcome.INTERRUPTED.value, None))
            if record is None:
                record = self._audit.append(self._entry(Event.TURN_OUTCOME, outcome, turn))
            self._store.finish_turn(turn, Outcome(outcome), (), None, Usage(), record, self._clock.utc_ns())
        return len(turns)

    def run_turn(
        self, conversation: ConversationId | None, prompt: str, sampling: Sampling | None = None
    ) -> Generator[TurnEvent, None, None]:
        """One turn as a stream of events that ends with `Ended`; it starts when the first one is asked for.

        A `cancel` counts for this turn from this call on, even before its first event.

        Args:
            conversation: an existing one, or None for a new one.
            prompt: what the person wrote, whole and unredacted.
            sampling: how tokens are chosen.

        Raises:
            AuditClosedError: a record could not be made durable; nothing that needed it was done.
        """
        self._cancelled = False
        return self._run(conversation, prompt, sampling or Sampling())

    def _run(
        self, conversation: ConversationId | None, prompt: str, sampling: Sampling
    ) -> Generator[TurnEvent, None, None]:
        too_long = len(prompt) > MAX_PROMPT_CHARACTERS  # the decider refuses it; nobody looks at it before
        redacted = Redacted("", ()) if too_long else self._redactor.redact(prompt, Direction.PROMPT)
        decision = self._decider.decide(redacted, len(prompt))
        stored = Redacted("", ())
        if not isinstance(decision, Deny):
            stored = self._redactor.redact(redacted.text, Direction.STORAGE)
            decision = Deny("storage.blocked", _PROMPT_NOT_STORED) if stored.blocked else decision
        turn = _Turn(
            conversation=conversation or ConversationId(""),
            id=TurnId(secrets.token_hex(12)),
            prompt_findings=redacted.findings,
            marking=self._marking,
            shown=self._redactor.stream(Direction.OUTPUT),
            stored=self._redactor.stream(Direction.STORAGE),
            thought=Thought(
                self._redactor.stream(Direction.OUTPUT), self._redactor.stream(Direction.STORAGE)
            ),
        )
        intent = self._audit.append(
            self._entry(
                Event.TURN_INTENT,
                "deny" if isinstance(decision, Deny) else "permit",
                turn.id,
                rule=decision.rule if isinstance(decision, Deny) else None,
                characters=len(prompt),
                findings=counts(redacted.findings),
                conversation=conversation,
            )
        )
        outcome, why, code = Outcome.FAILED, "", "turn.unfinished"
        try:
            if isinstance(decision, Deny):
                outcome, why, code = Outcome.DENIED, decision.why, decision.rule
                yield Decided(turn.conversation, turn.id, decision, "", redacted.findings, intent)
            else:
                self._begin(turn, stored.text)
                yield Decided(turn.conversation, turn.id, decision, stored.text, redacted.findings, intent)
                outcome, why, code = yield from self._infer(turn, sampling)
        except GeneratorExit:
            # the view went away: the answer is stopped, and the turn still gets its one outcome
            self._inference.cancel()
            if outcome is Outcome.DENIED:
                self._end(turn, outcome, why, code=code)
            else:
                self._end(turn, Outcome.CANCELLED, "", code="view.closed")
            raise
        except AuditClosedError:
            # nothing more can be recorded or shown; what came is kept, and the next start closes the turn
            self._inference.cancel()
            self._store_last(turn)
            raise
        except GovDeskError as error:
            outcome, why, code = Outcome.FAILED, error.explain(), error.code
        except Exception:
            self._end(turn, Outcome.FAILED, "", code="bug")
            raise
        yield self._end(turn, outcome, why, code=code)

    def _begin(self, turn: _Turn, prompt: str) -> None:
        """Store the prompt, redacted for the model and for storage, and the answer's empty row."""
        now = self._clock.utc_ns()
        if not turn.conversation:
            turn.conversation = self._store.create(title_of(prompt), turn.marking, now)
        self._store.begin_turn(
            turn.conversation, turn.id, prompt, turn.prompt_findings, turn.marking, self._policy, now
        )
        turn.begun = True

    def _infer(self, turn: _Turn, sampling: Sampling) -> Generator[TurnEvent, None, tuple[Outcome, str, str]]:
        """Inference, output redaction and storage of one answer; the outcome, its explanation and code."""
        if self._stop_asked():
            return Outcome.CANCELLED, "", "cancelled"
        turn.model = self._inference.model()
        history = tuple(
            (message.role, message.text)
            for message in remembered(self._store.messages(turn.conversation))
            if message.text and (message.role is Role.USER or message.outcome is not None)
        )
        stored_at = self._clock.monotonic()
        reason = "end"
        if self._stop_asked():  # while the model was loaded: nothing is sent to it
            return Outcome.CANCELLED, "", "cancelled"
        events = self._inference.answer(turn.id, history, sampling)
        with contextlib.closing(events):  # an answer that is left in the middle ends the worker now
            for event in events:
                self._audit.require_open()
                match event:
                    case Reading():
                        yield event
                        if self._stop_asked():
                            self._inference.cancel()
                    case Piece(untrusted_text=text, thinking=thinking):
                        now = self._clock.monotonic()
                        thought = turn.thought.feed(text, now) if thinking else turn.thought.end(now)
                        released = "" if thinking or turn.block() else turn.shown.feed(text)
                        if not turn.block():
                            self._keep(turn, released)
                        if turn.block():
                            self._inference.cancel()
                            continue
                        if self._clock.monotonic() - stored_at >= STORE_SECONDS:
                            with contextlib.suppress(MachineError):  # a full disk: the next time, or the end
                                self._store_kept(turn)
                            stored_at = self._clock.monotonic()
                        if thinking or thought:
                            yield Released(thought, turn.thought.held, thinking=True)
                        if not thinking:
                            yield Released(released, turn.shown.held)
                    case Stopped(reason=reason, usage=usage):
                        turn.usage = usage
        if code := turn.block():
            return Outcome.DENIED, _BLOCKED, code
        if reason == "cancelled":
            return Outcome.CANCELLED, "", "cancelled"  # what redaction still held is discarded
        thought = turn.thought.end(self._clock.monotonic())
        released = turn.shown.flush()
        if code := turn.block():
            return Outcome.DENIED, _BLOCKED, code
        self._keep(turn, released)
        turn.end_stored()
        if code := turn.block():
            return Outcome.DENIED, _BLOCKED, code
        if thought:
            yield Released(thought, 0, thinking=True)
        if released:
            yield Released(released, 0)
        code = code_of(reason, answered=bool(turn.text), thought=bool(turn.thought.thinking().text))
        return Outcome.COMPLETED, ending_words(code, turn.model, turn.usage), code

    def _stop_asked(self) -> bool:
        return self._cancelled  # from another thread, at any time

    def _keep(self, turn: _Turn, released: str) -> None:
        if released:
            turn.text.append(released)
            turn.unstored.append(turn.stored.feed(released))

    def _store_kept(self, turn: _Turn) -> None:
        """Store what is not stored yet; what could not be stored stays for the next time, whole."""
        if turn.thought.unstored:
            self._store.append_thinking(turn.id, turn.thought.unstored)
        turn.thought.is_stored()
        text = "".join(turn.unstored)
        if text:
            self._store.append_answer(turn.id, text)
        turn.unstored.clear()

    def _store_last(self, turn: _Turn) -> GovDeskError | None:
        """Store the rest of an answer that has ended; why not, when it cannot be stored."""
        if not turn.begun:
            return None
        turn.end_stored()
        try:
            self._store_kept(turn)
        except GovDeskError as error:
            return error
        return None

    def _end(self, turn: _Turn, outcome: Outcome, why: str, *, code: str) -> Ended:
        """Storage, then the one outcome record, then the event for the view.

        Raises:
            BugError: storage's, after the outcome is on record.
        """
        unstored = self._store_last(turn)
        if unstored is not None:  # disk full, say: the outcome is still recorded, and said
            outcome, why, code = Outcome.FAILED, unstored.explain(), unstored.code
        thinking = turn.thought.thinking()
        record = self._audit.append(
            self._entry(
                Event.TURN_OUTCOME,
                outcome.value,
                turn.id,
                rule=code,
                characters=sum(map(len, turn.text)),
                thinking_characters=len(thinking.text),
                findings=counts((*thinking.findings, *turn.shown.findings)),
                conversation=turn.conversation or None,
                model=turn.model,
                usage=turn.usage,
            )
        )
        if turn.begun:
            now = self._clock.utc_ns()
            try:
                self._store.finish_turn(
                    turn.id,
                    outcome,
                    turn.shown.findings,
                    turn.model,
                    turn.usage,
                    record,
                    now,
                    code,
                    thinking,
                )
            except KnownError as error:  # the record stands; the next start closes the stored turn
                why = error.explain()
        if isinstance(unstored, BugError):
            raise unstored
        return Ended(
            conversation=turn.conversation,
            turn=turn.id,
            outcome=outcome,
            text="".join(turn.text),
            prompt_findings=turn.prompt_findings,
            answer_findings=turn.shown.findings,
            marking=turn.marking,
            model=turn.model,
            usage=turn.usage,
            record=record,
            explanation=why,
            thinking=thinking,
        )

    def _entry(
        self,
        event: Event,
        outcome: str,
        turn: TurnId,
        *,
        rule: str | None = None,
        characters: int = 0,
        findings: dict[str, int] | None = None,
        conversation: ConversationId | None = None,
        model: ModelInfo | None = None,
        usage: Usage | None = None,
        thinking_characters: int = 0,
    ) -> Entry:
        fields: dict[str, str | bool | int | dict[str, int] | None] = {
            "rule": rule,
            "characters": characters,
            "findings": findings or {},
            "conversation": conversation,
        }
        if thinking_characters:
            fields["thinking_characters"] = thinking_characters
        if usage is not None:
            fields["tokens"] = {
                "prompt": usage.prompt_tokens,
                "read": usage.read_tokens,
                "answer": usage.answer_tokens,
            }
        return Entry(
            event=event,
            outcome=outcome,
            object=turn,
            marking=self._marking,
            policy=self._policy,
            model=model.digest if model else "",
            fields=fields,
        )


def title_of(prompt: str) -> str:
    """A conversation's first title: the first line of the redacted prompt, cut at a word."""
    line = next((line.strip() for line in prompt.splitlines() if line.strip()), "New conversation")
    if len(line) <= TITLE_CHARACTERS:
        return line
    cut = line[:TITLE_CHARACTERS]
    head, _, _ = cut.rpartition(" ")
    return (head or cut) + "…"
