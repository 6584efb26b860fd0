"""A model's chat template in words and lines, bounded: what a file holds is untrusted, and may be endless."""

from __future__ import annotations

import difflib

from govdesk.domain.models import ModelDetails, ModelState

MAX_LINES = 400
"""So many are compared, and so many are shown."""
MAX_LINE_CHARACTERS = 4_000
MAX_CHARACTERS = 64 * 1024


def template_words(details: ModelDetails) -> str:
    """Whose template is used, and whether it is the one that was signed."""
    own, file = details.manifest_template, details.untrusted_file_template
    looked_at = not details.file_problem and details.line.state is not ModelState.MISSING
    if details.template_as_signed is None:
        missing = details.line.state is ModelState.MISSING
        return f"not looked at: the file {'is missing' if missing else 'was refused'}"
    if not details.template_as_signed:
        return "NOT the one that was signed"
    if own is None:
        return "none, as signed" if file is None else "the file's, as signed"
    if file is None:
        return f"the manifest's own; the file{' has none' if looked_at else ' was not looked at'}"
    return "the manifest's own" + ("" if own == file else ", in place of the file's; they differ as below")


def template_lines(details: ModelDetails) -> list[str]:
    """The template that is used, or how the manifest's differs from the file's; the text is untrusted."""
    own, file = details.manifest_template, details.untrusted_file_template
    if own is None or file is None or own == file:
        return _bounded((own or file or "").splitlines())
    compared = difflib.unified_diff(
        _first(file.splitlines(), ", not compared"),
        _first(own.splitlines(), ", not compared"),
        "the file's",
        "the manifest's",
        lineterm="",
    )
    return _bounded(list(compared))


def _bounded(lines: list[str]) -> list[str]:
    shown: list[str] = []
    room = MAX_CHARACTERS
    for line in lines[:MAX_LINES]:
        more = len(line) - MAX_LINE_CHARACTERS
        shown.append(line if more <= 0 else f"{line[:MAX_LINE_CHARACTERS]}… {more:,} more characters")
        room -= len(shown[-1])
        if room < 0:
            break
    return shown + _rest(len(lines) - len(shown), "")


def _first(lines: list[str], why: str) -> list[str]:
    return lines[:MAX_LINES] + _rest(len(lines) - MAX_LINES, why)


def _rest(count: int, why: str) -> list[str]:
    return [f"… {count:,} more lines{why}"] if count > 0 else []
