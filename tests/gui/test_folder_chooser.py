"""The chooser of a model's folder: by keyboard, between banners, off the GUI thread; it leaves no trace."""

import os
import subprocess
import sys
import threading

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QLabel, QLineEdit, QPushButton

from govdesk.errors import UnreadableError
from govdesk.gui.banner import Banner
from govdesk.gui.folder_chooser import FolderChooser
from govdesk.gui.model_dialogs import ImportDialog
from govdesk.inference import media
from tests.fakes import FakeDesk
from tests.gui.test_access import all_named


@pytest.fixture
def medium(tmp_path):
    folder = tmp_path / "media" / "ana" / "MODELS"
    (folder / "tiny").mkdir(parents=True)
    (folder / "tiny" / "tiny.toml").touch()
    (folder / "zeta\u202eatez").mkdir()
    (folder / ".hidden").mkdir()
    (folder / "notes.txt").touch()
    (folder / os.fsdecode(b"bad\xff")).mkdir()
    return folder


@pytest.fixture
def choose(qtbot, enter, medium):
    """The chooser, opened by the button of the import's dialog."""

    def open_it(start=medium):
        window = enter(FakeDesk())
        dialog = ImportDialog(
            window.workspace._desk.policy, media.look_into, window.tasks, str(start), window
        )
        dialog.show()
        next(b for b in dialog.findChildren(QPushButton) if b.text() == "Choose…").click()
        chooser = dialog.findChild(FolderChooser)
        qtbot.waitUntil(lambda: window.tasks.running == 0)
        return dialog, chooser

    return open_it


def rows(chooser):
    return [chooser.rows.item(row).text() for row in range(chooser.rows.count())]


def settle(qtbot, chooser):
    qtbot.waitUntil(lambda: chooser._tasks.running == 0)


def test_it_shows_folders_and_manifests_with_nothing_hidden(qtbot, choose):
    _, chooser = choose()
    assert rows(chooser) == ["tiny/", "zeta⟨U+202E⟩atez/"]
    assert "There is no manifest here. 1 name is not shown." in chooser.words.text()
    assert len(chooser.findChildren(Banner)) == 2
    all_named(chooser)


def test_by_keyboard_into_a_folder_up_again_and_to_a_manifest(qtbot, choose, medium):
    dialog, chooser = choose()
    qtbot.keyClick(chooser.rows, Qt.Key.Key_Return)
    settle(qtbot, chooser)
    assert chooser.isVisible(), "Enter opened the row, and did not press the button besides"
    assert rows(chooser) == ["tiny.toml   a manifest"]
    qtbot.keyClick(chooser.rows, Qt.Key.Key_Backspace)
    settle(qtbot, chooser)
    assert chooser.folder.text() == str(medium)
    qtbot.keyClick(chooser.rows, Qt.Key.Key_Return)
    settle(qtbot, chooser)
    qtbot.keyClick(chooser.rows, Qt.Key.Key_Return)
    assert dialog.place == str(medium / "tiny" / "tiny.toml")


def test_the_folder_that_is_shown_is_chosen(qtbot, choose, medium):
    dialog, chooser = choose(medium / "tiny" / "not there" / "either")
    assert chooser.folder.text() == str(medium / "tiny"), "the nearest one that is there"
    chooser.choose_button.click()
    assert dialog.place == str(medium / "tiny")


def test_cancelled_it_changes_nothing(qtbot, choose, medium):
    dialog, chooser = choose()
    qtbot.keyClick(chooser, Qt.Key.Key_Escape)
    assert dialog.place == str(medium)


def test_what_cannot_be_read_is_said_and_one_can_go_on(qtbot, choose, medium, monkeypatch):
    _, chooser = choose()
    good = chooser._look

    def bad(folder):
        raise UnreadableError("It cannot be opened: Input/output error.", kept="Nothing was imported.")

    chooser._look = bad
    qtbot.keyClick(chooser.rows, Qt.Key.Key_Return)
    settle(qtbot, chooser)
    assert "Input/output error" in chooser.words.text()
    assert chooser.folder.text() == str(medium)
    chooser._look = good
    chooser.up_button.click()
    settle(qtbot, chooser)
    assert chooser.folder.text() == str(medium.parent)


def test_a_slow_medium_does_not_stop_the_window_nor_outlive_the_dialog(qtbot, choose):
    _, chooser = choose()
    gate, threads = threading.Event(), []

    def slow(folder):
        threads.append(threading.current_thread())
        gate.wait(10)
        return media.look_into(folder)

    chooser._look = slow
    chooser.up_button.click()
    qtbot.waitUntil(lambda: bool(threads))
    assert threads[0] is not threading.current_thread()
    tasks = chooser._tasks
    chooser.reject()
    gate.set()
    qtbot.waitUntil(lambda: tasks.running == 0)


def test_it_offers_no_way_to_change_anything(qtbot, choose):
    _, chooser = choose()
    assert {one.text() for one in chooser.findChildren(QPushButton)} == {"Up", "Cancel", "Choose"}
    assert not chooser.findChildren(QLineEdit)


def test_the_dialog_says_what_the_idle_lock_does_to_an_import(qtbot, choose):
    dialog, chooser = choose()
    chooser.reject()
    said = " ".join(one.text() for one in dialog.findChildren(QLabel))
    assert "After 15 minutes without a key or a click the window locks, and an import stops" in said
    assert "govdesk model import" in said


_LEAVES = """
import sys
from PySide6.QtWidgets import QApplication, QPushButton
from PySide6.QtCore import QEvent
from govdesk.gui.model_dialogs import ImportDialog
from govdesk.gui.tasks import Tasks
from govdesk.inference import media
from tests.fakes import FakeDesk

application, tasks = QApplication(["govdesk"]), Tasks()
dialog = ImportDialog(FakeDesk().policy, media.look_into, tasks, sys.argv[1], None)
dialog.show()
next(b for b in dialog.findChildren(QPushButton) if b.text() == "Choose…").click()
opened = [one for one in application.topLevelWidgets() if one is not dialog and one.isVisible()]
assert opened
while tasks.running:
    application.processEvents()
for one in opened:
    one.accept()
    one.deleteLater()
application.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
application.processEvents()
dialog.deleteLater()
application.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)
"""


def test_no_visited_folder_is_kept_anywhere(tmp_path, medium):
    """Qt's own chooser writes them in clear into ~/.config/QtProject.conf."""
    home = tmp_path / "home"
    home.mkdir()
    clean = {name: value for name, value in os.environ.items() if not name.startswith("XDG_")}
    done = subprocess.run(
        [sys.executable, "-c", _LEAVES, str(medium)],
        env={**clean, "HOME": str(home), "QT_QPA_PLATFORM": "offscreen"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    left = [path for path in home.rglob("*") if path.is_file() and b"MODELS" in path.read_bytes()]
    assert left == []
    assert not list(home.rglob("QtProject*"))
