"""The Protocols a turn needs; features implement them unknown to each other, `app.py` introduces them."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Protocol

from govdesk.domain.decision import Decision
from govdesk.domain.ids import ConversationId, RecordSeq, TurnId
from govdesk.domain.inference import Count, Piece, Read, Stopped
from govdesk.domain.record import Entry
from govdesk.domain.redaction import Direction, Finding, Redacted
from govdesk.domain.turn import (
    AheadResult,
    Conversation,
    Cut,
    Draft,
    Message,
    ModelInfo,
    Outcome,
    Reading,
    Role,
    Sampling,
    SearchHit,
    Thinking,
    Usage,
)

_NOT_THOUGHT = Thinking()


class AuditLog(Protocol):
    """The one way to the audit writer."""

    def append(self, entry: Entry) -> RecordSeq:
        """Record durably; the action may start only after this returned.

        Raises:
            AuditClosedError: the record could not be made durable; do nothing that needed it.
        """
        ...

    def require_open(self) -> None:
        """Find out without waiting whether the writer is still there.

        Raises:
            AuditClosedError: it is gone; stop what needs it.
        """
        ...


class PolicyDecider(Protocol):
    """Decides on a prompt after redaction looked at it."""

    def decide(self, redacted: Redacted, characters: int) -> Decision:
        """Permit or Deny; never raises for content."""
        ...


class RedactionStream(Protocol):
    """Redacts a text that arrives in parts; the concatenation equals the batch result (P1, P2)."""

    def feed(self, part: str) -> str:
        """Take a part; return what is safe to release now (may be empty)."""
        ...

    def flush(self) -> str:
        """End of text: return what was held, redacted."""
        ...

    @property
    def held(self) -> int:
        """Characters taken and not yet released."""
        ...

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Findings so far, offsets over the whole text as given."""
        ...

    @property
    def blocked(self) -> bool:
        """True once a finding whose operator is BLOCK was met: nothing more is released."""
        ...


class Redactor(Protocol):
    """Finds, then acts, under the policy in force."""

    def redact(self, text: str, direction: Direction) -> Redacted:
        """Redact a whole text. A failure inside raises; it never returns the text unredacted."""
        ...

    def stream(self, direction: Direction) -> RedactionStream:
        """Start redacting a text that will arrive in parts."""
        ...


class Inference(Protocol):
    """The trusted side of the worker."""

    def model(self) -> ModelInfo:
        """The model that will answer; starts the worker and loads the model when that is needed.

        Raises:
            ModelError, WorkerError
        """
        ...

    def answer(
        self,
        turn: TurnId,
        history: tuple[tuple[Role, str], ...],
        sampling: Sampling,
        conversation: str = "",
    ) -> Generator[Reading | Piece | Stopped, None, None]:
        """Generate one answer to a history that ends with the user's message; reading ahead stops first.

        Args:
            turn: the turn that is answered.
            history: who said what.
            sampling: how tokens are chosen.
            conversation: whose history it is, for what was read before; empty: nobody's.

        Raises:
            WorkerError: crashed, hung or sent garbage; the worker is gone, the next call starts a fresh one.
        """
        ...

    def count(self, turn: TurnId, history: tuple[tuple[Role, str], ...]) -> Count:
        """How many tokens a history takes as a prompt, under the turn's durable record.

        Raises:
            ModelError, WorkerError
        """
        ...

    def read_ahead(
        self,
        turn: TurnId,
        history: tuple[tuple[Role, str], ...],
        conversation: str,
        wanted: Callable[[], bool],
    ) -> Read | None:
        """Read what is certain of a prompt whose last text may grow, at low priority, under a durable record.

        Returns at the end, at the latest some tens of milliseconds after `stop_reading` or `answer` was
        called. None: it is not wanted any more, or the worker is at something else; nothing was read.

        Args:
            turn: names this reading.
            history: who said what; the last is the person's text so far.
            conversation: whose history it is.
            wanted: asked once, at the last moment at which nothing was sent yet.

        Raises:
            ModelError, WorkerError
        """
        ...

    def stop_reading(self) -> None:
        """Stop reading ahead, if that is what is done; from any thread, at once. An answer goes on."""
        ...

    def cancel(self) -> None:
        """Ask the running answer to stop (any thread); it ends with `Stopped("cancelled")` within 200 ms."""
        ...


class ConversationStore(Protocol):
    """Encrypted history as a turn writes it, under the turn's own records."""

    def create(self, title: str, marking: str, now_utc_ns: int) -> ConversationId:
        """Create an empty conversation."""
        ...

    def messages(self, conversation: ConversationId) -> tuple[Message, ...]:
        """All messages of a conversation in order."""
        ...

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
        """Store the redacted prompt, the empty answer's row and the cut, in one transaction."""
        ...

    def append_answer(self, turn: TurnId, text: str) -> None:
        """Append redacted text to the answer, durably."""
        ...

    def append_thinking(self, turn: TurnId, text: str) -> None:
        """Append redacted text to what the model thought before its answer, durably."""
        ...

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
        """Close the turn with its one outcome, the code of why, and what is known of its thinking."""
        ...

    def unfinished_turns(self) -> tuple[TurnId, ...]:
        """Turns without an outcome: what a crash left."""
        ...


class History(Protocol):
    """Encrypted history as a person uses it."""

    def conversations(self) -> tuple[Conversation, ...]:
        """All conversations, the latest first."""
        ...

    def messages(self, conversation: ConversationId) -> tuple[Message, ...]:
        """All messages of a conversation in order."""
        ...

    def rename(self, conversation: ConversationId, title: str) -> None:
        """Change the title."""
        ...

    def delete(self, conversation: ConversationId) -> None:
        """Delete the conversation and everything in it, index included."""
        ...

    def search(self, query: str, limit: int = 50) -> tuple[SearchHit, ...]:
        """Full-text search in titles and messages; any query string is safe."""
        ...


class DraftStore(Protocol):
    """Where the one draft is kept, encrypted."""

    def keep(self, draft: Draft, now_utc_ns: int) -> None:
        """Keep this draft in place of the last one."""
        ...

    def kept(self) -> Draft | None:
        """The draft that was kept last."""
        ...


class Drafts(Protocol):
    """The unsent draft as a person has it: redacted and recorded before it is kept."""

    def keep(self, conversation: ConversationId | None, text: str) -> Draft:
        """Keep what stands in the message box, or, without a text, the place alone.

        Returns:
            What is kept: the text after redaction; none, with findings, when policy forbids storing it.

        Raises:
            GovDeskError: nothing new was kept.
        """
        ...

    def kept(self) -> Draft | None:
        """The draft that was kept last."""
        ...


class Ahead(Protocol):
    """Reading ahead as the window asks for it."""

    def read(self, conversation: ConversationId | None, text: str) -> AheadResult:
        """Read what is certain of the next prompt: the conversation, then what stands in the box.

        Slow. Nothing is read that policy would deny; nothing raises for that.

        Raises:
            GovDeskError: nothing was read; what is shown stays as it is.
        """
        ...

    def stop(self) -> None:
        """What is being read is not what will be sent; from any thread, at once."""
        ...


class Clock(Protocol):
    """Time, injected so that tests do not wait."""

    def utc_ns(self) -> int:
        """Wall clock, nanoseconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds that only go forward."""
        ...
