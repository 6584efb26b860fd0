"""What may come next, because it came before: the end of a text looked up in the text itself.

For work that repeats its input (rewriting, extracting). One step per token, whatever the length.
"""

from __future__ import annotations

KEY_TOKENS = 3
"""So many last tokens are looked up at once; how many more fit before them is counted then."""
MOST_FITTING = 32


class Lookup:
    """The tokens of a prompt and its answer, in order.

    Args:
        tokens: the prompt's.
    """

    def __init__(self, tokens: list[int]) -> None:
        self._tokens: list[int] = []
        self._after: dict[tuple[int, ...], int] = {}
        """Where it went on after these tokens, the last time."""
        self._found = 0
        for token in tokens:
            self.add(token)

    def add(self, token: int) -> None:
        """The text goes on with this token."""
        self._tokens.append(token)
        key = tuple(self._tokens[-KEY_TOKENS:])
        self._found = self._after.get(key, 0)
        self._after[key] = len(self._tokens)

    def fitting(self) -> int:
        """How many of the last tokens stood in the same order before; none below `KEY_TOKENS`, at most 32."""
        if not self._found or len(self._tokens) < KEY_TOKENS:
            return 0
        now, then = len(self._tokens) - KEY_TOKENS, self._found - KEY_TOKENS
        count = KEY_TOKENS
        while then > 0 and count < MOST_FITTING and self._tokens[now - 1] == self._tokens[then - 1]:
            now, then, count = now - 1, then - 1, count + 1
        return count

    def draft(self, most: int) -> list[int]:
        """How it went on there, up to so many tokens."""
        return self._tokens[self._found : self._found + most] if self._found else []
