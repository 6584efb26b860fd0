"""A model's chat template is code from a stranger: rendered only here, sandboxed, with content kept apart.

The template (Jinja, from the GGUF or the manifest) is rendered with a random mark in place of each message's
text. What lies between the marks is the template's own and may hold special tokens; the texts never do:
they are tokenised as plain text, so a prompt that spells `<|im_end|>` cannot end its own turn.
The sandbox (`govdesk.worker.jinja_sandbox`) has what chat templates need; time is bounded by
`govdesk.worker.deadline`, memory by the process's limit.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import TypeVar

import jinja2
from jinja2 import nodes
from jinja2.sandbox import SecurityError

from govdesk.worker.deadline import TooSlowError, within
from govdesk.worker.jinja_sandbox import RefusedError, TemplateEnvironment

RENDER_SECONDS = 2.0
"""Longest that compiling or rendering may take, a second try included; real templates take a millisecond."""
_LEAST_SECONDS = 0.01
MAX_TEMPLATE_CHARACTERS = 256 * 1024
MAX_RENDERED_CHARACTERS = 1024 * 1024
_PAD = "\u2003\u2002"
"""White space around each mark that no template writes: where it is gone, the template trims texts."""
_MARK = re.compile("\ue000[0-9a-f]{24}\ue001")
_FOLDED = "\n\n"
"""Between two texts that a template takes only as one."""
_UNKNOWN = re.compile(r"(?:Encountered unknown (tag)|No (filter|test) named) '([a-z_]{1,24})'")
_NO_TAGS = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "from",
    nodes.Extends: "extends",
    nodes.ScopedEvalContextModifier: "autoescape",
}
"""Tags of Jinja's own that are not for chat templates: they read files, or compute while compiling."""


_Result = TypeVar("_Result")


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
        today: the date, for templates that tell the model.

    Raises:
        TemplateFailedError: `template.too-large`, `template.too-slow`, `template.syntax`, or what is unknown
            here: `template.unknown-tag:NAME`, `template.unknown-filter:NAME`, `template.unknown-test:NAME`.
    """

    def __init__(self, source: str, bos: str, eos: str, today: Callable[[], date] = date.today) -> None:
        if len(source) > MAX_TEMPLATE_CHARACTERS:
            raise TemplateFailedError("template.too-large")
        self._template = _in_time(RENDER_SECONDS, lambda: _compiled(source, today), _not_compiled)
        self._tokens = {"bos_token": bos, "eos_token": eos}
        self.source = source

    def render(self, messages: tuple[tuple[str, str], ...]) -> tuple[Part, ...]:
        """The prompt for a history of (role, text), up to where the assistant begins to speak.

        A text is trimmed where the template trims it. What the template refuses or leaves out is put before
        what follows it, if that can be: a system text before the first question (Gemma and others know no
        system), a question that was never answered before the next one (they want an answer to each).

        Raises:
            TemplateFailedError: `template.failed`, `template.undefined` when it needs what GovDesk does not
                give, `template.forbidden`, `template.refused` when it says so itself, `template.too-large`,
                `template.too-slow`, or `template.lost-text` when it drops, repeats or reorders texts.
        """
        started = time.monotonic()
        marks = [f"\ue000{secrets.token_hex(12)}\ue001" for _ in messages]
        padded = [f"{_PAD}{mark}{_PAD}" for mark in marks]
        turns = [{"role": role, "content": text} for (role, _), text in zip(messages, padded, strict=True)]
        try:
            return _apart(self._rendered(turns, RENDER_SECONDS), messages, marks)
        except TemplateFailedError as error:
            folded = _folded(turns)
            if len(folded) == len(turns) or error.code not in {"template.refused", "template.lost-text"}:
                raise
        left = max(_LEAST_SECONDS, RENDER_SECONDS - (time.monotonic() - started))
        return _apart(self._rendered(folded, left), messages, marks)

    def opening(self) -> str:
        """What the template lets the assistant begin with; empty where that cannot be found out."""
        try:
            last = self.render((("user", "?"),))[-1]
        except TemplateFailedError:
            return ""
        return last.text if last.special else ""

    def _rendered(self, turns: list[dict[str, str]], seconds: float) -> str:
        given = {"messages": turns, "add_generation_prompt": True, **self._tokens}
        return _in_time(seconds, lambda: _bounded(self._template.generate(**given)), _not_rendered)


def _in_time(seconds: float, work: Callable[[], _Result], code: Callable[[Exception], str]) -> _Result:
    """What the template's code gives; whatever it raises becomes a `TemplateFailedError`."""
    try:
        return within(seconds, work)
    except TemplateFailedError:
        raise
    except TooSlowError as error:
        raise TemplateFailedError("template.too-slow") from error
    except MemoryError as error:
        raise TemplateFailedError("template.too-large") from error
    except Exception as error:  # a stranger's code raises what it likes
        raise TemplateFailedError(code(error)) from error


def _compiled(source: str, today: Callable[[], date]) -> jinja2.Template:
    environment = TemplateEnvironment(today)
    tree = environment.parse(source)
    for node in tree.find_all(tuple(_NO_TAGS)):
        raise TemplateFailedError(f"template.unknown-tag:{_NO_TAGS[type(node)]}")
    return environment.from_string(tree)


def _folded(turns: list[dict[str, str]]) -> list[dict[str, str]]:
    """The same texts with no system before a question, and no two of the same speaker in a row."""
    folded: list[dict[str, str]] = []
    for turn in turns:
        last = folded[-1] if folded else {}
        if last.get("role") == turn["role"] or (last.get("role"), turn["role"]) == ("system", "user"):
            folded[-1] = {"role": turn["role"], "content": last["content"] + _FOLDED + turn["content"]}
        else:
            folded.append(turn)
    return folded


def _apart(rendered: str, messages: tuple[tuple[str, str], ...], marks: list[str]) -> tuple[Part, ...]:
    """The rendered prompt with its texts in place of their marks, each once and in order.

    A system text may stand anywhere: some templates put it before the last question.
    """
    numbers = {mark: number for number, mark in enumerate(marks)}
    found = [(place, numbers[place[0]]) for place in _MARK.finditer(rendered) if place[0] in numbers]
    spoken = [number for _, number in found if messages[number][0] != "system"]
    if sorted(number for _, number in found) != list(range(len(marks))) or spoken != sorted(spoken):
        raise TemplateFailedError("template.lost-text")
    result: list[Part] = []
    at = 0
    for place, number in found:
        before, text, at = rendered[at : place.start()], messages[number][1], place.end()
        if before.endswith(_PAD):
            before = before[: -len(_PAD)]
        else:
            text = text.lstrip()
        if rendered.startswith(_PAD, at):
            at += len(_PAD)
        else:
            text = text.rstrip()
        # another text's white space may follow
        cut_after = rendered.startswith(_PAD[0], at) and not rendered.startswith(_PAD, at)
        if cut_after or before.endswith(_PAD[-1]):
            raise TemplateFailedError("template.lost-text")
        result += [Part(before, special=True), Part(text, special=False)]
    result.append(Part(rendered[at:], special=True))
    return tuple(part for part in result if part.text)


def _not_compiled(error: Exception) -> str:
    """The code for a source that is no template here; of its words, only the name of what is unknown."""
    unknown = _UNKNOWN.match(str(error)) if isinstance(error, jinja2.TemplateError) else None
    return f"template.unknown-{unknown[1] or unknown[2]}:{unknown[3]}" if unknown else "template.syntax"


def _not_rendered(error: Exception) -> str:
    match error:
        case RefusedError():
            return "template.refused"
        case SecurityError():
            return "template.forbidden"
        case jinja2.UndefinedError():
            return "template.undefined"
    return "template.failed"


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
