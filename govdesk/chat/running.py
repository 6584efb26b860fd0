"""What is known of the running turn, and what its records say of it: ids, counts and codes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from govdesk.chat.fitting import History, summary_limit
from govdesk.chat.ports import RedactionStream
from govdesk.chat.thought import Thought
from govdesk.domain.ids import ConversationId, TurnId
from govdesk.domain.record import Entry, Event
from govdesk.domain.redaction import Finding, counts
from govdesk.domain.turn import Cut, ModelInfo, OldTurn, Sampling, Usage, WhenFull
from govdesk.errors import GovDeskError

TITLE_CHARACTERS = 60
Fields = dict[str, str | bool | int | dict[str, int] | None]


@dataclass(frozen=True, slots=True)
class Ask:
    """What a turn is about: a person's message, or the summary of so many of the oldest turns."""

    conversation: ConversationId | None
    prompt: str
    sampling: Sampling
    when_full: WhenFull = WhenFull.STOP
    summarise: int = 0

    def fields(self) -> Fields:
        """What was chosen, where something was; for the record before the turn."""
        if self.summarise:
            return {"summarise": self.summarise}
        length = self.sampling.length
        return {
            **({} if self.when_full is WhenFull.STOP else {"when_full": self.when_full.value}),
            **({} if length is None else {"length": length.value}),
        }


@dataclass(slots=True)
class Turn:
    """What is known of the running turn."""

    ask: Ask
    conversation: ConversationId
    id: TurnId
    prompt_findings: tuple[Finding, ...]
    marking: str
    shown: RedactionStream
    stored: RedactionStream
    thought: Thought
    history: History = ()
    cut: Cut = field(default_factory=Cut)
    left_out: tuple[OldTurn, ...] = ()
    text: list[str] = field(default_factory=list)
    model: ModelInfo | None = None
    usage: Usage = field(default_factory=Usage)
    unstored: list[str] = field(default_factory=list)
    begun: bool = False
    stored_ended: bool = False
    problem: GovDeskError | None = None
    """Why there is no model to ask."""
    limited: Sampling | None = None

    @property
    def sampling(self) -> Sampling:
        """How tokens are chosen; the length as a number once the model is known."""
        return self.limited or self.ask.sampling

    def limit(self, context_tokens: int) -> None:
        """The model is known: so long may the answer get."""
        if self.ask.summarise:
            self.limited = replace(self.ask.sampling, max_tokens=summary_limit(context_tokens), length=None)
        else:
            self.limited = self.ask.sampling.limited(context_tokens)

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

    def saw(self) -> Fields:
        """What the model was not given, where something was left out; for the outcome's record."""
        if not self.begun or not self.cut.turns:
            return {}
        if self.ask.summarise:  # the cut holds from the next turn on
            return {"summarised": self.cut.turns}
        return {"unseen": self.cut.turns, "summary": self.cut.summary}


def intent_fields(ask: Ask, findings: tuple[Finding, ...], rule: str | None) -> Fields:
    """Of the record before the turn."""
    return {
        "rule": rule,
        "characters": len(ask.prompt),
        "findings": counts(findings),
        "conversation": ask.conversation,
        "sampling": ask.sampling.numbers(),
        **ask.fields(),
    }


def outcome_fields(turn: Turn, code: str) -> Fields:
    """Of the record after it."""
    thinking = turn.thought.thinking()
    thought: Fields = {"thinking_characters": len(thinking.text)} if thinking.text else {}
    return {
        "rule": code,
        "characters": sum(map(len, turn.text)),
        "findings": counts((*thinking.findings, *turn.shown.findings)),
        "conversation": turn.conversation or None,
        "tokens": {
            "prompt": turn.usage.prompt_tokens,
            "read": turn.usage.read_tokens,
            "answer": turn.usage.answer_tokens,
        },
        **({} if turn.limited is None else {"max_tokens": turn.limited.max_tokens}),
        **thought,
        **turn.saw(),
    }


def entry(
    event: Event,
    outcome: str,
    what: str,
    *,
    marking: str,
    policy: str,
    model: ModelInfo | None = None,
    fields: Fields | None = None,
) -> Entry:
    """One record."""
    return Entry(
        event=event,
        outcome=outcome,
        object=what,
        marking=marking,
        policy=policy,
        model=model.digest if model else "",
        fields=fields or {},
    )


def title_of(prompt: str) -> str:
    """A conversation's first title: the first line of the redacted prompt, cut at a word."""
    line = next((line.strip() for line in prompt.splitlines() if line.strip()), "New conversation")
    if len(line) <= TITLE_CHARACTERS:
        return line
    cut = line[:TITLE_CHARACTERS]
    head, _, _ = cut.rpartition(" ")
    return (head or cut) + "…"
