"""What a worker may say to a reading ahead and to a count; anything else is garbage."""

from __future__ import annotations

from govdesk.domain.frames import AnswerFailed, Counted, FromWorker, ReadDone
from govdesk.domain.ids import TurnId
from govdesk.domain.inference import Count, Read
from govdesk.inference import words
from govdesk.inference.answer import GarbageError

_CANCELLED = "cancelled"
_FULL = "context.full"


def read(untrusted_frame: FromWorker, turn: TurnId, context_tokens: int, *, cancelled: bool) -> Read:
    """What reading ahead did.

    Args:
        untrusted_frame: what the worker said.
        turn: what it may speak of.
        context_tokens: what the model can see.
        cancelled: whether it was told to stop.

    Raises:
        GarbageError: it is something else, or more than can be.
        GovDeskError: it could not be read; the worker is well.
    """
    match untrusted_frame:
        case ReadDone(turn=said) if said == turn:
            done = untrusted_frame
        case _:
            raise GarbageError
    full = done.code == _FULL
    stopped = done.code == _CANCELLED
    if not full and not done.reused_tokens + done.read_tokens <= done.prompt_tokens <= context_tokens:
        raise GarbageError
    if full and (done.reused_tokens or done.read_tokens):
        raise GarbageError
    if done.code and not full and not stopped:
        raise words.answer_failed(AnswerFailed(turn=turn, code=done.code))
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
