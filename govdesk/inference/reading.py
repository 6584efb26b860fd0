"""What a worker may say to a reading ahead and to a count; anything else is garbage."""

from __future__ import annotations

from govdesk.domain.frames import AnswerFailed, Counted, FromWorker, PromptProgress, ReadDone
from govdesk.domain.ids import TurnId
from govdesk.domain.inference import Count, Read
from govdesk.inference import words
from govdesk.inference.answer import GarbageError

_CANCELLED = "cancelled"
_FULL = "context.full"


class ReadHearing:
    """One reading ahead, heard frame by frame: progress that grows, then its end.

    Args:
        turn: what the worker may speak of.
        context_tokens: what the model can see.
    """

    def __init__(self, turn: TurnId, context_tokens: int) -> None:
        self._turn = turn
        self._context_tokens = context_tokens
        self._done = -1

    def goes_on(self, untrusted_frame: FromWorker) -> bool:
        """Whether this is progress, so that more follows.

        Raises:
            GarbageError: it is progress that cannot be.
        """
        if not isinstance(untrusted_frame, PromptProgress):
            return False
        done, total = untrusted_frame.done_tokens, untrusted_frame.total_tokens
        if untrusted_frame.turn != self._turn or not self._done < done <= total <= self._context_tokens:
            raise GarbageError
        self._done = done
        return True

    def end(self, untrusted_frame: FromWorker, *, cancelled: bool) -> Read:
        """What reading ahead did.

        Args:
            untrusted_frame: what the worker said last.
            cancelled: whether it was told to stop.

        Raises:
            GarbageError: it is something else, or more than can be.
            GovDeskError: it could not be read; the worker is well.
        """
        match untrusted_frame:
            case ReadDone(turn=turn) if turn == self._turn:
                done = untrusted_frame
            case _:
                raise GarbageError
        full, stopped = done.code == _FULL, done.code == _CANCELLED
        taken = done.reused_tokens + done.read_tokens
        if (full and taken) or (not full and not taken <= done.prompt_tokens <= self._context_tokens):
            raise GarbageError
        if done.code and not full and not stopped:
            raise words.answer_failed(AnswerFailed(turn=self._turn, code=done.code))
        return Read(
            done.prompt_tokens, done.reused_tokens, done.read_tokens, cancelled or stopped, done.estimated
        )


def count(untrusted_frame: FromWorker, turn: TurnId) -> Count:
    """How many tokens were counted; one that does not fit is counted all the same.

    Raises:
        GarbageError: it is something else.
        GovDeskError: it could not be counted; the worker is well.
    """
    match untrusted_frame:
        case Counted(turn=said, code=code) if said == turn:
            if code and code != _FULL:
                raise words.answer_failed(AnswerFailed(turn=turn, code=code))
            return Count(untrusted_frame.prompt_tokens, untrusted_frame.estimated)
        case _:
            raise GarbageError
