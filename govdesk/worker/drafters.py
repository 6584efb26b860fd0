"""Who proposes how an answer goes on: the text itself, or a small model. Each as long as it pays.

What they propose is a draft: the steps compute it along, and the sampler chooses as it would have without.
"""

from __future__ import annotations

from typing import Protocol

from govdesk.worker.draft_model import DraftModel
from govdesk.worker.lookup import KEY_TOKENS, MOST_FITTING, Lookup

LEAST = 4
"""Fewer tokens at once are no draft."""
_MEMORY = 0.8
"""How much of the past counts in whether drafts pay."""
_LEAST_REST, _MOST_REST = 8, 512


class Drafter(Protocol):
    """Proposes tokens behind a text that grows."""

    def add(self, token: int) -> None:
        """The text goes on with this token."""

    def draft(self, most: int) -> list[int]:
        """What may come next, up to so many tokens; empty: nothing is proposed now."""

    def judge(self, won: float, hits: int) -> None:
        """What the last draft won, in tokens computed alone (less than 0: lost), and its tokens chosen."""


class ByLookup:
    """What stood after the same words before.

    Args:
        tokens: the prompt's.
    """

    def __init__(self, tokens: list[int]) -> None:
        self._lookup = Lookup(tokens)
        self.add = self._lookup.add
        self._gain = 0.0
        self.need = KEY_TOKENS
        """So many tokens have to fit before a draft is tried."""

    def draft(self, most: int) -> list[int]:
        """As many as fit before, if enough do."""
        fitting = self._lookup.fitting()
        if fitting < self.need:
            return []
        return self._lookup.draft(min(max(fitting, LEAST), most))

    def judge(self, won: float, hits: int) -> None:
        """Where drafts do not pay, more has to fit before the next one."""
        self._gain = _MEMORY * self._gain + won
        if self._gain < 0.0:
            self.need, self._gain = min(MOST_FITTING, 2 * self.need), 0.0
        elif hits:
            self.need = max(KEY_TOKENS, self.need // 2)


class ByModel:
    """What a small model would say.

    Args:
        model: the small model.
        tokens: the prompt's.
    """

    def __init__(self, model: DraftModel, tokens: list[int]) -> None:
        self._model = model
        self._text = list(tokens)
        self._gain = 0.0
        self._rests = 0
        self._next_rest = _LEAST_REST
        model.begin(self._text)

    def add(self, token: int) -> None:
        """The text goes on with this token."""
        self._text.append(token)

    def draft(self, most: int) -> list[int]:
        """A few tokens; none while it rests."""
        if self._rests:
            self._rests -= 1
            return []
        return self._model.propose(self._text, min(LEAST, most))

    def judge(self, won: float, hits: int) -> None:
        """Where drafts do not pay, the model rests, twice as long each time."""
        self._gain = _MEMORY * self._gain + won
        if self._gain < 0.0:
            self._rests, self._gain = self._next_rest, 0.0
            self._next_rest = min(_MOST_REST, 2 * self._next_rest)
        elif hits:
            self._next_rest = max(_LEAST_REST, self._next_rest // 2)
