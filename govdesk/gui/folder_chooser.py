"""Where a model is: folders and manifests to go through between banners; it changes and keeps nothing.

Qt's own chooser would offer to make, rename and delete folders, and would keep the visited ones in clear in
`QtProject.conf`; the desktop's would be another process, which this one may not speak to.
"""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QHBoxLayout, QListWidget, QListWidgetItem, QWidget

from govdesk.domain.models import Place
from govdesk.domain.policy import PolicyInForce
from govdesk.domain.text import visible
from govdesk.errors import GovDeskError
from govdesk.gui.dialogs import MarkedDialog
from govdesk.gui.parts import OneLine, announce, button, label
from govdesk.gui.tasks import InOrder, Tasks
from govdesk.gui.words import number

_LEAST_ROWS = 8
_PATH, _IS_FOLDER = Qt.ItemDataRole.UserRole, Qt.ItemDataRole.UserRole + 1


class _Rows(QListWidget):
    """Enter opens the row, and does not press the dialog's button besides; Backspace goes up."""

    def __init__(self, up: Callable[[], None]) -> None:
        super().__init__()
        self._up = up

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """See above."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if self.currentItem() is not None:
                self.itemActivated.emit(self.currentItem())
        elif event.key() == Qt.Key.Key_Backspace:
            self._up()
        else:
            super().keyPressEvent(event)


class FolderChooser(MarkedDialog):
    """`place` is what was chosen: the folder that is shown, or a manifest in it.

    Args:
        policy: for the banners.
        look: what lies in a folder; slow on a medium, so it is called on a task's thread.
        tasks: where that is.
        start: the first folder to show.
        parent: the dialog that asks.
    """

    def __init__(
        self,
        policy: PolicyInForce,
        look: Callable[[str], Place],
        tasks: Tasks,
        start: str,
        parent: QWidget | None,
    ) -> None:
        super().__init__(policy, "Choose the folder of the model", parent, 620)
        self._look, self._tasks, self._looks = look, tasks, InOrder()
        self._here: Place | None = None
        self._ended = False
        self.place = ""
        self.folder = OneLine("", letters=16)
        self.up_button = button("Up", name="Go to the folder above", tip="Backspace in the list")
        self.rows = _Rows(self.go_up)
        self.rows.setAccessibleName("Folders and manifests")
        self.rows.setMinimumHeight(_LEAST_ROWS * self.rows.fontMetrics().height())
        self.words = label("", "muted")
        row = QHBoxLayout()
        row.addWidget(self.folder, 1)
        row.addWidget(self.up_button)
        self.body.addLayout(row)
        self.body.addWidget(self.rows, 1)
        self.body.addWidget(self.words)
        cancel = button("Cancel")
        self.choose_button = button("Choose", "primary", name="Choose the folder that is shown")
        self.up_button.clicked.connect(self.go_up)
        self.rows.itemActivated.connect(self._activated)
        cancel.clicked.connect(self.reject)
        self.choose_button.clicked.connect(self._choose)
        self.buttons(cancel, self.choose_button, default=self.choose_button)
        self.rows.setFocus()
        self._enable()
        self.go(start)

    def done(self, result: int) -> None:
        """What is looked at still comes too late."""
        self._ended = True
        super().done(result)

    def go(self, folder: str) -> None:
        """Show another folder."""
        self.words.setText("Looking…")
        self._tasks.call(self._looks.next(lambda: self._look(folder)), self._show, self._fail)

    def go_up(self) -> None:
        """Show the folder above."""
        if self._here is not None and self._here.parent:
            self.go(self._here.parent)

    def _show(self, place: Place | None) -> None:
        if self._ended or place is None:  # closed meanwhile, or a newer look came first
            return
        self._here = place
        self.folder.say(place.folder)
        self.rows.clear()
        for kind, found in (("manifest", place.manifests), ("folder", place.folders)):
            for name in found:
                item = QListWidgetItem(f"{visible(name)}{'/' if kind == 'folder' else '   a manifest'}")
                item.setData(_PATH, f"{place.folder.rstrip('/')}/{name}")
                item.setData(_IS_FOLDER, kind == "folder")
                self.rows.addItem(item)
        if self.rows.count():
            self.rows.setCurrentRow(0)
        self.words.setText(_said(place))
        self._enable()
        announce(self, f"{place.folder}. {_said(place)}")

    def _fail(self, error: GovDeskError) -> None:
        if not self._ended:
            self.words.setText(visible(error.explain()))
            announce(self, error.explain())

    def _enable(self) -> None:
        self.up_button.setEnabled(self._here is not None and bool(self._here.parent))
        self.choose_button.setEnabled(self._here is not None)

    def _activated(self, item: QListWidgetItem) -> None:
        path = str(item.data(_PATH))
        if item.data(_IS_FOLDER):
            self.go(path)
        else:
            self.place = path
            self.accept()

    def _choose(self) -> None:
        if self._here is not None:
            self.place = self._here.folder
            self.accept()


def _said(place: Place) -> str:
    count = len(place.manifests)
    said = f"{count} manifest{'' if count == 1 else 's'} here." if count else "There is no manifest here."
    if not place.left_out:
        return said
    return f"{said} {number(place.left_out)} name{' is' if place.left_out == 1 else 's are'} not shown."
