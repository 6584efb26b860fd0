"""A conversation, its turns and messages, and the events of one turn."""

from __future__ import annotations

from dataclasses import dataclass, replace
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


class Length(Enum):
    """How long an answer may get, for people who do not want to choose numbers; thinking counts with it."""

    SHORT = "short"
    USUAL = "usual"
    LONG = "long"

    def tokens(self, context_tokens: int) -> int:
        """Most tokens with a model that sees so many; as with any number, what the context holds is all."""
        match self:
            case Length.SHORT:
                return 256
            case Length.USUAL:
                return min(4096, max(512, context_tokens // 8))
            case Length.LONG:
                return max(1024, context_tokens // 2)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. `seed` None draws one and records it.

    `min_p`: what is less likely than so much of the likeliest is left out. `grammar` (GBNF): the shape.
    `length`: in place of `max_tokens`, once it is known how many tokens the model sees.
    """

    max_tokens: int = 512
    temperature: float = 0.2
    top_p: float = 0.9
    top_k: int = 40
    repeat_penalty: float = 1.1
    seed: int | None = None
    min_p: float = 0.0
    grammar: str = ""
    length: Length | None = None

    def limited(self, context_tokens: int) -> Sampling:
        """With the length as the number it is in a context of so many tokens."""
        if self.length is None:
            return self
        return replace(self, max_tokens=self.length.tokens(context_tokens), length=None)

    def numbers(self) -> dict[str, int]:
        """What a record says of it: integers, fractions in thousandths; of a grammar its length.

        A length that is not a number yet is left out.
        """
        return {
            **({"max_tokens": self.max_tokens} if self.length is None else {}),
            "temperature_thousandths": round(1000 * self.temperature),
            "top_p_thousandths": round(1000 * self.top_p),
            "min_p_thousandths": round(1000 * self.min_p),
            "top_k": self.top_k,
            "repeat_penalty_thousandths": round(1000 * self.repeat_penalty),
            "grammar_characters": len(self.grammar),
            **({} if self.seed is None else {"seed": self.seed}),
        }


class Preset(Enum):
    """Named ways to choose tokens, for people who do not want to choose numbers.

    `precise` takes the likeliest token each time: the same answer again, to extract, to translate, to check.
    `balanced` leaves that path seldom (temperature 0.2): sober prose that does not stick in a loop.
    `creative` draws from the likely ones at temperature 0.9; what is less than a twentieth as likely as the
    likeliest (`min_p`) stays out however flat the rest is, so that it wanders without falling apart.
    """

    PRECISE = "precise"
    BALANCED = "balanced"
    CREATIVE = "creative"

    def sampling(self) -> Sampling:
        """Its numbers."""
        match self:
            case Preset.PRECISE:
                return Sampling(temperature=0.0)
            case Preset.BALANCED:
                return Sampling()
            case Preset.CREATIVE:
                return Sampling(temperature=0.9, top_p=0.95, top_k=100, min_p=0.05)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """The model that answers."""

    name: str
    digest: ModelDigest
    context_tokens: int


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and seconds of one turn. `read` counts prompt tokens really read (not reused).

    `threads` is the fewest of `most_threads` that computed while others needed the rest of the machine; 0 of
    0 when there was room for all, and in a turn that is read again from history.
    """

    prompt_tokens: int = 0
    read_tokens: int = 0
    answer_tokens: int = 0
    first_token_seconds: float = 0.0
    total_seconds: float = 0.0
    threads: int = 0
    most_threads: int = 0


@dataclass(frozen=True, slots=True)
class Cut:
    """What the model is not given of a conversation: so many of its oldest turns (summaries do not count).

    `summary` is the turn whose answer stands in their place; a summary's own turn names itself.
    """

    turns: int = 0
    summary: TurnId | None = None


class WhenFull(Enum):
    """What to do with a conversation that does not fit the model's context."""

    STOP = "stop"
    DROP_OLDEST = "drop-oldest"


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
    cut: Cut = Cut()
    """What the model was not given at this turn."""

    @property
    def is_summary(self) -> bool:
        """Whether its turn summarises older ones."""
        return self.cut.summary == self.turn

    @property
    def is_whole(self) -> bool:
        """Whether it is an answer that came to its own end."""
        return is_whole(self.outcome, self.text, self.code)


def is_whole(outcome: Outcome | None, text: str, code: str) -> bool:
    """Whether an answer came to its own end: not cut, not stopped in a loop. Older rows have no code."""
    return outcome is Outcome.COMPLETED and bool(text) and code in {"", "end"}


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


@dataclass(frozen=True, slots=True)
class Counted:
    """The next prompt has so many tokens, and may have `room_tokens`; `estimated`: it has about so many."""

    prompt_tokens: int
    room_tokens: int
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Later:
    """Nothing was read: the last record of reading ahead is too fresh. Ask again after so many seconds."""

    seconds: float


AheadResult = Counted | Later | None
"""What came of reading ahead; None when nothing is to be said (off, denied, stopped, or not counted)."""


@dataclass(frozen=True, slots=True)
class OldTurn:
    """One turn that could be left out, as a person knows it: its first words and its time."""

    begins: str
    created_utc_ns: int
    is_summary: bool = False


# Events of one turn, in the order in which they can come: Decided or TooLong, Reading*, Released*, Ended.


@dataclass(frozen=True, slots=True)
class TooLong:
    """Conversation and message do not fit: nothing was stored, answered or cut, and the person chooses.

    `oldest` are the fewest turns without which it fits, and free `freed_tokens`; `to_summarise` those whose
    summary in their place makes it fit. Empty: that is no way out. `answer_tokens` are kept for the answer,
    `message_tokens` are the message's without any older turn. `estimated`: the tokens were not counted to
    the end.
    """

    prompt_tokens: int
    message_tokens: int
    context_tokens: int
    answer_tokens: int
    freed_tokens: int = 0
    oldest: tuple[OldTurn, ...] = ()
    to_summarise: tuple[OldTurn, ...] = ()
    estimated: bool = False

    @property
    def room_tokens(self) -> int:
        """What a prompt may take."""
        return self.context_tokens - self.answer_tokens

    @property
    def over_tokens(self) -> int:
        """How many tokens too many the conversation with the message has."""
        return self.prompt_tokens - self.room_tokens

    @property
    def message_over_tokens(self) -> int:
        """How many tokens too many the message has when every older turn goes; not positive when none."""
        return self.message_tokens - self.room_tokens


@dataclass(frozen=True, slots=True)
class Decided:
    """Policy decided and redaction ran on the prompt; `prompt` is what the model sees and what is stored."""

    conversation: ConversationId
    turn: TurnId
    decision: Decision
    prompt: str
    findings: tuple[Finding, ...]
    record: RecordSeq
    cut: Cut = Cut()
    """What the model is not given at this turn."""
    left_out: tuple[OldTurn, ...] = ()
    """Of that, what it was given until now."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The model is reading the prompt: tokens done of all; threads as in `Usage`."""

    done_tokens: int
    total_tokens: int
    threads: int = 0
    most_threads: int = 0


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
    cut: Cut = Cut()
    """What the model was not given."""
    sampling: Sampling = Sampling()
    """How the tokens were chosen, the seed included."""
    thinking: Thinking = Thinking()
    code: str = ""
    """Why it ended so: the stable code that the record has too."""

    @property
    def is_whole(self) -> bool:
        """Whether there is an answer that came to its own end."""
        return is_whole(self.outcome, self.text, self.code)


TurnEvent = Decided | TooLong | Reading | Released | Ended
