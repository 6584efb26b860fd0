"""What the model is given of a conversation, and which of its oldest turns would have to go: never silently.

A prompt fits when the context holds it and an answer worth having. When it does not, what could be left out
is found here and put before the person; nothing is left out that nobody chose. What is chosen holds for the
conversation's later turns, and is stored with each of them (`domain.turn.Cut`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from govdesk.chat.ports import Inference
from govdesk.domain.ids import TurnId
from govdesk.domain.inference import Count
from govdesk.domain.turn import Cut, Message, OldTurn, Role, TooLong, WhenFull, remembered
from govdesk.errors import AuditClosedError, GovDeskError, KnownError, UsageError

MIN_ANSWER_TOKENS = 256
"""An answer cut before this is seldom worth reading; of a small context a quarter is kept."""
SUMMARY_TOKENS = 256
"""More than a summary as it is asked for takes; what a model thinks before it comes on top."""
_SUMMARY_ROOM = SUMMARY_TOKENS + 64
"""The summary with the question that asked for it and the template's own tokens."""
_MOST_SUMMARY_TOKENS = 4096
SUMMARY_PROMPT = (
    "Summarise our conversation so far in at most 120 words, for yourself to go on with. Keep names, "
    "numbers, dates, decisions and open questions. Add nothing that was not said."
)
_BEGINS_CHARACTERS = 60
_MESSAGE_TOKENS = 32
"""More than any template puts around one message."""

History = tuple[tuple[Role, str], ...]


@dataclass(frozen=True, slots=True)
class Block:
    """What can be left out as a whole: a turn, or the summary that stands for older ones."""

    turn: TurnId
    messages: tuple[Message, ...]
    is_summary: bool

    def history(self) -> History:
        """As the model is given it: nothing of a turn that ended without any answer."""
        return tuple(
            (message.role, message.text)
            for message in remembered(self.messages)
            if message.text and (message.role is Role.USER or message.outcome is not None)
        )

    def as_old(self) -> OldTurn:
        """As a person knows it."""
        first = self.messages[0]
        line = " ".join(first.text[: 4 * _BEGINS_CHARACTERS].split())
        begins = line if len(line) <= _BEGINS_CHARACTERS else line[:_BEGINS_CHARACTERS].rstrip() + "…"
        return OldTurn(begins, first.created_utc_ns, self.is_summary)


@dataclass(frozen=True, slots=True)
class Fit:
    """What the model will be given, and under which cut; or why that is for the person to choose."""

    history: History
    cut: Cut
    too_long: TooLong | None = None
    left_out: tuple[OldTurn, ...] = ()
    problem: GovDeskError | None = None
    """Why there is no model to give it to."""


def cut_in_force(messages: tuple[Message, ...]) -> Cut:
    """What was chosen to be left out, as it holds for the next turn; a summary counts once it is complete."""
    for message in reversed(messages):
        counts = message.is_whole or not message.is_summary
        if message.role is Role.ASSISTANT and message.cut.turns and counts:
            return message.cut
    return Cut()


def blocks(messages: tuple[Message, ...], cut: Cut) -> tuple[Block, ...]:
    """What the model is given under a cut, the oldest first: the summary, if there is one, then the turns."""
    turns: dict[TurnId, list[Message]] = {}
    for message in messages:
        turns.setdefault(message.turn, []).append(message)
    made = [Block(turn, tuple(said), said[0].is_summary) for turn, said in turns.items()]
    summary = [block for block in made if block.turn == cut.summary]
    asked = [block for block in made if not block.is_summary]
    return (*summary, *asked[cut.turns :])


def further(cut: Cut, given: tuple[Block, ...], leave: int, summary: TurnId | None = None) -> Cut:
    """The cut once `leave` of these blocks are left out as well; `summary` then stands for all of them."""
    if not leave:
        return cut
    turns = cut.turns + sum(not block.is_summary for block in given[:leave])
    return Cut(turns, summary)


def history_of(given: tuple[Block, ...]) -> History:
    """What the model is given of these."""
    return tuple(said for block in given for said in block.history())


def answer_room(context_tokens: int, max_tokens: int) -> int:
    """How many tokens of the context are kept for the answer."""
    return max(1, min(max_tokens, MIN_ANSWER_TOKENS, context_tokens // 4))


def summary_limit(context_tokens: int) -> int:
    """Longest summary, with the thinking before it: a quarter of the context."""
    return min(_MOST_SUMMARY_TOKENS, max(SUMMARY_TOKENS, context_tokens // 4))


def summary_room(context_tokens: int, messages: tuple[Message, ...]) -> int:
    """How many tokens must be free for a summary: all of its limit in a conversation whose model thinks."""
    if any(message.thinking.text for message in messages):
        return max(1, min(summary_limit(context_tokens), context_tokens // 4))
    return answer_room(context_tokens, SUMMARY_TOKENS)


def surely_fits(history: History, room_tokens: int) -> bool:
    """Whether nothing needs to be counted: no token is shorter than a byte."""
    sizes = (len(text.encode("utf-8", "replace")) + _MESSAGE_TOKENS for _, text in history)
    return sum(sizes) <= room_tokens


def fewest(most: int, tokens_without: Callable[[int], int], room_tokens: int) -> int | None:
    """The fewest of the oldest blocks, from 1 to `most`, without which the rest fits; None: it never does.

    Args:
        most: how many blocks there are.
        tokens_without: how many tokens the rest has without so many of the oldest.
        room_tokens: how many it may have.
    """
    if most < 1 or tokens_without(most) > room_tokens:
        return None
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if tokens_without(middle) > room_tokens:
            low = middle + 1
        else:
            high = middle
    return low


class _Counting:
    """Counts what is left of a conversation without its oldest blocks, each only once."""

    def __init__(
        self,
        inference: Inference,
        turn: TurnId,
        given: tuple[Block, ...],
        prompt: str,
        stopped: Callable[[], bool],
    ) -> None:
        self.given = given
        self._inference = inference
        self._turn = turn
        self._asked = ((Role.USER, prompt),)
        self._stopped = stopped
        self._counted: dict[int, Count] = {}

    def history(self, leave: int) -> History:
        """What the model is given without so many of the oldest."""
        return history_of(self.given[leave:]) + self._asked

    def without(self, leave: int) -> Count:
        """How many tokens that has."""
        if leave not in self._counted:
            self._counted[leave] = self._count(self.history(leave))
        return self._counted[leave]

    def of(self, history: History) -> int:
        """How many tokens any history has."""
        return self._count(history).tokens

    def _count(self, history: History) -> Count:
        if self._stopped():
            raise KnownError("Nobody waits for the count any more.", code="cancelled")
        return self._inference.count(self._turn, history)


class Fitter:
    """Counts by the worker, which may be asked only under the turn's own durable record.

    Args:
        inference: counts.
    """

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    def fit(
        self,
        turn: TurnId,
        messages: tuple[Message, ...],
        prompt: str,
        max_tokens: int,
        when_full: WhenFull,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Fit:
        """Fit the next turn of a conversation.

        Args:
            turn: whose record allows the counting.
            messages: the conversation's so far.
            prompt: the redacted message.
            max_tokens: longest answer asked for.
            when_full: what to do when it does not fit.
            stopped: nobody wants it any more; nothing further is counted.

        Returns:
            What the model is to be given. Where the worker cannot count, or there is no model, all of it:
            it will say why it cannot answer either, or `problem` does.
        """
        cut = cut_in_force(messages)
        given = blocks(messages, cut)
        whole = Fit((*history_of(given), (Role.USER, prompt)), cut)
        try:
            info = self._inference.model()
        except AuditClosedError:
            raise
        except GovDeskError as error:
            return replace(whole, problem=error)
        room = info.context_tokens - answer_room(info.context_tokens, max_tokens)
        if stopped() or surely_fits(whole.history, room):
            return whole
        count = _Counting(self._inference, turn, given, prompt, stopped)
        try:
            return self._choice(whole, count, info.context_tokens, room, messages, when_full)
        except AuditClosedError:
            raise
        except GovDeskError:
            return whole

    @staticmethod
    def _choice(
        whole: Fit, count: _Counting, context: int, room: int, messages: tuple[Message, ...], when: WhenFull
    ) -> Fit:
        """All of it where it fits, else what was chosen, else the question what to choose."""
        all_of_it = count.without(0)
        if all_of_it.tokens <= room:
            return whole
        given = count.given

        def tokens_without(leave: int) -> int:
            return count.without(leave).tokens

        leave = fewest(len(given), tokens_without, room)
        if leave is not None and when is WhenFull.DROP_OLDEST:
            left_out = tuple(block.as_old() for block in given[:leave])
            return Fit(count.history(leave), further(whole.cut, given, leave), left_out=left_out)
        replaced = fewest(len(given), tokens_without, room - _SUMMARY_ROOM) or 0
        if replaced and count.of(_summary_history(given[:replaced])) > context - summary_room(
            context, messages
        ):
            replaced = 0
        too_long = TooLong(
            prompt_tokens=all_of_it.tokens,
            message_tokens=tokens_without(len(given)),
            context_tokens=context,
            answer_tokens=context - room,
            freed_tokens=all_of_it.tokens - tokens_without(leave or 0),
            oldest=tuple(block.as_old() for block in given[: leave or 0]),
            to_summarise=tuple(block.as_old() for block in given[:replaced]),
            estimated=all_of_it.estimated,
        )
        return replace(whole, too_long=too_long)

    @staticmethod
    def summary(turn: TurnId, messages: tuple[Message, ...], leave: int) -> Fit:
        """What the model is given to summarise so many of the oldest blocks.

        Args:
            turn: the summary's own; it stands for them in later turns.
            messages: the conversation's so far.
            leave: how many.

        Raises:
            UsageError: there are not so many.
        """
        cut = cut_in_force(messages)
        given = blocks(messages, cut)
        if not 0 < leave <= len(given):
            raise UsageError(
                "There are not so many turns to summarise.",
                code="summary.turns",
                kept="Nothing was changed.",
                todo="Send the message again.",
            )
        return Fit(_summary_history(given[:leave]), further(cut, given, leave, summary=turn))


def _summary_history(summarised: tuple[Block, ...]) -> History:
    return (*history_of(summarised), (Role.USER, SUMMARY_PROMPT))
