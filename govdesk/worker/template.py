"""A model's chat template is code from a stranger: rendered only here, sandboxed, with content kept apart.

The template (Jinja, from the GGUF) is rendered with a random mark in place of each message's text.
What lies between the marks is the template's own and may hold special tokens; the texts never do:
they are tokenised as plain text, so a prompt that spells `<|im_end|>` cannot end its own turn.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

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
        TemplateFailedError: `template.too-large` or `template.syntax`.
    """

    def __init__(self, source: str, bos: str, eos: str) -> None:
        if len(source) > MAX_TEMPLATE_CHARACTERS:
            raise TemplateFailedError("template.too-large")
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = _raise_exception
        try:
            self._template = environment.from_string(source)
        except (jinja2.TemplateError, RecursionError) as error:
            raise TemplateFailedError("template.syntax") from error
        self._tokens = {"bos_token": bos, "eos_token": eos}

    def render(self, messages: tuple[tuple[str, str], ...]) -> tuple[Part, ...]:
        """The prompt for a history of (role, text), up to where the assistant begins to speak.

        Raises:
            TemplateFailedError: `template.failed`, or `template.lost-text` when it drops or repeats a text.
        """
        marks = [f"\ue000{secrets.token_hex(12)}\ue001" for _ in messages]
        turns = [{"role": role, "content": mark} for (role, _), mark in zip(messages, marks, strict=True)]
        try:
            parts = self._template.generate(messages=turns, add_generation_prompt=True, **self._tokens)
            rendered = _bounded(parts)
        except TemplateFailedError:
            raise
        except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError,
                RecursionError, MemoryError) as error:  # fmt: skip
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


def _bounded(parts: object) -> str:
    """Join generated parts, stopping a template that would write for ever."""
    total = 0
    kept: list[str] = []
    for part in parts:  # type: ignore[attr-defined]
        total += len(part)
        if total > MAX_RENDERED_CHARACTERS:
            raise TemplateFailedError("template.too-large")
        kept.append(part)
    return "".join(kept)


def _raise_exception(message: str) -> None:
    """What templates call to refuse a history."""
    raise jinja2.TemplateError("refused by the template")
