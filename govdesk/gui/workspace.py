"""The unlocked window: conversations at the side, one of them open, model and lock above."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QKeySequence, QResizeEvent, QShortcut
from PySide6.QtWidgets import QDialog, QFrame, QHBoxLayout, QSplitter, QVBoxLayout, QWidget

from govdesk.domain.ids import ConversationId, TurnId
from govdesk.domain.redaction import Finding
from govdesk.domain.text import visible
from govdesk.domain.turn import Conversation, ModelInfo
from govdesk.errors import GovDeskError
from govdesk.gui import dialogs, words
from govdesk.gui.ahead_reader import AheadReader
from govdesk.gui.chat_page import ChatPage
from govdesk.gui.desk import Desk, Unlocked
from govdesk.gui.draft_keeper import DraftKeeper
from govdesk.gui.models_page import ModelsPage
from govdesk.gui.parts import OneLine, button, label
from govdesk.gui.side import Side
from govdesk.gui.tasks import Tasks

_SIDE_WIDTH = 270
_SIDE_SHARE = 3
"""The side takes at most this part of the window: in a small one there must be room to read."""
_TITLE_LETTERS = 16
"""The model's name gives way first, then the side: the title says where one is."""


class Workspace(QWidget):
    """`lock` asks the window to lock."""

    lock = Signal()

    def __init__(self, desk: Desk, unlocked: Unlocked, tasks: Tasks) -> None:
        super().__init__()
        self._desk, self._tasks = desk, tasks
        self._conversation: Conversation | None = None
        self._model: ModelInfo | None = None
        self._place = ""
        """What it runs on, as it was said last."""
        self.page = ChatPage(unlocked.chat, unlocked.history, tasks)
        self.drafts = DraftKeeper(unlocked.drafts, self.page, tasks)
        self.ahead = AheadReader(unlocked.ahead, self.page, tasks)
        self.drafts.place.connect(self._go_back)
        self.models = ModelsPage(desk.models, desk.policy, tasks)
        self.models.hide()
        self.side = Side(unlocked.history, desk.policy, tasks, self.page.once_free)
        self.title = OneLine("New conversation", "heading", letters=_TITLE_LETTERS)
        left = Qt.AlignmentFlag.AlignAbsolute | Qt.AlignmentFlag.AlignLeft
        self.title.setAlignment(left | Qt.AlignmentFlag.AlignVCenter)
        self.mark = label("", "mark", wrap=False)
        self.model_words = OneLine("loading the model…", "muted")
        self.model_again = button("Try again", "quiet", name="Try to load the model again")
        self.model_again.hide()
        self.models_button = button("Models", "quiet", name="Models of this workstation", tip="Ctrl+O")
        self.help_button = button("?", "quiet", name="Keyboard shortcuts", tip="F1")
        self.lock_button = button("Lock", name="Lock GovDesk", tip="Ctrl+L")
        self._arrange()
        self.side.chosen.connect(self._open)
        self.side.new.connect(self.new)
        self.side.listed.connect(self._listed)
        self.side.removed.connect(self._removed)
        self.side.failed.connect(self.page.say_problem)
        self.page.changed.connect(self._changed)
        self.page.why.connect(self._why)
        self.page.answered.connect(self._show_model)
        self.page.composer.network.connect(self._network)
        self.models_button.clicked.connect(self.show_models)
        self.models.left.connect(self.show_chat)
        self.models.changed.connect(self._models_changed)
        self.help_button.clicked.connect(self._help)
        self.lock_button.clicked.connect(self.lock)
        self.model_again.clicked.connect(self._load_model)
        for keys, act in (
            ("Ctrl+N", self.new),
            ("Ctrl+K", self.side.go_to_search),
            ("Ctrl+M", self._to_message),
            ("Ctrl+O", self.show_models),
            ("Ctrl+L", self.lock.emit),
            ("F1", self._help),
            ("Esc", self._escape),
        ):
            QShortcut(QKeySequence(keys), self).activated.connect(act)
        self._show_header(None)
        self.side.refresh()
        self.drafts.restore()
        self._load_model()

    def resizeEvent(self, event: QResizeEvent) -> None:
        """The side gives way."""
        super().resizeEvent(event)
        self.side.setMaximumWidth(max(self.side.minimumSizeHint().width(), self.width() // _SIDE_SHARE))

    def leave(self) -> None:
        """The window leaves the session: keep the draft, and stop the running turn."""
        self.ahead.stop()
        self.drafts.save()
        self.models.stop()
        if self.page.running:
            self.page.stop()

    def restyle(self) -> None:
        """The theme changed."""
        self.page.restyle()

    def take_focus(self) -> None:
        """Put the focus on the message box."""
        self.page.composer.box.setFocus()

    def show_models(self) -> None:
        """The models in place of the conversation; what runs there runs on."""
        self._turn_to(models=True)
        self._show_title()
        self.models.refresh()
        self.models.take_focus()

    @property
    def showing_models(self) -> bool:
        """The models stand where the conversation does else."""
        return self.models.isVisibleTo(self)

    def _turn_to(self, *, models: bool) -> None:
        self.page.setVisible(not models)
        self.models.setVisible(models)

    def show_chat(self) -> None:
        """The conversation again."""
        self._turn_to(models=False)
        self._show_title()
        self.take_focus()

    def new(self) -> None:
        """Start a new conversation."""
        self._turn_to(models=False)
        self._show_header(None)
        self.side.choose(None)
        self.page.new()
        self.drafts.changed()

    def _arrange(self) -> None:
        header = QFrame()
        header.setObjectName("header")
        row = QHBoxLayout(header)
        row.setContentsMargins(14, 7, 10, 7)
        row.addWidget(self.title, 1)
        row.addWidget(self.mark)
        row.addWidget(self.model_words)
        row.addWidget(self.model_again)
        row.addWidget(self.models_button)
        row.addWidget(self.help_button)
        row.addWidget(self.lock_button)
        right = QWidget()
        column = QVBoxLayout(right)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(header)
        column.addWidget(self.page, 1)
        column.addWidget(self.models, 1)
        splitter = QSplitter(Qt.Orientation.Horizontal)
        splitter.setChildrenCollapsible(False)
        splitter.setHandleWidth(1)
        splitter.addWidget(self.side)
        splitter.addWidget(right)
        splitter.setStretchFactor(1, 1)
        splitter.setSizes([_SIDE_WIDTH, 1000])
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(splitter)

    def _load_model(self) -> None:
        self.model_again.hide()
        self.model_words.say("loading the model…")
        self._tasks.call(self._model_and_place, self._model_loaded, self._model_failed)

    def _model_and_place(self) -> tuple[ModelInfo, str]:
        """The model, loaded, and what it runs on; slow."""
        return self._desk.model(), self._desk.runs_on

    def _show_model(self, model: ModelInfo) -> None:
        """A worker that was started again may have another one."""
        self.model_again.hide()
        self._model = model
        self._say_place(self._place)

    def _model_loaded(self, loaded: tuple[ModelInfo, str]) -> None:
        model, self._place = loaded
        self._show_model(model)
        self.page.set_context(model.context_tokens)
        self._say_network()

    def _say_place(self, runs_on: str) -> None:
        """Which model answers and what it runs on; why not elsewhere, and its digest, behind it."""
        self._place, model = runs_on, self._model
        if model is None:
            return
        where = words.place(runs_on)
        self.model_words.say(f"{model.name} · {where}" if where else model.name)
        said = f"{model.name} runs on {runs_on}." if where else model.name  # not asked yet
        self.model_words.setToolTip(f"{said}\nSHA-384 {model.digest}")
        self.model_words.setAccessibleDescription(said)

    def _model_failed(self, error: GovDeskError) -> None:
        self._model = None
        self.model_words.say("no model")
        self.model_again.show()
        self.page.set_context(0)
        self.page.say_problem(error)
        self._say_network()

    def _say_network(self) -> None:
        self.page.composer.set_network(words.network(self._desk.probes))

    def _open(self, conversation: Conversation, turn: TurnId | None) -> None:
        self._turn_to(models=False)
        self._show_header(conversation)
        self.page.open(conversation.id, turn)
        self.drafts.changed()

    def _go_back(self, conversation: str) -> None:
        """Open the conversation that was open when the window last left a session."""
        self.page.open(ConversationId(conversation))
        self._listed()

    def _show_header(self, conversation: Conversation | None) -> None:
        self._conversation = conversation
        self._show_title()
        self._say_network()

    def _show_title(self) -> None:
        here = self._conversation
        models = self.showing_models
        self.title.say("Models" if models else "New conversation" if here is None else here.title)
        self.mark.setText("" if models or here is None else visible(here.marking))
        self.mark.setVisible(bool(self.mark.text()))

    def _to_message(self) -> None:
        if self.showing_models:
            self.show_chat()
        self.page.composer.box.setFocus()

    def _models_changed(self) -> None:
        """Another model may answer: one that waits in vain tries again."""
        if self.model_again.isVisible():
            self._load_model()

    def _escape(self) -> None:
        """Leave the search, or the models; else stop the answer on screen, never one that is out of sight."""
        if self.showing_models:
            if not self.side.clear_search():
                self.show_chat()
        elif not self.side.clear_search() and self.page.running_here:
            self.page.stop()

    def _changed(self, conversation: str) -> None:
        del conversation
        self.side.set_running(self.page.running_in)
        self.side.refresh()
        if not self.page.running:  # another worker may have been started, or other threads found better
            self._tasks.call(lambda: self._desk.runs_on, self._say_place, self.page.say_problem)

    def _listed(self) -> None:
        """The list was read again: title and choice follow what is shown."""
        shown = self.page.shown
        here = next((c for c in self.side.conversations if c.id == shown), None)
        if here is not None:
            self._show_header(here)
            self.side.choose(here)

    def _removed(self, conversation: str) -> None:
        if self.page.shown == conversation:
            self.new()

    def _open_dialog(self, dialog: QDialog) -> None:
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def _why(self, found: tuple[Finding, ...]) -> None:
        self._open_dialog(dialogs.findings_dialog(self._desk.policy, found, self.window()))

    def _network(self) -> None:
        self._say_network()
        self._open_dialog(dialogs.network_dialog(self._desk.policy, self._desk.probes, self.window()))

    def _help(self) -> None:
        self._open_dialog(dialogs.shortcuts_dialog(self._desk.policy, self.window()))
