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


def stop_words(code: str, model: ModelInfo | None, usage: Usage) -> str:
    """Why a completed answer with this code stops before the model ended it; empty when it did not."""
    if code == LOOP:
        return (
            "The model said the same over and over, so it was stopped. Ask in other words, or start a new "
            "conversation."
        )
    return cut_words(model, usage) if code == CUT else ""


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
