"""Words are never cut and banners never leave the screen, however small it is and however long the words."""

import pytest
from PySide6.QtCore import QPoint, QRect, Qt
from PySide6.QtWidgets import QApplication, QLabel

from govdesk.app import new_profile
from govdesk.config import Profile
from govdesk.errors import AuditClosedError, GovDeskError
from govdesk.gui import dialogs, theme
from govdesk.gui.banner import Banner
from govdesk.gui.setup import SetupPage
from govdesk.gui.unlock import UnlockPage
from govdesk.gui.window import Window
from govdesk.session.recovery import RecoveryCode
from govdesk.storage import faults
from tests.fakes import PASSPHRASE, PROBES, FakeDesk, finding, policy

SCREENS = {
    "1366×768 at 200 %": QRect(0, 0, 683, 384),
    "1280×720 at 100 %": QRect(0, 0, 1280, 720),
    "1024×768 at 125 %": QRect(0, 0, 819, 614),
}


def long_errors(folder):
    """Texts as the parts of GovDesk that raise them word them."""
    yield faults.damaged("a page's code does not agree with its content; the file was changed or is worn")
    profile = Profile(folder)
    profile.database.touch()
    yield new_profile.problem(profile)
    with pytest.raises(GovDeskError) as caught:
        RecoveryCode.parse("7QK4-M2XD")
    yield caught.value
    yield AuditClosedError(
        "The audit log cannot take a record: there is no space left on the disk that holds it.",
        kept="What was recorded before is unchanged, and nothing was done that needed this record.",
        todo="Free some space on that disk, or ask your administrator; then try again.",
    )


def cut_labels(root):
    """Visible wrapped labels that are lower than their words at their width."""
    for one in root.findChildren(QLabel):
        if (
            one.isVisible()
            and one.wordWrap()
            and one.text()
            and one.height() < one.heightForWidth(one.width())
        ):
            yield one.text(), one.height(), one.heightForWidth(one.width())


def overlaps(parts):
    """Pairs of visible widgets with a parent in common that lie on each other."""
    shown = [one for one in parts if one.isVisible()]
    for at, one in enumerate(shown):
        for other in shown[at + 1 :]:
            if one.geometry().intersects(other.geometry()):
                yield one, other


@pytest.fixture
def open_on(qtbot, qapp):
    """A window on a screen of this size."""
    windows = []
    qapp.setStyle("Fusion")
    theme.apply(qapp, theme.LIGHT)

    def open_it(desk, screen):
        window = Window(desk, screen)
        windows.append(window)
        window.show()
        window.showNormal()  # the platform's own screen is not the one under test
        window.resize(window.minimumSize())
        window.start()
        qtbot.wait(1)
        return window

    yield open_it
    for window in windows:
        window._may_close = True
        window.close()
        window.deleteLater()
    qapp.processEvents()


def inside(window):
    banners = window.findChildren(Banner)
    assert len(banners) == 2
    for one in banners:
        place = QRect(one.mapTo(window, one.rect().topLeft()), one.size())
        assert window.rect().contains(place), place
        assert one.height() >= one.heightForWidth(one.width())


@pytest.mark.parametrize("screen", SCREENS.values(), ids=SCREENS)
def test_the_window_fits_the_screen(open_on, screen):
    window = Window(FakeDesk(), screen)
    assert window.isMaximized() == (screen.height() < 808)
    for size in (window.size(), window.minimumSize()):
        assert size.width() < screen.width()
        assert size.height() < screen.height()
    window.deleteLater()
    shown = open_on(FakeDesk(), screen)
    inside(shown)


def test_on_a_large_screen_it_has_its_own_size():
    window = Window(FakeDesk(), QRect(0, 0, 2560, 1400))
    assert not window.isMaximized()
    assert (window.width(), window.height()) == (1180, 760)
    window.deleteLater()


@pytest.mark.parametrize("screen", SCREENS.values(), ids=SCREENS)
def test_no_words_are_cut_on_entry_pages(qtbot, open_on, tmp_path, screen):
    for error in long_errors(tmp_path):
        desk = FakeDesk()
        window = open_on(desk, screen)
        agree = QRect(window.page.agree.mapTo(window, QPoint(0, 0)), window.page.agree.size())
        lower = window.findChildren(Banner)[-1]
        assert agree.bottom() < lower.mapTo(window, QPoint(0, 0)).y()
        desk.problems["consent click"] = error
        window.page.agree.click()
        qtbot.waitUntil(window.page.problem.isVisible)
        qtbot.wait(1)
        assert not list(cut_labels(window))
        inside(window)
        del desk.problems["consent click"]
        window.page.agree.click()
        qtbot.waitUntil(lambda window=window: isinstance(window.page, UnlockPage))
        desk.problems["unlock"] = error
        window.page.field.setText("x")
        window.page.unlock_button.click()
        qtbot.waitUntil(window.page.problem.isVisible)
        qtbot.wait(1)
        assert not list(cut_labels(window))
        inside(window)
        fresh = FakeDesk(profile_exists=False)
        window = open_on(fresh, screen)
        window.page.agree.click()
        qtbot.waitUntil(lambda window=window: isinstance(window.page, SetupPage))
        before = window.page.choice.height()
        fresh.problems["create"] = error
        window.page.choice.first.setText(PASSPHRASE)
        window.page.choice.second.setText(PASSPHRASE)
        window.page.choice.accept.click()
        qtbot.waitUntil(window.page.problem.isVisible)
        qtbot.wait(1)
        assert not list(cut_labels(window))
        assert window.page.choice.height() >= before
        inside(window)
        refused = open_on(FakeDesk(), screen)
        refused.refuse(error)
        qtbot.wait(1)
        assert not list(cut_labels(refused))
        inside(refused)


@pytest.mark.parametrize("screen", SCREENS.values(), ids=SCREENS)
def test_a_notice_takes_its_room_from_the_transcript(qtbot, open_on, screen):
    desk = FakeDesk(policy("TOP SECRET//SI//NOFORN"))
    window = open_on(desk, screen)
    window.page.agree.click()
    qtbot.waitUntil(lambda: isinstance(window.page, UnlockPage))
    window.page.field.setText(PASSPHRASE)
    window.page.unlock_button.click()
    qtbot.waitUntil(lambda: window.workspace is not None and window.tasks.running == 0)
    page = window.workspace.page
    composer = page.composer
    qtbot.wait(1)
    assert not list(cut_labels(window))
    assert page.transcript.verticalScrollBar().value() == 0
    composer.box.setPlainText("\n".join("line" for _ in range(12)))
    composer.box.large_paste.emit("x" * 30_000)
    composer.say("A notice with so many words that it does not fit into one line. " * 3)
    qtbot.wait(1)
    inside(window)
    parts = (
        composer.paste_row,
        composer.box,
        composer.why_not,
        composer.meter_words,
        composer.network_button,
    )
    assert not list(overlaps(parts))
    assert not list(cut_labels(composer))
    assert page.transcript.geometry().bottom() < composer.geometry().top()
    assert composer.geometry().bottom() <= page.rect().bottom()
    assert page.transcript.height() >= 0
    for one in (composer.box, composer.send_button, composer.network_button):
        place = QRect(one.mapTo(window, one.rect().topLeft()), one.size())
        assert window.rect().contains(place), one.accessibleName()


def test_dialogs_fit_the_screen(qtbot, qapp, monkeypatch):
    screen = qapp.primaryScreen()
    room = screen.availableGeometry()
    in_force = policy()
    many = tuple(finding("US_SSN", at, at + 9) for at in range(0, 4000, 10))
    for made in (
        dialogs.network_dialog(in_force, PROBES, None),
        dialogs.findings_dialog(in_force, many, None),
        dialogs.shortcuts_dialog(in_force, None),
        dialogs.confirm_close(in_force, None),
        dialogs.message(in_force, "Title", "Many words. " * 300, None),
    ):
        qtbot.addWidget(made)
        made.show()
        qtbot.wait(1)
        assert made.width() <= room.width()
        assert made.height() <= room.height()
        assert not list(cut_labels(made)) or made.height() >= room.height() - 60
        made.close()
    QApplication.processEvents()


def test_the_title_stays_in_sight_in_the_smallest_window(qtbot, enter, desk):
    title = "Which harbour is the best choice for the fleet?"
    desk.store.put(title, [], "UNCLASSIFIED//FOUO")
    window = enter(desk)
    window.resize(720, 480)
    work = window.workspace
    work._open(work.side.conversations[0], None)
    qtbot.waitUntil(lambda: window.tasks.running == 0)
    shown = work.title.fontMetrics().elidedText(title, Qt.TextElideMode.ElideRight, work.title.width())
    assert shown.startswith("Which harbo")
    assert work.mark.width() >= work.mark.sizeHint().width()
    assert work.side.width() <= 240
