"""An answer that was cut is said to be cut, in the same words live, in the terminal and after re-opening."""

from __future__ import annotations

from govdesk.domain.turn import ModelInfo, Usage

CUT = "length"
"""The code of a completed turn whose answer ended because there was no room for more of it."""


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
