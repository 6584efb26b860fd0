"""What a reasoning model thinks is told apart from its answer; of what it writes only markers are dropped.

Three ways are in use. A pair of markers around the thinking (`<think> … </think>` and its like), written by
the model or, the first one, by its template; harmony's channels, of which only `final` is the answer; none.
A marker that is one token of the vocabulary counts as that token alone, so a model that spells its name says
nothing by it; where it is no token its text counts, however it is split. Thinking comes before the answer:
what begins as an answer stays one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Protocol

Span = tuple[str, bool]
"""Text, and whether it is thinking."""

MAX_HEADER_CHARACTERS = 64
"""What is longer is no channel's name, and no white space before a marker."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The markers around thinking."""

    opens: str
    closes: str


PAIRS = (Pair("<think>", "</think>"), Pair("[THINK]", "[/THINK]"))
"""Qwen, DeepSeek, Phi and most others; Mistral. Of models with the architectures that are let through."""
_CHANNEL, _MESSAGE, _END, _START = HARMONY = ("<|channel|>", "<|message|>", "<|end|>", "<|start|>")
_RECIPIENT = "to="
"""What a header may hold behind its role."""
MARKERS = frozenset(HARMONY) | {marker for pair in PAIRS for marker in (pair.opens, pair.closes)}
"""Every marker known here."""


class Splitter(Protocol):
    """Tells one answer's thinking from its answer."""

    tokens: frozenset[int]
    """The markers among the vocabulary's tokens."""

    def meet(self, token: int, text: str) -> list[Span]:
        """The model wrote one of `tokens`, which would show as `text` if it meant nothing."""

    def take(self, text: str) -> list[Span]:
        """The model wrote text; what is certain of it, with what was held before."""

    def end(self) -> list[Span]:
        """The answer ended; what was still held."""


def detect(source: str, opening: str, token_of: Callable[[str], int | None]) -> Splitter | None:
    """How this model thinks, for one answer; None: it does not, as far as can be seen.

    Args:
        source: the chat template.
        opening: what the template lets the assistant begin with, for this answer.
        token_of: the token that a marker is, if it is one.
    """
    harmony = [token_of(marker) for marker in HARMONY]
    if _CHANNEL in source and None not in harmony:
        return Channels(*(token for token in harmony if token is not None))
    begun = opening.rstrip()
    for pair in PAIRS:
        if begun.endswith(pair.opens):
            return Between(pair, token_of(pair.opens), token_of(pair.closes), inside=True)
    for pair in PAIRS:
        opens, closes = token_of(pair.opens), token_of(pair.closes)
        if pair.closes in source or (opens is not None and closes is not None):
            return Between(pair, opens, closes, inside=False)
    return None


class _Phase(Enum):
    BEFORE = auto()
    THINKING = auto()
    AFTER = auto()
    ANSWER = auto()


class Between:
    """Thinking between two markers, once, before the answer.

    White space around the thinking is the format's and not told. A model that never closes its thinking has
    thought, and not answered.

    Args:
        pair: the markers.
        opens: the first one's token, None where it is text.
        closes: the second one's.
        inside: the template has written the first one.
    """

    def __init__(self, pair: Pair, opens: int | None, closes: int | None, *, inside: bool) -> None:
        self.tokens = frozenset(token for token in (opens, closes) if token is not None)
        self._pair = pair
        self._opens = opens
        self._closes = closes
        self._phase = _Phase.THINKING if inside else _Phase.BEFORE
        self._held = ""
        self._began = False

    def meet(self, token: int, text: str) -> list[Span]:
        """See `Splitter`; a marker in any other place than its own is text."""
        if token == self._opens and self._phase is _Phase.BEFORE and not self._held.strip():
            self._phase, self._held = _Phase.THINKING, ""
            return []
        if token == self._closes and self._phase is _Phase.THINKING:
            told = self._thought(final=True)
            self._phase, self._held = _Phase.AFTER, ""
            return told
        return self.take(text) if text else []

    def take(self, text: str) -> list[Span]:
        """See `Splitter`."""
        self._held += text
        told: list[Span] = []
        if self._phase is _Phase.BEFORE:
            self._look_for_first()
        if self._phase is _Phase.THINKING:
            told += self._thought(final=False)
        if self._phase is _Phase.AFTER:
            self._held = self._held.lstrip()
            if self._held:
                self._phase = _Phase.ANSWER
        if self._phase is _Phase.ANSWER and self._held:
            told.append((self._held, False))
            self._held = ""
        return told

    def end(self) -> list[Span]:
        """See `Splitter`."""
        if self._phase is _Phase.THINKING:
            return self._thought(final=True)
        held, self._held = self._held, ""
        return [(held, False)] if held and self._phase is not _Phase.AFTER else []

    def _look_for_first(self) -> None:
        """Leave the phase `BEFORE` when the text says so."""
        text = self._held.lstrip()
        first = self._pair.opens if self._opens is None else ""
        too_late = len(self._held) - len(text) > MAX_HEADER_CHARACTERS
        if too_late or (text and not (first and first.startswith(text[: len(first)]))):
            self._phase = _Phase.ANSWER
        elif first and text.startswith(first):
            self._phase, self._held = _Phase.THINKING, text[len(first) :]

    def _thought(self, *, final: bool) -> list[Span]:
        """The thinking that is certain in what is held; goes on to `AFTER` when the text closes it."""
        text, rest, last = self._held, "", self._pair.closes if self._closes is None else ""
        if last and last in text:
            text, _, rest = text.partition(last)
            self._phase, final = _Phase.AFTER, True
        if not self._began:
            text = text.lstrip()
        sure = len(text) if final else len(text) - _begun(text, last)
        told = text[:sure]
        told = told[: len(told) - _blank(told, final=final)]
        self._held = rest if final else text[len(told) :]
        if told:
            self._began = True
        return [(told, True)] if told else []


class Channels:
    """Harmony: messages with headers, `<|channel|>NAME<|message|>TEXT<|end|><|start|>assistant` and so on.

    The channel `final` is the answer, the others are thinking. Headers are not told, unless they are too
    long to be one. What is written behind an end, or behind a start's role, without a channel or a message
    is an answer that lacks its header.
    """

    def __init__(self, channel: int, message: int, end: int, start: int) -> None:
        self.tokens = frozenset((channel, message, end, start))
        self._channel = channel
        self._message = message
        self._start = start
        self._header: str | None = None
        """What was written of a header; None where a message's text stands, as before the first marker."""
        self._begun_by = start
        self._thinks = False
        self._answered = False

    def meet(self, token: int, text: str) -> list[Span]:
        """See `Splitter`."""
        told: list[Span] = []
        if token != self._message:
            if token != self._channel:  # before that one stands who speaks, where the start was left out
                told = self.end()
            self._header, self._begun_by = "", token
        elif self._header is not None:
            self._thinks = self._begun_by == self._channel and self._header.split()[:1] != ["final"]
            self._header = None
        return told

    def take(self, text: str) -> list[Span]:
        """See `Splitter`."""
        if self._header is not None:
            text = self._header + text
            if len(text) <= MAX_HEADER_CHARACTERS:
                self._header = text
                return []
            self._header, self._thinks = None, False
        return self._told(text)

    def end(self) -> list[Span]:
        """See `Splitter`; what no channel began is told, without its role; a channel's name is not."""
        held, self._header = self._header or "", None
        if self._begun_by == self._start:
            held = "".join(held.split(maxsplit=1)[1:])
        if not held or self._begun_by == self._channel or held.startswith(_RECIPIENT):
            return []
        self._thinks = False
        return self._told(held)

    def _told(self, text: str) -> list[Span]:
        thinks = self._thinks and not self._answered
        if not thinks and not self._answered:
            text = text.lstrip()
            self._answered = bool(text)
        return [(text, thinks)] if text else []


def _begun(text: str, marker: str) -> int:
    """How many of the last characters may be the beginning of the marker."""
    for size in range(min(len(text), len(marker) - 1), 0, -1):
        if text.endswith(marker[:size]):
            return size
    return 0


def _blank(text: str, *, final: bool) -> int:
    """How many of the last characters are white space to wait with; none when they are too many."""
    size = len(text) - len(text.rstrip())
    return size if final or size <= MAX_HEADER_CHARACTERS else 0
