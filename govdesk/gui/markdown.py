"""Model output is shown as text with a shape: nothing in it loads, opens, runs or hides.

Markdown is parsed by Qt without HTML. Then the document is walked: images become words with their
address, links become words with their address, characters that an entity (`&#x202e;`) brought in are
written out, and loading of resources is refused altogether. Both are needed: Qt's image handler falls
back to opening the name as a file when a document has no resource of that name.
"""

from __future__ import annotations

import re

from PySide6.QtCore import QByteArray, QUrl
from PySide6.QtGui import (
    QBrush,
    QColor,
    QFont,
    QFontDatabase,
    QImage,
    QTextBlock,
    QTextCharFormat,
    QTextCursor,
    QTextDocument,
    QTextFormat,
    QTextFrame,
    QTextFrameFormat,
    QTextList,
    QTextTable,
)

from govdesk.domain.text import visible
from govdesk.gui.markdown_lines import LINE_MARK, as_written
from govdesk.gui.theme import Theme

_FEATURES = QTextDocument.MarkdownFeature.MarkdownNoHTML | QTextDocument.MarkdownFeature.MarkdownDialectGitHub
_LINE_SEPARATOR = "\u2028"
_MARKS = re.compile(re.escape(LINE_MARK) + "(?:  )?")  # the blanks of a break that a code span made words of
_HEADING_STEPS = {1: 2, 2: 1}
"""Font size steps above the text's; deeper headings are bold alone."""
_INDENT = 24
"""Pixels that a list in a list, or a quotation in one, stands further in."""
_MAX_LEVEL = 6
"""Deeper ones stand no further in: words must not leave the page, however deep a model nests them."""


class SafeDocument(QTextDocument):
    """A document that loads nothing, whatever its content names."""

    def __init__(self) -> None:
        super().__init__()
        self.setUndoRedoEnabled(False)
        self.setDocumentMargin(2)
        self.setIndentWidth(_INDENT)

    def loadResource(self, kind: int, name: QUrl | str) -> object:
        """Answer every request with something empty, so that Qt looks no further.

        Args:
            kind: Qt's resource type.
            name: what the content asks for; never opened.
        """
        if kind == QTextDocument.ResourceType.ImageResource.value:
            blank = QImage(1, 1, QImage.Format.Format_ARGB32)
            blank.fill(0)
            return blank
        return QByteArray()


def plain(text: str) -> SafeDocument:
    """A document with the text as it is, hidden characters written out."""
    document = SafeDocument()
    document.setPlainText(visible(text))
    return document


def rendered(untrusted_markdown: str, theme: Theme) -> SafeDocument:
    """A document with the Markdown's shape.

    Args:
        untrusted_markdown: what the model wrote, after redaction.
        theme: colours of code, tables and quotes.
    """
    document = SafeDocument()
    # The line feed keeps Qt from taking a leading `---` block for front matter, which it would not show.
    document.setMarkdown("\n" + as_written(visible(untrusted_markdown)), _FEATURES)
    _join_lines(document)
    _disarm(document)
    _shape(document, theme)
    _limit_indents(document)
    return document


def _join_lines(document: QTextDocument) -> None:
    """Take the marks of lines that go on out again, and the distance between those lines."""
    cursor = QTextCursor(document)
    cursor.beginEditBlock()
    block = document.begin()
    while block.isValid():
        text = block.text()
        if text.endswith(LINE_MARK) and block.next().isValid():
            _set_margin(cursor, block, below=0)
            _set_margin(cursor, block.next(), above=0)
        for found in reversed(list(_MARKS.finditer(text))):
            # Positions count UTF-16 units.
            start = block.position() + len(text[: found.start()].encode("utf-16-le", "surrogatepass")) // 2
            cursor.setPosition(start)
            cursor.setPosition(start + len(found.group()), QTextCursor.MoveMode.KeepAnchor)
            cursor.removeSelectedText()
        block = block.next()
    cursor.endEditBlock()


def _set_margin(
    cursor: QTextCursor, block: QTextBlock, above: float | None = None, below: float | None = None
) -> None:
    shape = block.blockFormat()
    if above is not None:
        shape.setTopMargin(above)
    if below is not None:
        shape.setBottomMargin(below)
    cursor.setPosition(block.position())
    cursor.setBlockFormat(shape)


def _disarm(document: QTextDocument) -> None:
    edits: list[tuple[int, int, str, QTextCharFormat]] = []
    block = document.begin()
    while block.isValid():
        edits += _edits(block)
        block = block.next()
    cursor = QTextCursor(document)
    for start, length, text, shape in reversed(edits):
        cursor.setPosition(start)
        cursor.setPosition(start + length, QTextCursor.MoveMode.KeepAnchor)
        cursor.insertText(text, shape)


def _edits(block: QTextBlock) -> list[tuple[int, int, str, QTextCharFormat]]:
    """Position, length, new text and format of each fragment that may not stay as it is."""
    edits = []
    walker = block.begin()
    while not walker.atEnd():
        fragment = walker.fragment()
        text, shape = fragment.text(), fragment.charFormat()
        safe = _LINE_SEPARATOR.join(visible(line) for line in text.split(_LINE_SEPARATOR))
        if shape.isImageFormat():
            words = visible(str(shape.property(QTextFormat.Property.ImageAltText) or ""))
            address = visible(shape.toImageFormat().name())
            safe = f"[image not shown: {words}, {address}]" if words else f"[image not shown: {address}]"
        elif shape.isAnchor():
            address = visible(shape.anchorHref())
            if address not in (text, f"mailto:{text}"):
                safe = f"{safe} ({address})"
        if safe != text or shape.isAnchor() or shape.isImageFormat():
            # Qt counts UTF-16 units, as `fragment.length()` does.
            edits.append((fragment.position(), fragment.length(), safe, _without_targets(shape)))
        walker += 1
    return edits


def _without_targets(shape: QTextCharFormat) -> QTextCharFormat:
    """The format of plain words: keeps bold, italic and code, drops links, images and tool tips."""
    kept = QTextCharFormat()
    kept.setFontWeight(shape.fontWeight() if shape.fontWeight() > 0 else QFont.Weight.Normal)
    kept.setFontItalic(shape.fontItalic())
    kept.setFontStrikeOut(shape.fontStrikeOut())
    kept.setFontFixedPitch(shape.fontFixedPitch())
    return kept


def _shape(document: QTextDocument, theme: Theme) -> None:
    fixed = QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont).family()
    block = document.begin()
    cursor = QTextCursor(document)
    while block.isValid():
        block_format = block.blockFormat()
        level = block_format.headingLevel()
        code = block_format.hasProperty(QTextFormat.Property.BlockCodeFence) or block_format.hasProperty(
            QTextFormat.Property.BlockCodeLanguage
        )
        quoted = block_format.hasProperty(QTextFormat.Property.BlockQuoteLevel)
        if level or code or quoted:
            cursor.setPosition(block.position())
            cursor.movePosition(QTextCursor.MoveOperation.EndOfBlock, QTextCursor.MoveMode.KeepAnchor)
            change = QTextCharFormat()
            if level:
                change.setProperty(QTextFormat.Property.FontSizeAdjustment, _HEADING_STEPS.get(level, 0))
                change.setFontWeight(QFont.Weight.DemiBold)
            if quoted:
                change.setForeground(QBrush(QColor(theme.muted)))
            if code:
                change.setFontFamilies([fixed])
                block_format.setBackground(QBrush(QColor(theme.sunken)))
                block_format.setNonBreakableLines(False)
                cursor.setBlockFormat(block_format)
            cursor.mergeCharFormat(change)
        block = block.next()
    _shape_tables(document.rootFrame(), theme)


def _limit_indents(document: QTextDocument) -> None:
    cursor = QTextCursor(document)
    block = document.begin()
    while block.isValid():
        shape = block.blockFormat()
        inside: QTextList | None = block.textList()
        level = min(shape.indent() if inside is None else inside.format().indent(), _MAX_LEVEL)
        if inside is not None and inside.format().indent() > level:
            list_format = inside.format()
            list_format.setIndent(level)
            inside.setFormat(list_format)
        quotes = shape.intProperty(QTextFormat.Property.BlockQuoteLevel)
        if quotes or shape.indent() > _MAX_LEVEL:
            shape.setIndent(min(shape.indent(), _MAX_LEVEL))
            shape.setLeftMargin(min(quotes, _MAX_LEVEL - level) * _INDENT)
            shape.setRightMargin(0)
            cursor.setPosition(block.position())
            cursor.setBlockFormat(shape)
        block = block.next()


def _shape_tables(frame: QTextFrame, theme: Theme) -> None:
    for child in frame.childFrames():
        if isinstance(child, QTextTable):
            table_format = child.format()
            table_format.setBorder(1)
            table_format.setBorderStyle(QTextFrameFormat.BorderStyle.BorderStyle_Solid)
            table_format.setBorderBrush(QBrush(QColor(theme.border)))
            table_format.setBorderCollapse(True)
            table_format.setCellPadding(5)
            table_format.setCellSpacing(0)
            table_format.setTopMargin(4)
            table_format.setBottomMargin(8)
            child.setFormat(table_format)
        _shape_tables(child, theme)
