"""The marking stands top and bottom, in the standard colours, readable."""

import pytest
from PySide6.QtCore import QPoint
from PySide6.QtGui import QColor

from govdesk.gui.banner import Banner, Bannered, banner_colour, contrast, text_colour
from govdesk.gui.dialogs import (
    RenameDialog,
    confirm_delete,
    findings_dialog,
    message,
    network_dialog,
    shortcuts_dialog,
)
from govdesk.gui.parts import label
from govdesk.gui.theme import DARK, LIGHT
from tests.fakes import PROBES, finding, policy

COLOURS = [
    ("UNCLASSIFIED", "#007a33"),
    ("UNCLASSIFIED//FOUO", "#007a33"),
    ("CUI", "#502b85"),
    ("CUI//SP-PRVCY", "#502b85"),
    ("UNCLASSIFIED//CUI", "#502b85"),
    ("CONFIDENTIAL", "#0033a0"),
    ("SECRET//NOFORN", "#c8102e"),
    ("SECRET//SI", "#c8102e"),
    ("TOP SECRET", "#ff8c00"),
    ("TOP SECRET//NOFORN", "#ff8c00"),
    ("TOP SECRET//SI//NOFORN", "#fce83a"),
    ("TOP SECRET//HCS-P/TK//ORCON", "#fce83a"),
]


@pytest.mark.parametrize(("marking", "colour"), COLOURS)
def test_colour_is_the_standard_one_and_text_reads(marking, colour):
    assert banner_colour(marking) == colour
    assert contrast(text_colour(colour), colour) >= 4.5


def test_unknown_vocabulary_still_has_a_readable_banner():
    assert contrast(text_colour(banner_colour("OFFICIAL")), banner_colour("OFFICIAL")) >= 4.5


@pytest.mark.parametrize(("marking", "colour"), COLOURS)
def test_pixels_have_the_colour_at_top_and_bottom(qtbot, marking, colour):
    widget = Bannered(policy(marking), label("content"))
    qtbot.addWidget(widget)
    widget.resize(500, 300)
    widget.show()
    picture = widget.grab().toImage()
    for place in (QPoint(3, 3), QPoint(496, 3), QPoint(3, picture.height() - 4)):
        assert picture.pixelColor(place) == QColor(colour)
    assert [b.text() for b in widget.findChildren(Banner)] == [marking, marking]


def test_words_of_a_policy_that_is_no_sites_are_shown_and_a_sites_has_none(qtbot):
    development, site = Bannered(policy(), label("")), Bannered(policy(warning=""), label(""))
    for one in (development, site):
        qtbot.addWidget(one)
    assert "not for classified use" in development.findChild(type(label("")), "warning").text()
    assert site.findChild(type(label("")), "warning") is None


@pytest.mark.parametrize(
    "make",
    [
        lambda p: message(p, "Title", "Text", None),
        lambda p: confirm_delete(p, "Title", None),
        lambda p: RenameDialog(p, "Title", None),
        lambda p: network_dialog(p, PROBES, None),
        lambda p: findings_dialog(p, (finding("US_SSN"),), None),
        lambda p: shortcuts_dialog(p, None),
    ],
)
def test_every_dialog_has_both_banners(qtbot, make):
    dialog = make(policy("SECRET//NOFORN"))
    qtbot.addWidget(dialog)
    dialog.show()
    qtbot.wait(10)
    top, bottom = dialog.findChildren(Banner)
    assert top.isVisible()
    assert bottom.isVisible()
    assert top.mapTo(dialog, QPoint(0, 0)).y() == 0
    assert bottom.mapTo(dialog, QPoint(0, 0)).y() + bottom.height() == dialog.height()
    picture = dialog.grab().toImage()
    assert picture.pixelColor(3, 3) == picture.pixelColor(3, picture.height() - 4) == QColor("#c8102e")
    assert dialog.windowTitle() == "GovDesk"


def test_the_window_has_both_banners_on_every_page(open_window, enter, desk):
    window = open_window(desk)
    assert all(b.isVisible() for b in window.findChildren(Banner))
    window = enter(desk)
    banners = window.findChildren(Banner)
    assert len(banners) == 2
    assert all(b.isVisible() for b in banners)
    assert window.windowTitle() == "GovDesk"


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_text_of_both_themes_reads(theme):
    for behind in (theme.window, theme.surface, theme.sunken, theme.mine, theme.selected):
        assert contrast(theme.text, behind) >= 4.5
    for behind in (theme.window, theme.surface, theme.sunken, theme.selected):
        assert contrast(theme.muted, behind) >= 4.5, behind
    assert contrast(theme.danger, theme.surface) >= 4.5
    assert contrast(theme.danger, theme.window) >= 4.5
    assert contrast(theme.notice_text, theme.notice) >= 4.5
    assert contrast(theme.accent_text, theme.accent) >= 4.5
    assert contrast(theme.control, theme.surface) >= 3
    assert contrast(theme.accent, theme.surface) >= 3
