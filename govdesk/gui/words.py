"""The words of the window for numbers, times, outcomes and findings: calm, whole, without content."""

from __future__ import annotations

from PySide6.QtCore import QDateTime, QLocale

from govdesk.chat.endings import ending_words, summary_words
from govdesk.domain.frames import Probe
from govdesk.domain.redaction import Finding, Operator, counts
from govdesk.domain.turn import Message, ModelInfo, Outcome, Role, TooLong, Usage

_OPERATOR_WORDS = {
    Operator.BLOCK: "stopped the turn",
    Operator.REDACT: "replaced by a placeholder",
    Operator.MASK: "partly hidden",
    Operator.WARN: "shown, with a warning",
    Operator.ALLOW: "allowed by policy",
}
_OUTCOME_WORDS = {
    Outcome.COMPLETED: "",
    Outcome.DENIED: "Policy does not allow all of the answer. The rest of it was discarded.",
    Outcome.CANCELLED: "Stopped. What came so far is kept.",
    Outcome.FAILED: "The answer could not be finished.",
    Outcome.INTERRUPTED: "Interrupted: GovDesk ended during the answer. What came so far is kept.",
}
_OUTCOME_WORDS_EMPTY = {
    **_OUTCOME_WORDS,
    Outcome.CANCELLED: "Stopped before anything came.",
    Outcome.FAILED: "There is no answer.",
    Outcome.INTERRUPTED: "Interrupted: GovDesk ended before an answer came.",
}
_REASON_WORDS = {
    "context.full": "The conversation was too long for the model.",
    "disk": "There was no space left on the disk.",
    "model": "The model could not be used.",
    "template": "The model's chat template could not be used.",
    "worker": "The model's process could not go on.",
    "worker.instruction": "This processor lacks an instruction that the model's process uses.",
    "worker.template": "The model's chat template did not end.",
    "worker.memory": "The model's process needed more memory than it may have.",
}
SUMMARY_FIRST = "The oldest turns are summarised first; then your message is sent."
NOT_SUMMARISED = "Your message was not sent; send it again to choose once more."
STOPPED_EARLY = "Stopped before it was sent. Nothing was stored; your text is still here."
FULL_ELSEWHERE = (
    "A message that you sent in another conversation is too long for the model. Nothing was sent or cut; "
    "open that conversation to choose how it goes on."
)
FULL_HERE = (
    "A message that you sent here is too long for the model, and waits. Send or clear what is in the box, "
    "then open this conversation again."
)
NOT_ASKED = "Not asked: policy does not allow it."


def number(value: int) -> str:
    """With the locale's digits and groups."""
    locale = QLocale()
    if locale.language() is QLocale.Language.C:  # groups no digits
        locale = QLocale(QLocale.Language.English)
    return locale.toString(value)


def size(characters: int) -> str:
    """A text's size in characters."""
    return f"{number(characters)} character{'' if characters == 1 else 's'}"


def clock_time(utc_ns: int) -> str:
    """Hours and minutes of today, day and time of another day."""
    moment = QDateTime.fromMSecsSinceEpoch(utc_ns // 1_000_000)
    now = QDateTime.currentDateTime()
    if moment.date() == now.date():
        return moment.toString("HH:mm")
    if moment.date().year() == now.date().year():
        return moment.toString("d MMM HH:mm")
    return moment.toString("d MMM yyyy")


def outcome(value: Outcome | None, answer: str) -> str:
    """What happened to a turn with this answer; empty for one that completed or still runs."""
    if value is None:
        return ""
    return (_OUTCOME_WORDS if answer else _OUTCOME_WORDS_EMPTY)[value]


def reason(code: str) -> str:
    """Why a stored turn ended as it did, by its code; empty for a code without words of its own."""
    family = code.partition(".")[0]
    return _REASON_WORDS.get(code) or _REASON_WORDS.get(family, "")


def ending(message: Message) -> str:
    """All that is said under a stored answer about how its turn ended."""
    completed = message.outcome is Outcome.COMPLETED
    if completed and message.is_summary and (said := summary_words(message.code)):
        return said
    if said := ending_words(message.code, message.model, message.usage):
        return said
    parts = (outcome(message.outcome, message.text), reason(message.code))
    return " ".join(part for part in parts if part)


def oldest(turns: int) -> str:
    """So many of a conversation's oldest turns, by number."""
    return "the oldest turn" if turns == 1 else f"the {number(turns)} oldest turns"


def unseen(message: Message) -> str:
    """What the model was not given at a turn, said with its question; empty when it was given everything."""
    if message.role is not Role.USER or not message.cut.turns:
        return ""
    turns = oldest(message.cut.turns)
    if message.is_summary:
        return f"GovDesk asked for a summary of {turns}, to stand in their place for the model."
    if message.cut.summary is not None:
        return f"The model did not see {turns}, but the summary of them."
    return f"The model did not see {turns}."


def too_long(event: TooLong) -> str:
    """What does not fit, by how much, and that nothing was done."""
    about = "about " if event.estimated else ""
    sizes = (
        f"The model can see {number(event.context_tokens)} tokens, and {number(event.answer_tokens)} of them "
        f"are kept for its answer."
    )
    if event.message_over_tokens > 0:
        over = number(event.message_over_tokens)
        return f"This message alone is {about}{over} tokens too long. {sizes} Nothing was sent or cut."
    over = number(event.over_tokens)
    return (
        f"This conversation with the new message is {about}{over} tokens too long. {sizes} "
        "Nothing was sent or cut. How should it go on?"
    )


def details(model: ModelInfo | None, usage: Usage) -> str:
    """Which model answered, how fast, and with how much of the machine."""
    name = "" if model is None else model.name
    return " · ".join(part for part in (name, speed(usage), busy(usage.threads, usage.most_threads)) if part)


def busy(threads: int, most_threads: int) -> str:
    """That others need a part of the machine; empty when they do not."""
    return f"busy workstation: {threads} of {most_threads} threads" if threads < most_threads else ""


def place(runs_on: str) -> str:
    """Where the model computes, short: the words before the reason."""
    return runs_on.partition(": ")[0]


def operator(value: Operator) -> str:
    """What was done with a finding."""
    return _OPERATOR_WORDS[value]


def findings(found: tuple[Finding, ...]) -> str:
    """One line: how many of which type; empty when there is none."""
    parts = [f"{kind} × {count}" if count > 1 else kind for kind, count in sorted(counts(found).items())]
    return ", ".join(parts)


def speed(usage: Usage) -> str:
    """Tokens per second and time to the first token; empty when there was no answer."""
    seconds = usage.total_seconds - usage.first_token_seconds
    if usage.answer_tokens < 2 or seconds <= 0:
        return ""
    rate = round((usage.answer_tokens - 1) / seconds)
    return f"{number(rate)} token{'' if rate == 1 else 's'}/s · first after {usage.first_token_seconds:.1f} s"


def network(probes: tuple[Probe, ...]) -> str:
    """The state of the network for the status line."""
    if not probes:
        return "network: not tested yet"
    if all(probe.blocked for probe in probes):
        return "network: none ✓"
    return "network: OPEN ✗"


DELETION = (
    "The conversation, its messages and their search index are erased from the encrypted history on this "
    "computer. This cannot be undone. The audit records of its turns stay, as your organisation's policy "
    "requires; they hold no text."
)
