"""Why a worker ended that should not have, in words for the analyst and a code for the log.

A number is all that the kernel says of it. It cannot know more either: what the worker said itself
before it ended may be anything.
"""

from __future__ import annotations

import signal

from govdesk.domain.frames import WORKER_OUT_OF_MEMORY, WorkerEnded
from govdesk.errors import WorkerError

_KEPT = "Your question and what was already answered are kept."
_AGAIN = "Ask again: a fresh one is started."
_MODEL = "The part of GovDesk that runs the model"
_SMALLER = (
    f"{_AGAIN} If it happens again, start a new conversation or shorten the message, close what else uses "
    "memory, or ask your administrator for a smaller model or context."
)


_CARD_LEFT = (
    "It used a graphics card. From the next question on the processor is used in its place, which may be "
    "slower; `govdesk doctor` says more."
)


def on_card(error: WorkerError) -> None:
    """Say what is done about a failure of a worker that answered on a graphics card."""
    further = f" {error.todo}" if error.code == "worker.walls" else " Ask again."
    error.todo = _CARD_LEFT + further


def ended(end: WorkerEnded | None) -> WorkerError:
    """What to raise for a worker that is gone; None when it is not known how it ended."""
    number = 0 if end is None else end.signal
    if end is not None and number == 0 and end.exit_code == WORKER_OUT_OF_MEMORY:
        return WorkerError(
            f"{_MODEL} needed more memory than it may have.", code="worker.memory", kept=_KEPT, todo=_SMALLER
        )
    match number:
        case signal.SIGKILL:
            return WorkerError(
                f"{_MODEL} was ended by the system. Perhaps the machine ran out of memory.",
                code="worker.killed",
                kept=_KEPT,
                todo=_SMALLER,
            )
        case signal.SIGILL:
            return WorkerError(
                f"{_MODEL} uses an instruction that this processor lacks.",
                code="worker.instruction",
                kept=_KEPT,
                todo="It will happen again. Run `govdesk doctor` and show what it says to your "
                "administrator: GovDesk has to be set up for this processor.",
            )
        case signal.SIGABRT:
            return WorkerError(
                f"{_MODEL} gave up in the middle of its work. Perhaps it got no more memory.",
                code="worker.crashed",
                kept=_KEPT,
                todo=_SMALLER,
            )
        case signal.SIGSYS:
            return WorkerError(
                f"{_MODEL} tried something that it may not do, and was ended for it.",
                code="worker.walls",
                kept=_KEPT,
                todo="Tell your security officer: a model that tries this should not be used.",
            )
        case signal.SIGPROF:
            return WorkerError(
                f"{_MODEL} was ended: the model's chat template kept it busy and did not stop when told to.",
                code="worker.template",
                kept=_KEPT,
                todo="It will happen again. Ask your administrator: the model's manifest can name a chat "
                "template of its own, which then takes the place of the one in the file. Or use another "
                "model.",
            )
        case _:
            return WorkerError(
                f"{_MODEL} ended unexpectedly.",
                code="worker.crashed",
                kept=_KEPT,
                todo=f"{_AGAIN} If it happens again with the same words, tell your administrator.",
            )
