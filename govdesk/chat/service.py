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
from dataclasses import replace

from govdesk.chat import shape
from govdesk.chat.checking import check
from govdesk.chat.endings import CUT, FULL, code_of, ending_words, summary_words, too_long_words
from govdesk.chat.fitting import MIN_ANSWER_TOKENS, SUMMARY_PROMPT, Fitter
from govdesk.chat.ports import (
    AuditLog,
    Clock,
    ConversationStore,
    Inference,
    PolicyDecider,
    Redactor,
)
from govdesk.chat.running import Ask, Fields, Turn, entry, intent_fields, outcome_fields, title_of
from govdesk.chat.thought import Thought
from govdesk.domain.decision import Deny
from govdesk.domain.ids import ConversationId, RecordSeq, TurnId
from govdesk.domain.inference import Piece, Stopped
from govdesk.domain.record import Entry, Event
from govdesk.domain.redaction import Direction
from govdesk.domain.turn import (
    Decided,
    Ended,
    Length,
    ModelInfo,
    Outcome,
    Reading,
    Released,
    Sampling,
    TooLong,
    TurnEvent,
    Usage,
    WhenFull,
)
from govdesk.errors import AuditClosedError, BugError, GovDeskError, KnownError, MachineError

STORE_SECONDS = 1.0
"""The answer is stored as it streams, about this often."""
_BLOCKED = (
    "The answer held something that policy blocks, so the rest of it was discarded. What came before it is "
    "kept. Ask in another way, or ask your security officer about the rule."
)


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
        self._fitter = Fitter(inference)
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
                fields: Fields = {"rule": None, "characters": 0, "findings": {}, "conversation": None}
                record = self._audit.append(self._entry(Event.TURN_OUTCOME, outcome, turn, fields))
            self._store.finish_turn(turn, Outcome(outcome), (), None, Usage(), record, self._clock.utc_ns())
        return len(turns)

    def run_turn(
        self,
        conversation: ConversationId | None,
        prompt: str,
        sampling: Sampling | None = None,
        when_full: WhenFull = WhenFull.STOP,
    ) -> Generator[TurnEvent, None, None]:
        """One turn as a stream of events that ends with `Ended`; it starts when the first one is asked for.

        A `cancel` counts for this turn from this call on, even before its first event.

        Args:
            conversation: an existing one, or None for a new one.
            prompt: what the person wrote, whole and unredacted.
            sampling: how tokens are chosen; by default for an answer of the usual length.
            when_full: what to do when it does not fit. Stopped, it yields `TooLong`, and nothing is stored;
                what is left out by choice stays left out in later turns.

        Raises:
            AuditClosedError: a record could not be made durable; nothing that needed it was done.
        """
        self._cancelled = False
        sampling = sampling or Sampling(length=Length.USUAL)
        if sampling.seed is None:
            sampling = replace(sampling, seed=secrets.randbits(31))
        return self._run(Ask(conversation, prompt, sampling, when_full))

    def summarise(self, conversation: ConversationId, oldest: int) -> Generator[TurnEvent, None, None]:
        """A turn of its own in which the model summarises the oldest turns; later turns see that instead.

        Args:
            conversation: whose.
            oldest: how many, as in `TooLong.to_summarise`.
        """
        self._cancelled = False
        sampling = Sampling(temperature=0.0, seed=0, length=Length.USUAL)
        return self._run(Ask(conversation, SUMMARY_PROMPT, sampling, summarise=oldest))

    def _run(self, ask: Ask) -> Generator[TurnEvent, None, None]:
        checked = check(ask.prompt, self._redactor, self._decider)
        decision = checked.decision
        if not isinstance(decision, Deny):
            decision = shape.refusal(self._redactor, ask.sampling.grammar) or decision
        turn = Turn(
            ask=ask,
            conversation=ask.conversation or ConversationId(""),
            id=TurnId(secrets.token_hex(12)),
            prompt_findings=checked.findings,
            marking=self._marking,
            shown=self._redactor.stream(Direction.OUTPUT),
            stored=self._redactor.stream(Direction.STORAGE),
            thought=Thought(
                self._redactor.stream(Direction.OUTPUT), self._redactor.stream(Direction.STORAGE)
            ),
        )
        rule = decision.rule if isinstance(decision, Deny) else None
        intent = self._audit.append(
            self._entry(
                Event.TURN_INTENT,
                "permit" if rule is None else "deny",
                turn.id,
                intent_fields(ask, checked.findings, rule),
            )
        )
        outcome, why, code = Outcome.FAILED, "", "turn.unfinished"
        try:
            if isinstance(decision, Deny):
                outcome, why, code = Outcome.DENIED, decision.why, decision.rule
                yield Decided(turn.conversation, turn.id, decision, "", checked.findings, intent)
            elif (too_long := self._fit(turn, checked.text)) is not None:
                outcome, why, code = Outcome.FAILED, too_long_words(too_long), FULL
                yield too_long
            elif self._stop_asked():  # before anything was stored: the text is still where it was written
                outcome, why, code = Outcome.CANCELLED, "", "cancelled"
            else:
                self._begin(turn, checked.text)
                yield Decided(
                    turn.conversation,
                    turn.id,
                    decision,
                    checked.text,
                    checked.findings,
                    intent,
                    turn.cut,
                    turn.left_out,
                )
                outcome, why, code = yield from self._infer(turn)
        except GeneratorExit:
            # the view went away: the answer is stopped, and the turn still gets its one outcome
            self._inference.cancel()
            if outcome is Outcome.DENIED or code == FULL:
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

    def _fit(self, turn: Turn, prompt: str) -> TooLong | None:
        """What the model will be given; or why nothing is, for a person to choose."""
        if self._stop_asked():
            return None
        messages = self._store.messages(turn.conversation) if turn.conversation else ()
        ask, sampling = turn.ask, turn.ask.sampling
        if ask.summarise:
            fit = self._fitter.summary(turn.id, messages, ask.summarise)
        else:
            most = sampling.max_tokens if sampling.length is None else MIN_ANSWER_TOKENS
            fit = self._fitter.fit(turn.id, messages, prompt, most, ask.when_full, self._stop_asked)
        turn.history, turn.cut, turn.left_out, turn.problem = fit.history, fit.cut, fit.left_out, fit.problem
        return None if self._stop_asked() else fit.too_long

    def _begin(self, turn: Turn, prompt: str) -> None:
        """Store the prompt, redacted for the model and for storage, and the answer's empty row."""
        now = self._clock.utc_ns()
        if not turn.conversation:
            turn.conversation = self._store.create(title_of(prompt), turn.marking, now)
        self._store.begin_turn(
            turn.conversation,
            turn.id,
            prompt,
            turn.prompt_findings,
            turn.marking,
            self._policy,
            now,
            turn.cut,
        )
        turn.begun = True

    def _infer(self, turn: Turn) -> Generator[TurnEvent, None, tuple[Outcome, str, str]]:
        """Inference, output redaction and storage of one answer; the outcome, its explanation and code."""
        if turn.problem is not None:
            raise turn.problem
        if self._stop_asked():
            return Outcome.CANCELLED, "", "cancelled"
        turn.model = self._inference.model()
        turn.limit(turn.model.context_tokens)
        stored_at = self._clock.monotonic()
        reason = "end"
        if self._stop_asked():  # while the model was loaded: nothing is sent to it
            return Outcome.CANCELLED, "", "cancelled"
        events = self._inference.answer(turn.id, turn.history, turn.sampling, turn.conversation)
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
        asked = turn.ask.summarise
        why = summary_words(code) if asked else ending_words(code, turn.model, turn.usage)
        if turn.ask.sampling.grammar:
            why = f"{why} {shape.lost(cut=reason == CUT, redacted=bool(turn.shown.findings))}".strip()
        return Outcome.COMPLETED, why, code

    def _stop_asked(self) -> bool:
        return self._cancelled  # from another thread, at any time

    def _keep(self, turn: Turn, released: str) -> None:
        if released:
            turn.text.append(released)
            turn.unstored.append(turn.stored.feed(released))

    def _store_kept(self, turn: Turn) -> None:
        """Store what is not stored yet; what could not be stored stays for the next time, whole."""
        if turn.thought.unstored:
            self._store.append_thinking(turn.id, turn.thought.unstored)
        turn.thought.is_stored()
        text = "".join(turn.unstored)
        if text:
            self._store.append_answer(turn.id, text)
        turn.unstored.clear()

    def _store_last(self, turn: Turn) -> GovDeskError | None:
        """Store the rest of an answer that has ended; why not, when it cannot be stored."""
        if not turn.begun:
            return None
        turn.end_stored()
        try:
            self._store_kept(turn)
        except GovDeskError as error:
            return error
        return None

    def _end(self, turn: Turn, outcome: Outcome, why: str, *, code: str) -> Ended:
        """Storage, then the one outcome record, then the event for the view.

        Raises:
            BugError: storage's, after the outcome is on record.
        """
        unstored = self._store_last(turn)
        if unstored is not None:  # disk full, say: the outcome is still recorded, and said
            outcome, why, code = Outcome.FAILED, unstored.explain(), unstored.code
        thinking = turn.thought.thinking()
        record = self._audit.append(
            self._entry(Event.TURN_OUTCOME, outcome.value, turn.id, outcome_fields(turn, code), turn.model)
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
            cut=turn.cut,
            sampling=turn.sampling,
            thinking=thinking,
            code=code,
        )

    def _entry(
        self, event: Event, outcome: str, turn: TurnId, fields: Fields, model: ModelInfo | None = None
    ) -> Entry:
        return entry(
            event, outcome, turn, marking=self._marking, policy=self._policy, model=model, fields=fields
        )
