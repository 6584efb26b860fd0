"""The models of this workstation in the window: their state, and import, check and removal without a wait.

What a file says of itself is untrusted and shown as plain text, hidden characters written out. An import goes
on while one chats; leaving the session stops it, and the next import goes on from there.
"""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import (
    QCheckBox,
    QHBoxLayout,
    QListWidget,
    QPlainTextEdit,
    QProgressBar,
    QVBoxLayout,
    QWidget,
)

from govdesk.domain.models import (
    Checked,
    ContextMemory,
    Imported,
    ImportProgress,
    ModelLine,
    ModelList,
    Models,
    ModelState,
    Removed,
)
from govdesk.domain.policy import PolicyInForce
from govdesk.domain.text import visible
from govdesk.errors import GovDeskError
from govdesk.gui import model_words
from govdesk.gui.model_dialogs import ImportDialog, confirm_remove
from govdesk.gui.parts import announce, button, label
from govdesk.gui.tasks import InOrder, StopFlag, Tasks

_LIST_ROWS = 4
STOPPED = "model.import-stopped"


class ModelsPage(QWidget):
    """`left` asks for the conversation again; `changed` says that another model may answer now.

    Args:
        models: looked at, imported, removed.
        policy: for the banners of dialogs.
        tasks: where all of it runs.
    """

    left = Signal()
    changed = Signal()
    _told = Signal(object)

    def __init__(self, models: Models, policy: PolicyInForce, tasks: Tasks) -> None:
        super().__init__()
        self._models, self._policy, self._tasks = models, policy, tasks
        self._lines: tuple[ModelLine, ...] = ()
        self._looks = InOrder()
        self._stop = StopFlag()
        self._place = ""
        self._focus_list = False
        """The page was just opened: the focus goes to the list once there is one."""
        self.working = False
        """An import or a check runs."""
        self.setObjectName("page")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.import_button = button("Import…", "primary", name="Import a model from a folder or medium")
        self.back_button = button("Back", name="Back to the conversation", tip="Esc")
        self.words = label("", "muted")
        self.list = QListWidget()
        self.list.setObjectName("models")
        self.list.setAccessibleName("Models")
        self.list.setWordWrap(True)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setTabKeyNavigation(False)
        self.details = QPlainTextEdit()
        self.details.setReadOnly(True)
        self.details.setTabChangesFocus(True)
        self.details.setAccessibleName("Details of the model")
        self.details.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.verify_button = button("Check the files", name="Read the model's files and compare")
        self.remove_button = button("Remove…", "danger", name="Remove the model", tip="Delete; asks first")
        self.halve_box = QCheckBox("Halve the memory of long conversations (answers may differ slightly)")
        self.halve_box.setAccessibleName(self.halve_box.text())
        self.halve_box.hide()
        self.progress_words = label("", "muted")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName("Progress of the import")
        self.stop_button = button("Stop", name="Stop; what was copied is kept")
        self.again_button = button("Go on", name="Go on with the import where it was stopped")
        self.problem = label("", "error")
        self._arrange()
        self.import_button.clicked.connect(self.ask_for_place)
        self.back_button.clicked.connect(self.left)
        self.list.currentRowChanged.connect(self._show_details)
        self.verify_button.clicked.connect(self._verify)
        self.remove_button.clicked.connect(self._remove)
        self.halve_box.clicked.connect(self._halve)
        self.stop_button.clicked.connect(self.stop)
        self.again_button.clicked.connect(lambda: self.bring(self._place))
        self._told.connect(self._show_progress, Qt.ConnectionType.QueuedConnection)
        shortcut = QShortcut(QKeySequence("Delete"), self.list)
        shortcut.setContext(Qt.ShortcutContext.WidgetShortcut)
        shortcut.activated.connect(self._remove)
        self._show_working(False)
        self.again_button.hide()
        self.problem.hide()

    def take_focus(self) -> None:
        """Put the focus where one begins."""
        (self.list if self._lines else self.import_button).setFocus()
        self._focus_list = True

    def refresh(self) -> None:
        """Look at the folders again, off the GUI thread."""
        self.words.setText("Looking at the models…")
        self._tasks.call(self._looks.next(self._models.models), self._show, self._fail)
        self._tasks.call(self._models.context_memory, self._show_memory, self._fail)

    def stop(self) -> None:
        """Stop what runs; what was copied is kept."""
        self._stop.raise_it()

    def ask_for_place(self) -> None:
        """Ask where the model is, then import it."""
        if self.working:
            return
        dialog = ImportDialog(self._policy, self._models.look_into, self._tasks, self._place, self.window())
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.accepted.connect(lambda: self.bring(dialog.place))
        dialog.open()

    def bring(self, place: str) -> None:
        """Import what lies there."""
        if self.working or not place:
            return
        self._place = place
        self._begin("Progress of the import", "Looking at the medium…")
        stopped = self._stop.raised
        self._tasks.call(
            lambda: self._models.import_model(place, self._told.emit, stopped), self._imported, self._stopped
        )

    def _begin(self, name: str, words: str) -> None:
        self._stop = StopFlag()
        self.problem.hide()
        self.again_button.hide()
        self.bar.setAccessibleName(name)
        self.bar.setRange(0, 0)
        self.progress_words.setText(words)
        self._show_working(True)
        QTimer.singleShot(0, self.stop_button, self._focus_on_stop)  # once the dialog is done with itself

    def _focus_on_stop(self) -> None:
        if self.working and self.isVisible():
            self.stop_button.setFocus()

    def _arrange(self) -> None:
        head = QHBoxLayout()
        head.addWidget(self.words, 1)
        head.addWidget(self.import_button)
        head.addWidget(self.back_button)
        work = QHBoxLayout()
        work.addWidget(self.bar, 1)
        work.addWidget(self.stop_button)
        work.addWidget(self.again_button, 0, Qt.AlignmentFlag.AlignLeft)
        foot = QHBoxLayout()
        foot.addStretch(1)
        foot.addWidget(self.verify_button)
        foot.addWidget(self.remove_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(16, 12, 16, 12)
        column.setSpacing(8)
        column.addLayout(head)
        column.addWidget(self.progress_words)
        column.addLayout(work)
        column.addWidget(self.problem)
        column.addWidget(self.list, 2)
        column.addWidget(self.details, 3)
        column.addWidget(self.halve_box)  # above: beside the buttons its words are cut in large print
        column.addLayout(foot)
        self.list.setMinimumHeight(_LIST_ROWS * self.fontMetrics().height())

    def _show(self, found: ModelList | None) -> None:
        if found is None:  # a newer look came first
            return
        chosen = self._selected()
        key = (chosen.name, chosen.version, chosen.digest, chosen.imported) if chosen else None
        self._lines = found.models
        self.list.blockSignals(True)
        self.list.clear()
        for line in found.models:
            self.list.addItem(visible(model_words.row(line)))
        keys = [(line.name, line.version, line.digest, line.imported) for line in found.models]
        at = keys.index(key) if key in keys else next((i for i, x in enumerate(found.models) if x.chosen), 0)
        self.list.blockSignals(False)
        self.list.setCurrentRow(at if found.models else -1)
        self.words.setText(visible(model_words.summary(found)))
        self._show_details()
        if self._focus_list and found.models and self.import_button.hasFocus():
            self.list.setFocus()
        self._focus_list = False

    def _selected(self) -> ModelLine | None:
        at = self.list.currentRow()
        return self._lines[at] if 0 <= at < len(self._lines) else None

    def _show_details(self) -> None:
        line = self._selected()
        self._allow()
        if line is None:
            self.details.setPlainText("")
            return
        self.details.setPlainText(visible(model_words.details(line)))

        def read() -> str:  # the words, too: what a file holds is long work at worst
            found = self._models.model_details(line.which, line.quantization)
            return visible(model_words.details(line, found))

        def show(text: str) -> None:
            if self._selected() == line:
                self.details.setPlainText(text)

        def fail(error: GovDeskError) -> None:
            if self._selected() == line:
                self.details.appendPlainText(visible("\n" + error.explain()))

        self._tasks.call(read, show, fail)

    def _allow(self) -> None:
        line = self._selected()
        self.import_button.setEnabled(not self.working)
        self.verify_button.setEnabled(
            line is not None and not self.working and line.state is not ModelState.MISSING
        )
        self.remove_button.setEnabled(line is not None and not self.working and line.imported)
        self.remove_button.setToolTip(
            "" if line is None or line.imported else "It came with GovDesk and goes with it."
        )

    def _show_working(self, working: bool) -> None:
        self.working = working
        for part in (self.bar, self.stop_button, self.progress_words):
            part.setVisible(working)
        self._allow()

    def _show_progress(self, progress: ImportProgress) -> None:
        if not self.working:
            return  # its end was told before
        self.bar.setRange(0, 100)
        self.bar.setValue(progress.percent)
        self.progress_words.setText(visible(model_words.progress(progress)))

    def _imported(self, done: Imported) -> None:
        self._end(model_words.imported(done))
        self.changed.emit()

    def _end(self, words: str) -> None:
        """It went well: say so where the progress was."""
        focus = self.stop_button.hasFocus()
        self._show_working(False)
        self.progress_words.setText(visible(words))
        self.progress_words.show()
        announce(self, words)
        if focus:
            self.list.setFocus()
        self.refresh()

    def _stopped(self, error: GovDeskError) -> None:
        focus = self.stop_button.hasFocus()
        self._show_working(False)
        self._say_problem(error)
        goes_on = error.code in model_words.GOES_ON
        self.again_button.setVisible(goes_on)
        if focus:
            (self.again_button if goes_on else self.import_button).setFocus()
        self.refresh()

    def _verify(self) -> None:
        line = self._selected()
        if line is None or self.working:
            return
        self._begin("Progress of the check", "Reading the files…")
        stopped = self._stop.raised

        def show(found: Checked) -> None:
            self._end(model_words.verified(found))

        def fail(error: GovDeskError) -> None:
            self._show_working(False)
            if error.code != STOPPED:
                self._say_problem(error)

        self._tasks.call(lambda: self._models.verify_model(line.which, self._told.emit, stopped), show, fail)

    def _remove(self) -> None:
        line = self._selected()
        if line is None or self.working or not line.imported:
            return

        def removed(done: Removed) -> None:
            self._end(f"{line.title}, version {done.version}, was removed. {done.stays}")
            self.changed.emit()

        dialog = confirm_remove(self._policy, line, self.window())
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.accepted.connect(
            lambda: self._tasks.call(lambda: self._models.remove_model(line.which), removed, self._fail)
        )
        dialog.open()

    def _halve(self, halve: bool) -> None:
        def fail(error: GovDeskError) -> None:
            self.halve_box.setChecked(not halve)
            self._say_problem(error)

        self._tasks.call(lambda: self._models.halve_context(halve=halve), self._show_memory, fail)

    def _show_memory(self, now: ContextMemory) -> None:
        """Offered where the model that answers can do it."""
        self.halve_box.setVisible(now.possible)
        self.halve_box.setChecked(now.halved)
        self.halve_box.setToolTip(visible(f"{now.note} In force when the model is loaded the next time."))

    def _fail(self, error: GovDeskError) -> None:
        self.words.setText("")
        self._say_problem(error)

    def _say_problem(self, error: GovDeskError) -> None:
        self.problem.setText(visible(error.explain()))
        self.problem.show()
        announce(self, error.explain())
