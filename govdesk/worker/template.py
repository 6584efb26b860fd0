"""A model's chat template is code from a stranger: rendered only here, sandboxed, with content kept apart.

The template (Jinja, from the GGUF) is rendered with a random mark in place of each message's text.
What lies between the marks is the template's own and may hold special tokens; the texts never do:
they are tokenised as plain text, so a prompt that spells `<|im_end|>` cannot end its own turn.
The sandbox (`govdesk.worker.jinja_sandbox`) has what chat templates need; time is bounded here, memory by
the process's limit.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

import jinja2

from govdesk.worker.jinja_sandbox import TemplateEnvironment

RENDER_SECONDS = 2.0
"""Longest that compiling or rendering may take; real templates take a millisecond."""
MAX_TEMPLATE_CHARACTERS = 256 * 1024
MAX_RENDERED_CHARACTERS = 1024 * 1024


class TemplateFailedError(Exception):
    """The template cannot be used; `code` crosses to the trusted side, which owns the words."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Part:
    """A stretch of the rendered prompt; `special` text comes from the template, the rest from people."""

    text: str
    special: bool


class ChatTemplate:
    """One model's template, compiled once.

    Args:
        source: the Jinja source.
        bos: text of the beginning-of-sequence token ("" when there is none).
        eos: text of the end-of-sequence token.

    Raises:
        TemplateFailedError: `template.too-large`, `template.too-slow` or `template.syntax`.
    """

    def __init__(self, source: str, bos: str, eos: str) -> None:
        if len(source) > MAX_TEMPLATE_CHARACTERS:
            raise TemplateFailedError("template.too-large")
        try:
            with _deadline(RENDER_SECONDS):
                self._template = TemplateEnvironment().from_string(source)
        except (jinja2.TemplateError, SyntaxError, RecursionError, ValueError, OverflowError) as error:
            raise TemplateFailedError("template.syntax") from error
        except MemoryError as error:
            raise TemplateFailedError("template.too-large") from error
        self._tokens = {"bos_token": bos, "eos_token": eos}

    def render(self, messages: tuple[tuple[str, str], ...]) -> tuple[Part, ...]:
        """The prompt for a history of (role, text), up to where the assistant begins to speak.

        Raises:
            TemplateFailedError: `template.failed`, `template.too-large`, `template.too-slow`, or
                `template.lost-text` when it drops, repeats or reorders texts.
        """
        marks = [f"\ue000{secrets.token_hex(12)}\ue001" for _ in messages]
        turns = [{"role": role, "content": mark} for (role, _), mark in zip(messages, marks, strict=True)]
        try:
            with _deadline(RENDER_SECONDS):
                parts = self._template.generate(messages=turns, add_generation_prompt=True, **self._tokens)
                rendered = _bounded(parts)
        except TemplateFailedError:
            raise
        except MemoryError as error:
            raise TemplateFailedError("template.too-large") from error
        except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError,
                RecursionError) as error:  # fmt: skip
            raise TemplateFailedError("template.failed") from error
        result: list[Part] = []
        rest = rendered
        for (_, text), mark in zip(messages, marks, strict=True):
            before, found, rest = rest.partition(mark)
            if not found or mark in rest:
                raise TemplateFailedError("template.lost-text")
            result += [Part(before, special=True), Part(text, special=False)]
        result.append(Part(rest, special=True))
        return tuple(part for part in result if part.text)


def _bounded(parts: Iterator[str]) -> str:
    """Join generated parts, stopping a template that would write for ever."""
    total = 0
    kept: list[str] = []
    for part in parts:
        total += len(part)
        if total > MAX_RENDERED_CHARACTERS:
            raise TemplateFailedError("template.too-large")
        kept.append(part)
    return "".join(kept)


@contextlib.contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raise out of the main thread's Python code when it takes too long; a template cannot catch that."""

    def too_slow(_number: int, _frame: FrameType | None) -> None:
        raise TemplateFailedError("template.too-slow")

    before = signal.signal(signal.SIGALRM, too_slow)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
