"""The words for what a worker's codes mean: failures cross as codes, the trusted side explains them."""

from __future__ import annotations

from govdesk.domain.frames import AnswerFailed
from govdesk.errors import GovDeskError, ModelError, UsageError, WorkerError

_KEPT = "Your question and what was already answered are kept."
_AGAIN = "Ask again: a fresh one is started."
_TEMPLATE = {
    "template.missing": "has no chat template",
    "template.too-large": "has a chat template that is too large or never ends",
    "template.syntax": "has a chat template that is not valid",
    "template.failed": "has a chat template that failed on this conversation",
    "template.lost-text": "has a chat template that drops or repeats what was said",
}


def worker_failed(what: str, code: str) -> WorkerError:
    """A worker that crashed, hung or sent garbage."""
    return WorkerError(what, code=code, kept=_KEPT, todo=_AGAIN)


def answer_failed(frame: AnswerFailed) -> GovDeskError:
    """An answer that could not be made by a worker that is well."""
    if frame.code == "context.full":
        return UsageError(
            f"The conversation has {frame.prompt_tokens} tokens; the model can see {frame.context_tokens}. "
            "Nothing was cut, and nothing was answered.",
            code="context.full",
            kept=_KEPT,
            todo="Shorten the message, or start a new conversation.",
        )
    if frame.code in _TEMPLATE:
        return ModelError(
            f"The model {_TEMPLATE[frame.code]}.",
            code=frame.code,
            kept=_KEPT,
            todo="Ask your administrator for another model.",
        )
    return WorkerError(
        "The model could not compute an answer.", code="worker.answer-failed", kept=_KEPT, todo="Ask again."
    )


def load_failed(untrusted_code: str, file_name: str) -> ModelError:
    """A model that the library refused."""
    if untrusted_code in _TEMPLATE:
        what, code = f"The model {file_name} {_TEMPLATE[untrusted_code]}.", untrusted_code
    elif untrusted_code == "model.no-context":
        what, code = f"There is not enough memory to run the model {file_name}.", untrusted_code
    else:
        what, code = f"The model {file_name} was refused by the library that runs models.", "model.refused"
    return ModelError(
        what,
        code=code,
        kept="Your conversations are unchanged.",
        todo="Ask your administrator for another model.",
    )
