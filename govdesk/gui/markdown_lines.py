"""What can be said of Markdown line by line: fences, lines that stay lines, and how much to show at once.

Markdown joins the lines of a paragraph; models write poems, addresses and signatures as lines. So a line
that is followed by another one ends in a hard break, with a mark behind which nothing but ours can stand
(hidden characters were written out before). Qt makes each such line a paragraph with its distance; the mark
says which ones belong together.
"""

from __future__ import annotations

import re

LINE_MARK = " \u2028"
"""At the end of a line that goes on; a blank first, so that emphasis can close before it."""
_HARD_BREAK = "  "
_ITEM = re.compile(r"\s*(?:[-*+]|\d{1,9}[.)])(?:\s|$)")
_ITEM_IN_ITEM = re.compile(r"([\s>]*(?:[-*+]|\d{1,9}[.)])\s+)(?:([-*+])|(\d{1,9})([.)]))(?=\s|$)")
_RULE = re.compile(r"\s*(?:(?:-\s*){3,}|(?:\*\s*){3,})")
_HEADING = re.compile(r" {0,3}#{1,6}(?:\s|$)")
_DEFINITION = re.compile(r" {0,3}\[[^\]]+\]:")
_INDENTED = re.compile(r"(?: {4}| {0,3}\t)")
_NO_WORDS = re.compile(r"[\s>:=*_+.~#-]*")
_SIGNATURE = re.compile(r" {0,3}(?:--|==?)\s*")
"""Would make a heading of the line before; models write headings with # or with three signs and more."""
_MATHS = re.compile(r"(`+)[^`]*\1|\\([()\[\]])")


def as_written(markdown: str) -> str:
    r"""Markdown that keeps the lines of a paragraph, and `\(…\)` and `\[…\]` around maths.

    Fences, indented code, tables, lists and headings stay as they are.

    Args:
        markdown: with hidden characters written out already: it holds no U+2028.
    """
    lines = markdown.split("\n")
    written = []
    fence = ""
    after_blank, in_list, in_code = True, False, False
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        before, fence = fence, fence_after(fence, line)
        if before or fence:
            written.append(line)
            after_blank = in_code = False
            continue
        blank = not line.strip()
        indented = _INDENTED.match(line) is not None
        in_list = _ITEM.match(line) is not None or (in_list and (blank or indented or not after_blank))
        in_code = not blank and indented and not in_list and (after_blank or in_code)
        if not after_blank and not in_list and _SIGNATURE.fullmatch(line):
            line = f"\\{line.lstrip()}"  # noqa: PLW2901
        after_blank = blank
        if blank or in_code:
            written.append(line)
            continue
        line = _MATHS.sub(_keep_backslash, line)  # noqa: PLW2901
        if not _RULE.fullmatch(line):  # `1. 1. 2.` is an item with numbers in it, not lists in lists
            line = _ITEM_IN_ITEM.sub(r"\1\3\\\2\4", line, count=1)  # noqa: PLW2901
        goes_on = bool(following.strip()) and not fence_after("", following) and not in_list
        if goes_on and "|" not in line and not any(p.match(line) for p in (_HEADING, _DEFINITION)):
            plain = line.rstrip().removesuffix("\\")
            line = line if _NO_WORDS.fullmatch(plain) else plain + LINE_MARK + _HARD_BREAK  # noqa: PLW2901
        written.append(line)
    return "\n".join(written)


def _keep_backslash(match: re.Match[str]) -> str:
    return match.group() if match.group(1) else f"\\\\{match.group(2)}"


def settled_length(untrusted_markdown: str) -> int:
    """How much of a growing text has its final shape: up to the last blank line outside a code fence."""
    settled = 0
    position = 0
    fence = ""
    for line in untrusted_markdown.splitlines(keepends=True):
        position += len(line)
        fence = fence_after(fence, line)
        if not fence and not line.strip() and line.endswith("\n"):
            settled = position
    return settled


def open_fence(untrusted_markdown: str) -> str:
    """The marks of the code fence that is still open at the end of the text; empty when none is."""
    fence = ""
    for line in untrusted_markdown.splitlines():
        fence = fence_after(fence, line)
    return fence


def fence_after(fence: str, line: str) -> str:
    """The open fence after a line (CommonMark 4.5): one closes by at least as many of the same marks alone.

    Args:
        fence: the marks that are open before the line; empty when none are.
        line: in a quotation or out of one.
    """
    stripped = line.strip().lstrip("> ")
    if fence:
        closes = stripped.startswith(fence) and not stripped.strip(fence[0])
        return "" if closes else fence
    for mark in "`~":
        if stripped.startswith(mark * 3):
            marks = mark * (len(stripped) - len(stripped.lstrip(mark)))
            return "" if mark == "`" and "`" in stripped[len(marks) :] else marks
    return ""


def shown_length(text: str, characters: int, cells: int) -> int:
    """How much of a text to lay out at once.

    Args:
        text: Markdown.
        characters: at most this many.
        cells: at most about this many cells of tables, cut at a row.
    """
    length = min(len(text), characters)
    if text.count("|", 0, length) <= cells:
        return length
    position = seen = 0
    while position < length:
        end = text.find("\n", position, length) + 1 or length
        seen += text.count("|", position, end)
        if seen > cells and position:
            return position
        position = end
    return length
