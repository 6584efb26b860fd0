"""An answer that was cut is said to be cut, in the same words live, in the terminal and after re-opening."""

from __future__ import annotations

from govdesk.domain.turn import ModelInfo, TooLong, Usage

CUT = "length"
"""The code of a completed turn whose answer ended because there was no room for more of it."""

FULL = "context.full"
"""The code of a turn that was not begun, or not answered, because it does not fit the model's context."""


def too_long_words(too_long: TooLong) -> str:
    """What does not fit, by how much, and what was done about it: nothing."""
    about = "about " if too_long.estimated else ""
    return (
        f"The conversation with this message has {about}{too_long.prompt_tokens:,} tokens; the model can see "
        f"{too_long.context_tokens:,}, and {too_long.answer_tokens:,} of them are kept for its answer: "
        f"{about}{too_long.over_tokens:,} too many. Nothing was cut, and nothing was answered."
    )


LOOP = "loop"
"""The code of a completed turn whose answer only repeated itself, so that it was stopped."""


THOUGHT_CUT = "thinking.cut"
"""The code of a completed turn whose answer's limit was reached while the model still thought."""
THOUGHT_ONLY = "thinking.only"
"""The code of a completed turn in which the model thought and then gave no answer."""


def code_of(reason: str, *, answered: bool, thought: bool) -> str:
    """The code of a completed turn.

    Args:
        reason: why the model stopped: `end`, `length` or `loop`.
        answered: there is an answer.
        thought: there is thinking.
    """
    if answered or not thought:
        return reason
    return THOUGHT_CUT if reason == CUT else THOUGHT_ONLY


def summary_words(code: str) -> str:
    """What is to be said about a completed summary with this code; empty when it came to its end."""
    if code in {"", "end"}:
        return ""
    return (
        "The summary did not come to its end, so it stands for nothing: the model goes on to see the turns "
        "themselves."
    )


def ending_words(code: str, model: ModelInfo | None, usage: Usage) -> str:
    """What is to be said about a completed turn with this code; empty when it ended as it should."""
    match code:
        case "loop":
            return (
                "The model said the same over and over, so it was stopped. Ask in other words, or start a "
                "new conversation."
            )
        case "length":
            return cut_words(model, usage)
        case "thinking.cut":
            if _full(model, usage):
                return (
                    "The conversation filled all that the model can see while it was still thinking, so "
                    "there is no answer. Ask again in a new conversation; what it thought is kept."
                )
            limit = f" of {usage.answer_tokens:,} tokens" if usage.answer_tokens else ""
            return (
                f"The model reached its limit{limit} while it was still thinking, and gave no answer. Ask "
                "for something smaller, or allow a longer answer; what it thought is kept."
            )
        case "thinking.only":
            return "The model thought, and ended without an answer. What it thought is kept. Ask again."
    return ""


def cut_words(model: ModelInfo | None, usage: Usage) -> str:
    """Why an answer with the code `CUT` stops where it stops, and what to do.

    Args:
        model: the one that answered, with the tokens that it can see.
        usage: tokens of the turn; none when they are not known.
    """
    if model is not None and _full(model, usage):
        return (
            f"The conversation fills all {model.context_tokens:,} tokens that the model can see, so the "
            "answer stops here. Ask it to go on: GovDesk then asks what of the conversation is left out."
        )
    limit = f" of {usage.answer_tokens:,} tokens" if usage.answer_tokens else ""
    return f"The answer reached its limit{limit} and stops here. Ask it to go on, or allow a longer answer."


def _full(model: ModelInfo | None, usage: Usage) -> bool:
    """Whether prompt and answer took all the tokens that the model can see."""
    return model is not None and 0 < model.context_tokens <= usage.prompt_tokens + usage.answer_tokens
