"""The models page's dialogs: where a model is, and whether one is to go."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QWidget

from govdesk.domain.models import ModelLine, Place
from govdesk.domain.policy import PolicyInForce
from govdesk.gui import model_words
from govdesk.gui.dialogs import MarkedDialog
from govdesk.gui.folder_chooser import FolderChooser
from govdesk.gui.parts import button, label
from govdesk.gui.tasks import Tasks

_MAX_PATH_CHARACTERS = 4096
_MEDIA = "/media"


class ImportDialog(MarkedDialog):
    """Asks for a folder or a manifest.

    Args:
        policy: for the banners, and for the time after which the window locks.
        look: what lies in a folder.
        tasks: where that is looked at.
        place: what was named last.
        parent: the window.
    """

    def __init__(
        self,
        policy: PolicyInForce,
        look: Callable[[str], Place],
        tasks: Tasks,
        place: str,
        parent: QWidget | None,
    ) -> None:
        super().__init__(policy, "Import a model", parent, 620)
        self._policy, self._look, self._tasks = policy, look, tasks
        self.body.addWidget(
            label(
                "Name the folder that holds the model: its manifest (NAME.toml), the signature beside it and "
                "the files. Everything is checked before anything can use it. Which models may answer is set "
                "by your organisation."
            )
        )
        self.body.addWidget(label(model_words.idle_lock(policy.policy.session.idle_lock_seconds), "muted"))
        self.field = QLineEdit(place)
        self.field.setMaxLength(_MAX_PATH_CHARACTERS)
        self.field.setAccessibleName("Folder of the model")
        self.field.setPlaceholderText("/media/…")
        choose = button("Choose…", name="Choose the folder")
        choose.clicked.connect(self._choose)
        row = QHBoxLayout()
        row.addWidget(self.field, 1)
        row.addWidget(choose)
        self.body.addLayout(row)
        cancel = button("Cancel")
        bring = button("Import", "primary")
        cancel.clicked.connect(self.reject)
        bring.clicked.connect(self.accept)
        bring.setEnabled(bool(place.strip()))
        self.field.textChanged.connect(lambda text: bring.setEnabled(bool(text.strip())))
        self.buttons(cancel, bring, default=bring)
        self.field.setFocus()

    @property
    def place(self) -> str:
        """What was typed or chosen."""
        return self.field.text().strip()

    def _choose(self) -> None:
        dialog = FolderChooser(self._policy, self._look, self._tasks, self.place or _MEDIA, self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.accepted.connect(lambda: self.field.setText(dialog.place))
        dialog.open()


def confirm_remove(policy: PolicyInForce, line: ModelLine, parent: QWidget | None) -> MarkedDialog:
    """Asks before a model is removed; accepted means remove. Enter keeps."""
    dialog = MarkedDialog(policy, "Remove this model?", parent)
    dialog.body.addWidget(label(f"{line.title}, version {line.version}", "who"))
    dialog.body.addWidget(
        label(
            "The files of this version, in every format, are removed from this profile; to have it again it "
            "must be imported again. "
            "Conversations that it answered stay."
        )
    )
    dialog.ask("Keep", "Remove", name="Remove the model for good")
    return dialog
