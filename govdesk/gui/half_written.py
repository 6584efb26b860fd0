"""The last lines of a growing answer show as what they become: no mark stands raw until its other half comes.

A line of marks alone (`3. *`) is held back, since the next letter decides what it is. Emphasis and code
that are open at the end are closed for the time being.
"""

from __future__ import annotations

import re
import unicodedata

from govdesk.gui.markdown_lines import open_fence

_MARKS_ALONE = re.compile(r"[\s>]*(?:(?:\d{1,9}[.)]|[-*+_#`~|:=]+)\s*)*(?:\d{1,9})?\s*")
_BEGINS_BLOCK = re.compile(r"[\s>]*(?:[-*+]|\d{1,9}[.)]|#{1,6})\s+")
_TOKEN = re.compile(r"\\.|`+|\*+|_+", re.DOTALL)


def as_if_ended(untrusted_markdown: str) -> str:
    """What to render of a text that goes on.

    Args:
        untrusted_markdown: the last paragraph, list, table or code block of the answer so far.
    """
    head, feed, last = untrusted_markdown.rpartition("\n")
    if open_fence(untrusted_markdown):
        # Perhaps the first marks of the fence's end, perhaps code: the next letter tells.
        return head + feed if last.strip() and not last.strip().strip("`~") else untrusted_markdown
    if last.strip() and _MARKS_ALONE.fullmatch(last):
        untrusted_markdown = head
    start = _start_of_block(untrusted_markdown)
    return untrusted_markdown[:start] + _closed(untrusted_markdown[start:].rstrip())


def _start_of_block(text: str) -> int:
    """Where the last paragraph or item begins, behind its mark."""
    at = len(text)
    while at > 0:
        line_start = text.rfind("\n", 0, at) + 1
        line = text[line_start:at]
        begins = _BEGINS_BLOCK.match(line)
        if begins:
            return line_start + begins.end()
        if not line.strip() and at < len(text):
            return at
        at = line_start - 1
    return 0


def _closed(text: str) -> str:
    """The text with its open marks closed, and without marks at its end that open nothing yet."""
    open_marks: list[tuple[str, int]] = []
    at = 0
    while found := _TOKEN.search(text, at):
        run, at = found.group(), found.end()
        if run[0] == "\\":
            continue
        if run[0] == "`":
            end = re.compile(rf"(?<!`){run}(?!`)").search(text, at)
            if end is None:
                code = text[at:]
                rest = code.rstrip("`")
                text = text[: found.start()].rstrip() if not rest.strip() else f"{text[:at]}{rest}{run}"
                break
            at = end.end()
            continue
        count = len(run)
        before, after = text[found.start() - 1 : found.start()], text[at : at + 1]
        if not after or _can_close(before, after, run[0]):
            while count and open_marks and open_marks[-1][0] == run[0]:
                mark, needed = open_marks.pop()
                if needed > count:
                    open_marks.append((mark, needed - count))
                count -= min(count, needed)
            if count and not after:
                text = text[: at - count].rstrip()
                break
        if count and after and _can_close(after, before, run[0]):  # the same rule, mirrored
            open_marks.append((run[0], count))
    return text + "".join(mark * needed for mark, needed in reversed(open_marks))


def _can_close(inner: str, outer: str, mark: str) -> bool:
    """Whether a run of marks can end emphasis (CommonMark 6.2): `inner` stands before it, `outer` behind."""
    if not inner or inner.isspace():
        return False
    free = not outer or outer.isspace() or _is_sign(outer)
    if mark == "_":
        return free
    return free or not _is_sign(inner)


def _is_sign(character: str) -> bool:
    return unicodedata.category(character)[0] in "PS"
