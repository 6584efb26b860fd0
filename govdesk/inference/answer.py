"""What a worker may say while it answers, in which order and how much; anything else is garbage.

The worker is untrusted: its frames have a right shape when they arrive here, and nothing more. An answer
has an end because its pieces are counted here, not because the worker says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from govdesk.domain.frames import AnswerDone, AnswerFailed, AnswerPiece, FromWorker, PromptProgress
from govdesk.domain.ids import TurnId
from govdesk.domain.inference import Piece, Stopped
from govdesk.domain.turn import Reading, Usage

MAX_TOKEN_CHARACTERS = 512
"""No token of a known vocabulary is longer."""
_REASONS = frozenset({"end", "length", "cancelled"})


class GarbageError(Exception):
    """The worker said what it may not say; it is stopped."""


class Hearing:
    """One answer, heard frame by frame.

    Args:
        turn: the turn that is answered.
        context_tokens: what the model can see.
        max_tokens: how long the answer may get.
        cancelled: whether the worker was told to stop; else it did not stop for that.
    """

    def __init__(
        self, turn: TurnId, context_tokens: int, max_tokens: int, cancelled: Callable[[], bool]
    ) -> None:
        self._turn = turn
        self._cancelled = cancelled
        self._context_tokens = context_tokens
        self._max_tokens = min(max_tokens, context_tokens)
        self._read = -1
        self._reused = 0
        """Where the reading began: so many tokens were read before."""
        self._total: int | None = None
        self._pieces = 0
        self._answered = False
        self._tokens = 0
        self._characters = 0
        self._started = time.monotonic()
        self._first_seconds: float | None = None

    def hear(self, untrusted_frame: FromWorker) -> Reading | Piece | Stopped | AnswerFailed:
        """The event that a frame means.

        Raises:
            GarbageError: it is of another turn, out of order, or more than was asked for.
        """
        match untrusted_frame:
            case PromptProgress(turn=turn) if turn == self._turn:
                return self._progress(untrusted_frame)
            case AnswerPiece(turn=turn) if turn == self._turn:
                return self._piece(untrusted_frame)
            case AnswerDone(turn=turn) if turn == self._turn:
                return self._done(untrusted_frame)
            case AnswerFailed(turn=turn) if turn == self._turn:
                return untrusted_frame
        raise GarbageError

    def _progress(self, frame: PromptProgress) -> Reading:
        total = frame.total_tokens if self._total is None else self._total
        _require(frame.total_tokens == total <= self._context_tokens)
        _require(self._read < frame.done_tokens <= total)
        if self._total is None:
            _require(frame.done_tokens < total)  # at least the last token is read: it chooses the first
            self._reused = frame.done_tokens
        self._read, self._total = frame.done_tokens, total
        _require(_fewer(frame))
        return Reading(frame.done_tokens, frame.total_tokens, frame.threads, frame.most_threads)

    def _piece(self, frame: AnswerPiece) -> Piece:
        _require(self._read == self._total)
        if self._first_seconds is None:
            self._first_seconds = time.monotonic() - self._started
        self._pieces += 1
        self._tokens += frame.tokens
        self._characters += len(frame.text)
        # a piece has a token of its own, but for the rest that an answer ends in; one token may end the
        # thinking and begin the answer, and what waited to be told apart may come behind both
        _require(self._pieces <= self._max_tokens + 3 and self._tokens <= self._max_tokens)
        _require(not (frame.thinking and self._answered))  # thinking comes before the answer
        self._answered = not frame.thinking
        _require(self._characters <= self._max_tokens * MAX_TOKEN_CHARACTERS)
        return Piece(frame.text, frame.thinking)

    def _done(self, frame: AnswerDone) -> Stopped:
        _require(frame.reason in _REASONS)
        if frame.reason == "cancelled":
            _require(self._cancelled())  # else the turn would be on record as stopped by the person
        else:
            _require(self._read == self._total)
        _require(frame.read_tokens <= frame.prompt_tokens <= self._context_tokens)
        if self._total is not None:
            left = self._total - self._reused
            _require(frame.prompt_tokens == self._total)
            _require(frame.read_tokens == left if self._read == self._total else frame.read_tokens <= left)
        _require(self._tokens <= frame.answer_tokens <= self._max_tokens)
        _require(_fewer(frame))
        usage = Usage(
            prompt_tokens=frame.prompt_tokens,
            read_tokens=frame.read_tokens,
            answer_tokens=frame.answer_tokens,
            first_token_seconds=self._first_seconds or 0.0,
            total_seconds=time.monotonic() - self._started,
            threads=frame.threads,
            most_threads=frame.most_threads,
        )
        return Stopped(frame.reason, usage)


def _fewer(frame: PromptProgress | AnswerDone) -> bool:
    """Whether what it says of threads makes sense: some of more, or nothing."""
    return 0 < frame.threads < frame.most_threads or frame.threads == frame.most_threads == 0


def _require(holds: bool) -> None:
    if not holds:
        raise GarbageError
