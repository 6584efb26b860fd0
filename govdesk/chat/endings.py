"""An answer that was cut is said to be cut, in the same words live, in the terminal and after re-opening."""

from __future__ import annotations

from govdesk.domain.turn import ModelInfo, Usage

CUT = "length"
"""The code of a completed turn whose answer ended because there was no room for more of it."""

THOUGHT_CUT = "thinking.cut"
"""The code of a completed turn whose answer's limit was reached while the model still thought."""
THOUGHT_ONLY = "thinking.only"
"""The code of a completed turn in which the model thought and then gave no answer."""


def code_of(reason: str, *, answered: bool, thought: bool) -> str:
    """The code of a completed turn.

    Args:
        reason: why the model stopped: `end` or `length`.
        answered: there is an answer.
        thought: there is thinking.
    """
    if answered or not thought:
        return reason
    return THOUGHT_CUT if reason == CUT else THOUGHT_ONLY


def ending_words(code: str, model: ModelInfo | None, usage: Usage) -> str:
    """What is to be said about a completed turn with this code; empty when it ended as it should."""
    match code:
        case "length":
            return cut_words(model, usage)
        case "thinking.cut":
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
    if model is not None and 0 < model.context_tokens <= usage.prompt_tokens + usage.answer_tokens:
        return (
            f"The conversation fills all {model.context_tokens:,} tokens that the model can see, so the "
            "answer stops here. Start a new conversation to go on."
        )
    limit = f" of {usage.answer_tokens:,} tokens" if usage.answer_tokens else ""
    return f"The answer reached its limit{limit} and stops here. Ask it to go on."
