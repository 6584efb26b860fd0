"""The conversations at the side: choose, search, rename, delete; one key press never destroys anything."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QItemSelectionModel, QModelIndex, Qt, QTimer, Signal
from PySide6.QtGui import QKeySequence, QShortcut
from PySide6.QtWidgets import QHBoxLayout, QLineEdit, QListView, QVBoxLayout, QWidget

from govdesk.chat.ports import History
from govdesk.domain.ids import ConversationId
from govdesk.domain.policy import PolicyInForce
from govdesk.domain.turn import Conversation, SearchHit
from govdesk.errors import GovDeskError
from govdesk.gui import dialogs
from govdesk.gui.conversation_list import ROW_ROLE, Row, RowDelegate, RowModel, conversation_of, turn_of
from govdesk.gui.parts import button, label
from govdesk.gui.tasks import Tasks

_TYPING_PAUSE_MS = 150


class Side(QWidget):
    """`chosen` carries a conversation and perhaps a turn in it; `removed` the id of a deleted one.

    `listed` comes when the list was read again.

    Args:
        history: what is listed, searched, renamed and deleted.
        policy: for the banners of dialogs.
        tasks: where the history is read and written.
        once_free: calls back as soon as no turn runs in a conversation any more.
    """

    chosen = Signal(object, object)
    new = Signal()
    removed = Signal(str)
    listed = Signal()
    failed = Signal(object)

    def __init__(
        self,
        history: History,
        policy: PolicyInForce,
        tasks: Tasks,
        once_free: Callable[[ConversationId, Callable[[], None]], None],
    ) -> None:
        super().__init__()
        self._once_free = once_free
        self.setObjectName("side")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self._history, self._policy, self._tasks = history, policy, tasks
        self._conversations: tuple[Conversation, ...] = ()
        self._current: Conversation | None = None
        self._asked = 0
        self.model = RowModel()
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search  Ctrl+K")
        self.search.setAccessibleName("Search titles and messages")
        self.search.setClearButtonEnabled(True)
        self.list = QListView()
        self.list.setModel(self.model)
        self.list.setItemDelegate(RowDelegate(self.list))
        self.list.setUniformItemSizes(True)
        self.list.setMouseTracking(True)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setAccessibleName("Conversations")
        self.list.clicked.connect(self._choose)
        self.list.activated.connect(self._choose)
        self.words = label("", "muted")
        self.new_button = button("New", name="New conversation", tip="Ctrl+N")
        self.rename_button = button("Rename", "quiet", name="Rename the conversation", tip="F2")
        self.delete_button = button(
            "Delete", "quiet", name="Delete the conversation", tip="Delete; asks first"
        )
        self.new_button.clicked.connect(self.new)
        self.rename_button.clicked.connect(self.rename)
        self.delete_button.clicked.connect(self.delete)
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(_TYPING_PAUSE_MS)
        self._pause.timeout.connect(self._search)
        self.search.textChanged.connect(lambda _: self._pause.start())
        self.search.returnPressed.connect(self._to_results)
        for keys, act in (("F2", self.rename), ("Delete", self.delete)):
            shortcut = QShortcut(QKeySequence(keys), self.list)
            shortcut.setContext(Qt.ShortcutContext.WidgetShortcut)
            shortcut.activated.connect(act)
        head = QHBoxLayout()
        head.addWidget(label("Conversations", "heading", wrap=False))
        head.addStretch(1)
        head.addWidget(self.new_button)
        foot = QHBoxLayout()
        foot.addWidget(self.rename_button)
        foot.addWidget(self.delete_button)
        foot.addStretch(1)
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 10, 6, 8)
        column.addLayout(head)
        column.addWidget(self.search)
        column.addWidget(self.words)
        column.addWidget(self.list, 1)
        column.addLayout(foot)
        self._say()

    def refresh(self) -> None:
        """Read the list again, off the GUI thread."""
        self._tasks.call(self._history.conversations, self._show_all, self.failed.emit)

    def _again(self) -> None:
        """Titles or messages changed: read the list, and search once more if that is what is shown."""
        self.refresh()
        if self._query:
            self._search()

    @property
    def _query(self) -> str:
        return self.search.text().strip()

    def clear_search(self) -> bool:
        """Leave a search that has the focus; False when there is none."""
        if not (self.search.hasFocus() and self.search.text()):
            return False
        self.search.clear()
        return True

    def set_running(self, conversation: ConversationId | None) -> None:
        """Mark the conversation that is being answered."""
        self.model.set_running(conversation)

    def choose(self, conversation: Conversation | None) -> None:
        """Show this one as the current one."""
        self._current = conversation
        self._mark_current()

    def go_to_search(self) -> None:
        """Go to the search box."""
        self.search.setFocus()
        self.search.selectAll()

    @property
    def conversations(self) -> tuple[Conversation, ...]:
        """As last read."""
        return self._conversations

    def _show_all(self, conversations: tuple[Conversation, ...]) -> None:
        self._conversations = conversations
        if not self._query:
            self.model.show_rows(conversations)
            self._mark_current()
        self._say()
        self.listed.emit()

    def _search(self) -> None:
        query = self._query
        self._asked += 1
        asked = self._asked
        if not query:
            self._show_all(self._conversations)
            return

        def show(hits: tuple[SearchHit, ...]) -> None:
            if asked == self._asked:
                self.model.show_rows(hits)
                self._say()

        self._tasks.call(lambda: self._history.search(query), show, self.failed.emit)

    def _say(self) -> None:
        searching = bool(self._query)
        empty = self.model.rowCount() == 0
        nothing = (
            "Nothing found." if searching else "None yet. Ask something, and it is kept here, encrypted."
        )
        self.words.setText(nothing)
        self.words.setVisible(empty)
        self.list.setAccessibleName("Search results" if searching else "Conversations")
        self.rename_button.setEnabled(self._row() is not None)
        self.delete_button.setEnabled(self._row() is not None)

    def _mark_current(self) -> None:
        at = self.model.row_of(self._current)
        selection = self.list.selectionModel()
        if at < 0:
            selection.clear()
        else:
            flag = QItemSelectionModel.SelectionFlag.ClearAndSelect
            selection.setCurrentIndex(self.model.index(at, 0), flag)
        self._say()

    def _row(self) -> Row | None:
        index = self.list.currentIndex()
        row: Row | None = index.data(ROW_ROLE) if index.isValid() else None
        return row

    def _to_results(self) -> None:
        if self.model.rowCount():
            self.list.setFocus()
            self.list.setCurrentIndex(self.model.index(0, 0))

    def _choose(self, index: QModelIndex) -> None:
        row: Row | None = index.data(ROW_ROLE)
        if row is not None:
            self._current = conversation_of(row)
            self._say()
            self.chosen.emit(conversation_of(row), turn_of(row))

    def rename(self) -> None:
        """Ask for a new title of the current conversation."""
        row = self._row()
        if row is None:
            return
        conversation = conversation_of(row)
        dialog = dialogs.RenameDialog(self._policy, conversation.title, self.window())
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)

        def renamed(_: None) -> None:
            self._again()

        def rename() -> None:
            title = dialog.title
            if title:
                self._tasks.call(
                    lambda: self._history.rename(conversation.id, title), renamed, self.failed.emit
                )

        dialog.accepted.connect(rename)
        dialog.open()

    def delete(self) -> None:
        """Ask, then delete the current conversation."""
        row = self._row()
        if row is None:
            return
        conversation = conversation_of(row)
        dialog = dialogs.confirm_delete(self._policy, conversation.title, self.window())
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)

        def deleted(_: None) -> None:
            self.removed.emit(conversation.id)
            self._again()

        def delete() -> None:
            self._tasks.call(lambda: self._history.delete(conversation.id), deleted, self._fail)

        def free_then_delete() -> None:
            self._once_free(conversation.id, delete)

        dialog.accepted.connect(free_then_delete)
        dialog.open()

    def _fail(self, error: GovDeskError) -> None:
        self.failed.emit(error)
        self.refresh()
