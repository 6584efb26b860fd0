"""A conversation, its turns and messages, and the events of one turn."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from govdesk.domain.decision import Decision
from govdesk.domain.ids import ConversationId, ModelDigest, RecordSeq, TurnId
from govdesk.domain.redaction import Finding


class Role(Enum):
    """Who speaks in a message, in the model's own words."""

    USER = "user"
    ASSISTANT = "assistant"


class Outcome(Enum):
    """How a turn ended; each turn has exactly one."""

    COMPLETED = "completed"
    DENIED = "denied"
    CANCELLED = "cancelled"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. `seed` None draws one and records it."""

    max_tokens: int = 512
    temperature: float = 0.2
    top_p: float = 0.9
    top_k: int = 40
    repeat_penalty: float = 1.1
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The model that answers."""

    name: str
    digest: ModelDigest
    context_tokens: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and seconds of one turn. `read` counts prompt tokens really read (not reused)."""

    prompt_tokens: int = 0
    read_tokens: int = 0
    answer_tokens: int = 0
    first_token_seconds: float = 0.0
    total_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Thinking:
    """What a reasoning model wrote before its answer, after redaction; without a text it did not think."""

    text: str = ""
    findings: tuple[Finding, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Message:
    """One stored message; `text` is after redaction, `findings` say what was found (never the value)."""

    role: Role
    text: str
    turn: TurnId
    created_utc_ns: int
    marking: str = ""
    findings: tuple[Finding, ...] = ()
    outcome: Outcome | None = None
    """Set on the assistant's message once the turn has ended."""
    code: str = ""
    """Why it ended so, where that is known: the stable code that the record has too."""
    model: ModelInfo | None = None
    """Which model answered, where that is known."""
    usage: Usage = Usage()
    """Tokens and seconds of the turn, on the assistant's message."""
    thinking: Thinking = Thinking()
    """On the assistant's message; never given back to a model."""


@dataclass(frozen=True, slots=True)
class Draft:
    """What stands unsent in the message box, and where.

    `text` is after redaction, `findings` say what was found. Findings without a text: it may not be stored.
    """

    conversation: ConversationId | None
    text: str
    findings: tuple[Finding, ...] = ()


def remembered(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """What a model is given of a conversation: all but turns that ended without any answer.

    A question that was too long, or met a model that failed or only thought, would otherwise stand in the
    way for good.
    """
    unanswered = {
        message.turn
        for message in messages
        if message.role is Role.ASSISTANT
        and not message.text
        and message.outcome not in {None, Outcome.CANCELLED}
    }
    return tuple(message for message in messages if message.turn not in unanswered)


@dataclass(frozen=True, slots=True)
class Conversation:
    """One line of the conversation list."""

    id: ConversationId
    title: str
    marking: str
    created_utc_ns: int
    updated_utc_ns: int


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One message found by search; `snippet` marks the words found with U+2068 and U+2069 around them."""

    conversation: Conversation
    turn: TurnId
    role: Role
    snippet: str


# Events of one turn, in the order in which they can come: Decided, Reading*, Released*, Ended.


@dataclass(frozen=True, slots=True)
class Decided:
    """Policy decided and redaction ran on the prompt; `prompt` is what the model sees and what is stored."""

    conversation: ConversationId
    turn: TurnId
    decision: Decision
    prompt: str
    findings: tuple[Finding, ...]
    record: RecordSeq


@dataclass(frozen=True, slots=True)
class Reading:
    """The model is reading the prompt: tokens done of all."""

    done_tokens: int
    total_tokens: int


@dataclass(frozen=True, slots=True)
class Released:
    """A part of the answer, after redaction, safe to show. `held` characters wait behind it.

    `thinking`: of what comes before the answer proper; none comes after it.
    """

    text: str
    held: int = 0
    thinking: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """The last event of every turn, after its outcome record is durable."""

    conversation: ConversationId
    turn: TurnId
    outcome: Outcome
    text: str
    prompt_findings: tuple[Finding, ...]
    answer_findings: tuple[Finding, ...]
    marking: str
    model: ModelInfo | None
    usage: Usage
    record: RecordSeq
    explanation: str = ""
    """For denied, failed, interrupted and cut turns: what happened, what was kept, what to do next."""
    thinking: Thinking = Thinking()


TurnEvent = Decided | Reading | Released | Ended
