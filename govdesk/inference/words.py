"""The words for what a worker's codes mean: failures cross as codes, the trusted side explains them."""

from __future__ import annotations

from govdesk.domain.frames import AnswerFailed
from govdesk.errors import GovDeskError, MachineError, ModelError, UsageError, WallError, WorkerError

_KEPT = "Your question and what was already answered are kept."
_AGAIN = "Ask again: a fresh one is started."
_TEMPLATE = {
    "template.missing": "has no chat template",
    "template.too-large": "has a chat template that is too large, or makes too much of a conversation",
    "template.syntax": "has a chat template that is not valid",
    "template.unknown-tag": "has a chat template with a tag that GovDesk does not know",
    "template.unknown-filter": "has a chat template with a filter that GovDesk does not know",
    "template.unknown-test": "has a chat template with a test that GovDesk does not know",
    "template.undefined": "has a chat template that needs what GovDesk does not give, such as tools",
    "template.forbidden": "has a chat template that reaches for what is closed to it",
    "template.refused": "has a chat template that refuses this conversation",
    "template.failed": "has a chat template that failed on this conversation",
    "template.lost-text": "has a chat template that drops, repeats or reorders what was said",
    "template.too-slow": "has a chat template that takes too long",
}
_TEMPLATE_NAMES = frozenset(
    """
    autoescape debug do endtrans extends filter from import include language load pluralize trans
    center filesizeformat fromjson forceescape format from_json pprint random regex_replace slice
    striptags urlencode urlize wordcount wordwrap xmlattr to_json
    """.split()
)
"""What a code may name besides: words that are known to stand in templates, and no others."""
_OTHER_TEMPLATE = (
    "Ask your administrator: the model's manifest can name a chat template of its own, which then takes the "
    "place of the one in the file. Or use another model."
)

_GRAMMAR = {
    "grammar.invalid": "The library that runs models refused the grammar",
    "grammar.stuck": "The answer cannot go on: the grammar allows nothing that this model can write",
    "grammar.too-slow": "The answer was stopped: following the grammar takes too long",
}

_INSTALLATION = {
    "backend.no-cpu": (
        "This installation of GovDesk lacks the part that computes on this processor: no model can run.",
        "Show your administrator what `govdesk doctor` says: GovDesk has to be installed again.",
    ),
    "gpu.no-device": (
        "The graphics card that the model was to compute on went away.",
        "Ask again. If it happens again, show your administrator what `govdesk doctor` says.",
    ),
}
"""Of a model that nothing is wrong with: what happened, what to do."""


def worker_failed(what: str, code: str) -> WorkerError:
    """A worker that crashed, hung or sent garbage."""
    return WorkerError(what, code=code, kept=_KEPT, todo=_AGAIN)


def stopped() -> WorkerError:
    """The worker was stopped on purpose while it answered: the session locks or ends."""
    return WorkerError(
        "The answer was stopped because the session ends.", code="worker.stopped", kept=_KEPT, todo=""
    )


def no_time() -> MachineError:
    """The session ends, and a worker that may be well has not done by then what it was asked for."""
    return MachineError(
        "The session ended before what was read of the conversation was kept.",
        code="time",
        kept="The conversation is kept; it is read again.",
    )


def beyond_prompt() -> MachineError:
    """The worker gives more of a conversation than it was asked to read: it may hold what policy blocked."""
    return MachineError(
        "What was read of the conversation was not kept: it holds more than was sent to the model.",
        code="state.beyond-prompt",
        kept="The conversation is kept; it is read again.",
    )


def walls_missing() -> WallError:
    """The worker ended before its first word because it could not be walled in."""
    return WallError(
        "The part of GovDesk that runs the model could not be confined: this machine lacks a wall that it "
        "needs (seccomp or Landlock), or the wall does not hold.",
        code="wall.worker",
        kept="No model was loaded, and nothing was sent to it. " + _KEPT,
        todo="Run `govdesk doctor` and show what it says to your administrator.",
    )


def answer_failed(frame: AnswerFailed) -> GovDeskError:
    """An answer that could not be made by a worker that is well."""
    if frame.code == "context.full":
        about = "about " if frame.estimated else ""
        return UsageError(
            f"The conversation has {about}{frame.prompt_tokens:,} tokens; the model can see "
            f"{frame.context_tokens:,}. Nothing was cut, and nothing was answered.",
            code="context.full",
            kept=_KEPT,
            todo="Shorten the message, or start a new conversation.",
        )
    if found := _of_template(frame.code):
        what, code = found
        return ModelError(f"The model {what}.", code=code, kept=_KEPT, todo=_OTHER_TEMPLATE)
    if frame.code in _GRAMMAR:
        return UsageError(
            f"{_GRAMMAR[frame.code]}.",
            code=frame.code,
            kept=_KEPT,
            todo="Ask with another grammar or schema.",
        )
    if frame.code == "prompt.tokenize":
        return WorkerError(
            "The model could not read the conversation. Nothing was left out, and nothing was answered.",
            code="prompt.tokenize",
            kept=_KEPT,
            todo="Write the message in other words, or start a new conversation.",
        )
    return WorkerError(
        "The model could not compute an answer.", code="worker.answer-failed", kept=_KEPT, todo="Ask again."
    )


def load_failed(untrusted_code: str, file_name: str) -> ModelError:
    """A model that was not loaded: the library refused it, or could not run any."""
    todo = "Ask your administrator for another model."
    if found := _of_template(untrusted_code):
        what, code, todo = f"The model {file_name} {found[0]}.", found[1], _OTHER_TEMPLATE
    elif untrusted_code == "model.no-context":
        what, code = f"There is not enough memory to run the model {file_name}.", untrusted_code
    elif untrusted_code in _INSTALLATION:
        (what, todo), code = _INSTALLATION[untrusted_code], untrusted_code
    else:
        what, code = f"The model {file_name} was refused by the library that runs models.", "model.refused"
    return ModelError(what, code=code, kept="Your conversations are unchanged.", todo=todo)


def _of_template(untrusted_code: str) -> tuple[str, str] | None:
    """What a template's code means, and the code without what is not ours; None: it is no such code."""
    code, _, untrusted_name = untrusted_code.partition(":")
    if code not in _TEMPLATE:
        return None
    named = f" ({untrusted_name})" if untrusted_name in _TEMPLATE_NAMES else ""
    return _TEMPLATE[code] + named, code
