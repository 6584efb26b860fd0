"""Model output is shown as text with a shape: nothing loads, opens, runs or hides."""

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PySide6.QtCore import QPoint, Qt, QUrl
from PySide6.QtGui import QDesktopServices, QTextCursor, QTextDocument

from govdesk.gui.markdown import SafeDocument, plain, rendered
from govdesk.gui.markdown_lines import open_fence, settled_length, shown_length
from govdesk.gui.safe_text import SafeText
from govdesk.gui.streaming import MAX_TAIL_CHARACTERS, LiveText
from govdesk.gui.theme import LIGHT


def fragments(document):
    block = document.begin()
    while block.isValid():
        walker = block.begin()
        while not walker.atEnd():
            yield walker.fragment()
            walker += 1
        block = block.next()


def nothing_armed(document):
    for fragment in fragments(document):
        shape = fragment.charFormat()
        assert not shape.isImageFormat()
        assert not shape.isAnchor()
        assert not shape.anchorHref()
        assert not shape.toolTip()


@pytest.mark.parametrize(
    "source",
    [
        "![x](file:///etc/passwd)",
        "![x](http://example.invalid/x.png)",
        "![x][r]\n\n[r]: http://example.invalid/x.png",
        "[![x](qrc:/x.png)](javascript:alert(1))",
        "| ![x](/etc/hostname) |\n|---|\n| ![y](:/a) |",
        "- ![x](data:image/png;base64,iVBORw0KGgo=)",
        '[go](javascript:alert(1) "title")',
        "<javascript:alert(1)> https://example.invalid www.example.invalid a@example.invalid",
    ],
)
def test_images_and_links_become_words(qtbot, source):
    document = rendered(source, LIGHT)
    nothing_armed(document)
    assert "\ufffc" not in document.toPlainText()


def test_a_links_address_is_shown():
    assert "click (javascript:alert(1))" in rendered("[click](javascript:alert(1))", LIGHT).toPlainText()
    assert rendered("<https://a.invalid/x>", LIGHT).toPlainText() == "https://a.invalid/x"


def test_html_is_text():
    source = (
        '<script>alert(1)</script> <img src="file:///etc/passwd"> <b>x</b>\n\n<iframe src="http://a.invalid">'
    )
    text = rendered(source, LIGHT).toPlainText()
    for part in ("<script>alert(1)</script>", "<img src=", "<b>x</b>", "<iframe"):
        assert part in text
    nothing_armed(rendered(source, LIGHT))


def test_no_resource_is_ever_opened(qtbot, tmp_path):
    picture = tmp_path / "secret.png"
    picture.write_bytes(b"not read")
    view = SafeText("text")
    qtbot.addWidget(view)
    document = SafeDocument()
    document.setMarkdown(f"![x]({picture})")  # without our walk: the second line of defence alone
    asked = []
    inner = document.loadResource
    document.loadResource = lambda kind, name: asked.append(name) or inner(kind, name)
    view.show_document(document)
    view.show()
    view.grab()
    image = document.resource(QTextDocument.ResourceType.ImageResource, QUrl(str(picture)))
    assert image.width() == 1
    style = document.resource(QTextDocument.ResourceType.StyleSheetResource, QUrl("file:///etc/passwd"))
    assert not bytes(style)


def test_clicking_a_link_opens_nothing(qtbot, monkeypatch):
    opened = []
    monkeypatch.setattr(QDesktopServices, "openUrl", opened.append)
    view = SafeText("text")
    qtbot.addWidget(view)
    view.resize(300, 100)
    view.show_document(rendered("[click](https://example.invalid)", LIGHT))
    view.show()
    for x in range(5, 200, 15):
        place = QPoint(x, 12)
        qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=place)
        assert not view.anchorAt(place)
    assert not opened
    assert not view.textInteractionFlags() & Qt.TextInteractionFlag.LinksAccessibleByMouse
    assert not view.textInteractionFlags() & Qt.TextInteractionFlag.TextEditable


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("a&#x202e;b", "a⟨U+202E⟩b"),
        ("a&#8238;b", "a⟨U+202E⟩b"),
        ("a&zwnj;b", "a⟨U+200C⟩b"),
        ("\x1b[31mred", "⟨U+001B⟩[31mred"),
        ("a\u200bb", "a⟨U+200B⟩b"),
        ("`a\u202eb`", "a⟨U+202E⟩b"),
        ("[a](http://x.invalid/&#x202e;y)", "a (http://x.invalid/"),
        ("\ufdd0a\ufdd1", "⟨U+FDD0⟩a⟨U+FDD1⟩"),
    ],
)
def test_hidden_characters_are_seen(source, seen):
    text = rendered(source, LIGHT).toPlainText()
    assert seen in text
    assert "\u202e" not in text


def test_front_matter_is_not_swallowed():
    assert "hidden: words" in rendered("---\nhidden: words\n---\nshown", LIGHT).toPlainText()


def test_plain_text_keeps_markup_as_typed():
    assert plain("**a** <b> \u202e").toPlainText() == "**a** <b> ⟨U+202E⟩"


def test_markdown_has_its_shape():
    document = rendered("# H\n\n**b** `c`\n\n| a |\n|---|\n| 1 |\n\n```\nx\n```\n", LIGHT)
    weights = {f.text(): f.charFormat().fontWeight() for f in fragments(document)}
    assert weights["b"] >= 700
    assert document.rootFrame().childFrames()
    assert "**" not in document.toPlainText()


@given(st.text(max_size=300))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_rendered_unarmed(qapp, text):
    nothing_armed(rendered(text, LIGHT))


ADDRESS = (
    "Port Authority\n14 Quay Street\nNordhafen 20457\n\nDear Sir,\nthank you.\n-- \n_J. Doe_\n**Director**"
)


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        (
            ADDRESS,
            "Port Authority\n14 Quay Street\nNordhafen 20457\nDear Sir,\nthank you.\n-- \nJ. Doe\nDirector",
        ),
        ("Roses are red  \nviolets\\\nare _blue_\n**so**\nend", "Roses are red\nviolets\nare blue\nso\nend"),
        ("> one\n> two", "one\ntwo"),
        ("- a long\n  item\n- two\nlazy", "a long item\ntwo lazy"),
        ("1. a\n2. b\n\nafter\nit", "a\nb\nafter\nit"),
        ("Head\n====\nx\ny", "Head\nx\ny"),
        ("# Head\nx\ny", "Head\nx\ny"),
        ("x\n---\ny", "x\ny"),
        ("before\n```\na\nb\n```\nafter", "before\na\nb\nafter"),
        ("    code\n    more\n\nx", "code\nmore\nx"),
        ("> ```\n> a\n> b\n> ```", "a\nb"),
        ("`a\nb`", "a b"),
        ("one\ntwo", "one\ntwo"),
        ("emoji 🚢\n👩‍👩‍👧‍👦 two\nthree", "emoji 🚢\n👩‍👩‍👧‍👦 two\nthree"),
    ],
)
def test_lines_stay_lines_where_they_are_not_structure(source, seen):
    text = rendered(source, LIGHT).toPlainText()
    assert [line.rstrip() for line in text.split("\n")] == [line.rstrip() for line in seen.split("\n")]
    assert "\u2028" not in text


@pytest.mark.parametrize("table", ["| a | b |\n|---|---|\n| 1 | 2 |", "a | b\n--- | ---\n1 | 2"])
def test_a_table_is_still_one(table):
    document = rendered(f"Intro:\n\n{table}\n\nx\ny", LIGHT)
    (found,) = document.rootFrame().childFrames()
    assert (found.rows(), found.columns()) == (2, 2)
    assert document.toPlainText().endswith("x\ny")


def test_lines_of_one_paragraph_have_no_distance_between_them():
    document = rendered("first\nsecond\nthird\n\nparagraph", LIGHT)
    blocks = {}
    block = document.begin()
    while block.isValid():
        blocks[block.text()] = (block.blockFormat().topMargin(), block.blockFormat().bottomMargin())
        block = block.next()
    assert blocks["first"][1] == blocks["second"][0] == blocks["second"][1] == blocks["third"][0] == 0
    assert blocks["first"][0] > 0
    assert blocks["third"][1] > 0


def test_maths_keeps_its_brackets():
    text = rendered(r"So \(a+b\) and \[x\], but `\(code\)` too", LIGHT).toPlainText()
    assert text == r"So \(a+b\) and \[x\], but \(code\) too"


def test_an_images_words_are_shown():
    text = rendered('![a chart of depths](http://x.invalid/y.png "t")', LIGHT).toPlainText()
    assert text == "[image not shown: a chart of depths, http://x.invalid/y.png]"


@given(st.text(alphabet="ab |-#>`*_\n\\([ ", max_size=80))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_mark_of_ours_is_ever_left(qapp, text):
    assert "\u2028" not in rendered(text, LIGHT).toPlainText()


@pytest.mark.parametrize(
    "source",
    [
        "- " * 40 + "hidden",
        "> " * 40 + "hidden",
        "".join(f"{i}. " for i in (1, *range(1, 23))) + "hidden",
        "> - " * 20 + "hidden",
        "- > " * 20 + "hidden",
        "\n".join("  " * i + f"- item {i}" for i in range(30)),
        "\n".join("   " * i + f"1. > item {i}\n" for i in range(30)),
    ],
)
def test_no_words_leave_the_page_however_deep_they_nest(qtbot, source):
    view = SafeText("text")
    qtbot.addWidget(view)
    view.resize(320, 100)
    view.show_document(rendered(source, LIGHT))
    view.show()
    width = view.viewport().width()
    cursor = QTextCursor(view.document())
    seen = 0
    while True:
        place = view.cursorRect(cursor)
        assert place.left() >= 0
        assert place.right() <= width, cursor.position()
        seen += 1
        if not cursor.movePosition(QTextCursor.MoveOperation.NextCharacter):
            break
    assert seen == view.document().characterCount()
    assert "hidden" in view.toPlainText() or "item 29" in view.toPlainText()


@pytest.mark.parametrize(
    ("source", "seen"),
    [
        ("1. 1. 2. three", "1. 2. three"),
        ("- - x", "- x"),
        ("> - + x", "+ x"),
        ("- 3) x", "3) x"),
        ("- **bold** x", "bold x"),
        ("- -5 degrees", "-5 degrees"),
    ],
)
def test_a_mark_behind_a_mark_is_a_word(source, seen):
    assert rendered(source, LIGHT).toPlainText().strip() == seen


def test_a_rule_of_marks_is_still_one():
    assert "-" not in rendered("a\n\n- - -\n\nb", LIGHT).toPlainText()


BOLD_LIST = (
    "To begin:\n\n1. **Clarify the** scope of _it_.\n2. **Ask `who` decides**: the *owner*.\n"
    "   - **one (1)** and __two__\n   - `a * b` and 2 * 3\n3. ***Both* of** it\n\nSo **far\nas it** goes."
)


def test_a_bold_list_never_jumps_while_it_comes(qtbot):
    view, streaming = live(qtbot)
    most = 0
    for at in range(len(BOLD_LIST)):
        streaming.feed(BOLD_LIST[at])
        streaming._frame()
        text = view.document().toPlainText()
        blocks = view.document().blockCount()
        assert blocks >= most, BOLD_LIST[: at + 1]
        assert "**" not in text, BOLD_LIST[: at + 1]
        assert "_" not in text, BOLD_LIST[: at + 1]
        assert "`" not in text, BOLD_LIST[: at + 1]
        most = blocks
    assert text == rendered(BOLD_LIST, LIGHT).toPlainText()


def test_streamed_lines_look_like_the_whole(qtbot):
    view, streaming = live(qtbot)
    text = ADDRESS + "\n\n- one\n- two\n\nlast\nlines"
    for at in range(0, len(text), 7):
        streaming.feed(text[at : at + 7])
        streaming._frame()
    assert view.document().toPlainText() == rendered(text, LIGHT).toPlainText()


def test_a_large_table_is_shown_in_parts():
    text = "| a | b |\n|---|---|\n" + "| 1 | 2 |\n" * 500
    end = shown_length(text, 20_000, 600)
    assert text[end - 1] == "\n"
    assert 590 <= text[:end].count("|") <= 600
    assert shown_length(text, 20_000, 10_000) == len(text)
    assert shown_length("x" * 30_000, 20_000, 600) == 20_000
    assert shown_length("|" * 5_000, 20_000, 600) == 5_000  # one line: nowhere to cut


def test_settled_length_stops_before_what_may_still_change():
    assert settled_length("one\n\ntwo") == 5
    assert settled_length("one\ntwo") == 0
    assert settled_length("```\na\n\nb") == 0
    assert settled_length("```\na\n\nb\n```\n\nc") == len("```\na\n\nb\n```\n\n")
    assert settled_length("````\n```\n\nstill") == 0
    assert open_fence("text\n~~~py\ncode") == "~~~"
    assert open_fence("```\ncode\n```\n") == ""


def live(qtbot):
    view = SafeText("live")
    qtbot.addWidget(view)
    view.resize(500, 100)
    return view, LiveText(view, LIGHT)


def test_streamed_text_looks_like_the_whole_and_ends_exact(qtbot):
    view, streaming = live(qtbot)
    parts = (
        "Intro:",
        "- one\n- **two**",
        "## Head",
        "| a | b |\n|---|---|\n| 1 | 2 |",
        "```\nc\n\nd\n```",
        "End.",
    )
    text = "\n\n".join(parts)
    for at in range(0, len(text), 5):
        streaming.feed(text[at : at + 5])
        if at % 4 == 0:
            streaming._frame()
    streaming._frame()
    assert view.document().toPlainText() == rendered(text, LIGHT).toPlainText()
    streaming.end(text)
    assert view.document().toPlainText() == rendered(text, LIGHT).toPlainText()


def test_a_frame_renders_the_tail_only_however_long_the_answer(qtbot, monkeypatch):
    view, streaming = live(qtbot)
    rendered_lengths = []

    def watched(text, theme):
        rendered_lengths.append(len(text))
        return rendered(text, theme)

    monkeypatch.setattr("govdesk.gui.streaming.rendered", watched)
    streaming.feed("```\n")
    for _ in range(300):
        streaming.feed("a line of code that goes on\n" * 4)
        streaming._frame()
    assert max(rendered_lengths) <= 2 * MAX_TAIL_CHARACTERS
    assert view.document().toPlainText().count("a line of code") == 1200


def test_finished_paragraphs_are_rendered_once(qtbot):
    _, streaming = live(qtbot)
    for _ in range(20):
        streaming.feed("A paragraph of words.\n\n")
        streaming._frame()
    assert streaming._tail == ""
    streaming.feed("Open")
    assert streaming._tail == "Open"


def test_a_lone_huge_line_does_not_grow_the_tail(qtbot):
    view, streaming = live(qtbot)
    for _ in range(50):
        streaming.feed("x" * 1000)
        streaming._frame()
    assert len(streaming._tail) <= MAX_TAIL_CHARACTERS
    assert view.document().toPlainText().count("x") == 50_000


def test_parts_join_until_the_next_frame(qtbot, monkeypatch):
    _, streaming = live(qtbot)
    frames = []
    monkeypatch.setattr("govdesk.gui.streaming.rendered", lambda t, m: frames.append(t) or rendered(t, m))
    for _ in range(200):
        streaming.feed("w ")
    qtbot.wait(120)
    assert len(frames) <= 2


MIXED = (
    "A harbour town lives by the sea, and its people (most of them) fish. They wake early; boats leave at dawn.\n\n"
    "Été: with *stars*, `code` and more words behind, then 1. no list, www.example.gov or a_b and C:\\path.\n"
    "A second line, a third\nand a word\n\n1. one, then words\n2. two (words)\n\n> quoted words, and more\n\n"
    "| a | b |\n|---|---|\n| words | more words |\n\n```\ncode words, more\n```\n\nThe end, at last."
)


@pytest.mark.parametrize("seed", range(12))
def test_plain_words_look_the_same_whether_appended_or_rendered(qtbot, monkeypatch, seed):
    view, streaming = live(qtbot)
    plainly, rendering = live(qtbot)
    source = random.Random(seed)
    at = 0
    while at < len(MIXED):
        part = MIXED[at : at + source.choice((1, 2, 5, 9, 30))]
        at += len(part)
        for one in (streaming, rendering):
            one.feed(part)
        streaming._frame()
        with monkeypatch.context() as patch:
            patch.setattr("govdesk.gui.streaming._is_prose", lambda _tail: False)
            rendering._frame()
        assert view.document().toHtml() == plainly.document().toHtml(), MIXED[:at][-40:]


def test_plain_words_are_appended_and_marks_are_rendered(qtbot, monkeypatch):
    view, streaming = live(qtbot)
    calls = []
    monkeypatch.setattr(streaming, "_replace", lambda *_: calls.append(1))
    for part in ("Words", " and more words,", " (so many) of them."):
        streaming.feed(part)
        streaming._frame()
    assert len(calls) == 1
    streaming.feed(" Now *marks*")
    streaming._frame()
    assert len(calls) == 2
    del view
