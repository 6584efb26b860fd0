"""What the page of a conversation knows of the turn that is running, and of what did not fit elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from govdesk.domain.ids import ConversationId, TurnId
from govdesk.domain.turn import Cut, Released, TooLong
from govdesk.gui.message import LiveMessage, MessageView


@dataclass(slots=True)
class Running:
    """The turn that is running, whether its conversation is on screen or not."""

    conversation: ConversationId | None
    written: str
    turn: TurnId | None = None
    denied: bool = False
    asked: MessageView | None = None
    answer: LiveMessage | None = None
    parts: list[str] = field(default_factory=list)
    cut: Cut = field(default_factory=Cut)
    too_long: TooLong | None = None
    then_send: str = ""
    """A summary's turn: what is sent once it is there."""
    thoughts: list[str] = field(default_factory=list)
    thinks_since: float = 0.0

    def feed(self, event: Released) -> None:
        """Keep a part of thinking or answer, and show it where the answer is on screen."""
        if not event.thinking:
            self.parts.append(event.text)
            if self.answer is not None:
                self.answer.release(event.text, event.held)
            return
        if not self.thoughts:
            self.thinks_since = time.monotonic()
        self.thoughts.append(event.text)
        if self.answer is not None:
            self.answer.think(event.text, time.monotonic() - self.thinks_since)

    def show(self, answer: LiveMessage) -> None:
        """The answer is on screen from now on, with what came already."""
        self.answer = answer
        answer.waiting("Waiting for the model…")
        if self.thoughts:
            answer.think("".join(self.thoughts), time.monotonic() - self.thinks_since)
        if self.parts:
            answer.release("".join(self.parts), 0)


class Unfit:
    """Messages that did not fit while the person was elsewhere: each waits for its conversation to be opened.

    None is the conversation that has no id yet.
    """

    def __init__(self) -> None:
        self._waiting: dict[ConversationId | None, tuple[TooLong, str]] = {}

    def keep(self, conversation: ConversationId | None, too_long: TooLong, written: str) -> None:
        """Nobody was there to choose."""
        self._waiting[conversation] = (too_long, written)

    def back(self, conversation: ConversationId | None, put_back: Callable[[str], bool]) -> TooLong | None:
        """The person opened a conversation: what to ask, once its message is in the box.

        Args:
            conversation: the one that is on screen.
            put_back: puts the message in the box; False when something else is written there.
        """
        found = self._waiting.get(conversation)
        if found is None or not put_back(found[1]):
            return None
        del self._waiting[conversation]
        return found[0]

    def waits(self, conversation: ConversationId | None) -> bool:
        """Whether a message of a conversation still waits."""
        return conversation in self._waiting

    def sent(self, written: str) -> None:
        """The same words went elsewhere: they no longer wait."""
        self._waiting = {where: kept for where, kept in self._waiting.items() if kept[1] != written}
