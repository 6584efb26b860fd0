"""Every dialog stands between banners, says what happens next, and destroys nothing by one key press."""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QShowEvent, QStandardItem, QStandardItemModel
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QHBoxLayout,
    QHeaderView,
    QLineEdit,
    QPushButton,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from govdesk.domain.frames import Probe
from govdesk.domain.policy import PolicyInForce
from govdesk.domain.redaction import Finding
from govdesk.domain.text import visible
from govdesk.gui import words
from govdesk.gui.banner import Bannered
from govdesk.gui.parts import button, label

SHORTCUTS = (
    ("Enter", "Send the message"),
    ("Shift+Enter", "New line in the message"),
    ("Esc", "Leave the search or the models; else stop the answer on screen"),
    ("Ctrl+N", "New conversation"),
    ("Ctrl+K", "Search titles and messages"),
    ("Ctrl+M", "Go to the message box"),
    ("Ctrl+O", "Models of this workstation"),
    ("F2", "Rename the conversation"),
    ("Delete", "Delete the conversation (asks first)"),
    ("Ctrl+L", "Lock"),
    ("Tab / Shift+Tab", "Next / previous control"),
    ("Enter / Space", "Press the button that has the focus"),
    ("F1", "These shortcuts"),
)
_MAX_ROWS, _MIN_ROWS = 14, 3
_FRAME = QSize(16, 48)
"""What a window manager puts around a dialog, at most."""
_MAX_TITLE_CHARACTERS = 200


class MarkedDialog(QDialog):
    """A dialog with banners; add to `body`, then call `buttons`."""

    def __init__(self, policy: PolicyInForce, title: str, parent: QWidget | None, width: int = 520) -> None:
        super().__init__(parent)
        self.setWindowTitle("GovDesk")
        self.setAccessibleName(title)
        self.setModal(True)
        content = QWidget()
        content.setObjectName("page")
        content.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.body = QVBoxLayout(content)
        self.body.setContentsMargins(22, 18, 22, 18)
        self.body.setSpacing(12)
        self.body.addWidget(label(title, "heading"))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(Bannered(policy, content))
        self._width = width

    def showEvent(self, event: QShowEvent) -> None:
        """As high as the wrapped words need, and no larger than the screen.

        A dialog's own guess is made before its width is known.
        """
        super().showEvent(event)
        layout = self.layout()
        if layout is None:
            return
        room = self.screen().availableGeometry().size() - _FRAME
        width = min(self._width, room.width())
        self.setMinimumWidth(width)
        self.resize(width, min(room.height(), layout.totalHeightForWidth(width)))

    def ask(self, stay: str, go: str, *, name: str) -> None:
        """Two buttons for what cannot be undone: Enter stays (rejected), only the other goes (accepted)."""
        staying = button(stay)
        going = button(go, "danger", name=name)
        staying.clicked.connect(self.reject)
        going.clicked.connect(self.accept)
        self.buttons(going, staying, default=staying)

    def buttons(self, *made: QPushButton, default: QPushButton) -> None:
        """Put the buttons at the bottom right; `default` takes the focus and Enter."""
        row = QHBoxLayout()
        row.addStretch(1)
        for one in made:
            row.addWidget(one)
        self.body.addLayout(row)
        default.setAutoDefault(True)
        default.setDefault(True)
        default.setFocus()


def message(policy: PolicyInForce, title: str, text: str, parent: QWidget | None) -> MarkedDialog:
    """Words and a Close button."""
    dialog = MarkedDialog(policy, title, parent)
    dialog.body.addWidget(label(text))
    close = button("Close")
    close.clicked.connect(dialog.accept)
    dialog.buttons(close, default=close)
    return dialog


def confirm_delete(policy: PolicyInForce, title: str, parent: QWidget | None) -> MarkedDialog:
    """Asks before a conversation is deleted; accepted means delete. Enter keeps."""
    dialog = MarkedDialog(policy, "Delete this conversation?", parent)
    dialog.body.addWidget(label(title, "who"))
    dialog.body.addWidget(label(words.DELETION))
    dialog.ask("Keep", "Delete", name="Delete the conversation for good")
    return dialog


def confirm_close(policy: PolicyInForce, parent: QWidget | None) -> MarkedDialog:
    """Asks before the window closes on an unconfirmed recovery code; accepted means close. Enter stays."""
    dialog = MarkedDialog(policy, "Close without the recovery code?", parent)
    dialog.body.addWidget(
        label(
            "You have not confirmed that you wrote the code down. It is shown only now: once the window is "
            "closed, nothing can show it again, and a forgotten passphrase then means that the "
            "conversations are lost."
        )
    )
    dialog.ask("Go back to the code", "Close", name="Close without the recovery code")
    return dialog


class RenameDialog(MarkedDialog):
    """Asks for a new title."""

    def __init__(self, policy: PolicyInForce, title: str, parent: QWidget | None) -> None:
        super().__init__(policy, "Rename the conversation", parent)
        self.field = QLineEdit(title)
        self.field.setMaxLength(_MAX_TITLE_CHARACTERS)
        self.field.setAccessibleName("Title")
        self.field.selectAll()
        self.body.addWidget(self.field)
        cancel = button("Cancel")
        rename = button("Rename", "primary")
        cancel.clicked.connect(self.reject)
        rename.clicked.connect(self.accept)
        self.field.textChanged.connect(lambda text: rename.setEnabled(bool(text.strip())))
        self.buttons(cancel, rename, default=rename)
        self.field.setFocus()

    @property
    def title(self) -> str:
        """The title typed, without blanks around it."""
        return self.field.text().strip()


def network_dialog(policy: PolicyInForce, probes: tuple[Probe, ...], parent: QWidget | None) -> MarkedDialog:
    """Each channel that the self-test tried, and what it found."""
    dialog = MarkedDialog(policy, words.network(probes)[:1].upper() + words.network(probes)[1:], parent, 620)
    dialog.body.addWidget(
        label(
            "At every start GovDesk's processes try to open each of these channels. The operating system "
            "must refuse all of them; if one opens, GovDesk does not run. The result is in the audit log."
            if probes
            else "The self-test has not reported yet."
        )
    )
    rows = tuple((p.channel, "blocked ✓" if p.blocked else "OPEN ✗", p.found) for p in probes)
    dialog.body.addWidget(table("Channels tried", ("Channel", "Result", "The system's answer"), rows))
    close = button("Close")
    close.clicked.connect(dialog.accept)
    dialog.buttons(close, default=close)
    return dialog


def findings_dialog(
    policy: PolicyInForce, found: tuple[Finding, ...], parent: QWidget | None
) -> MarkedDialog:
    """Why redacted: type, what was done, rule and place of each finding; never its value."""
    dialog = MarkedDialog(policy, "Why redacted", parent, 680)
    dialog.body.addWidget(
        label(
            f"Rules of policy {policy.policy.id} acted on this message. The values found are not kept; "
            "positions count characters of the text as it was given."
        )
    )
    rows = tuple(
        (f.type, words.operator(f.operator), f.rule, f"{f.score:.2f}", f"{f.start} to {f.end}") for f in found
    )
    columns = ("Type", "What was done", "Rule", "Score", "Where")
    dialog.body.addWidget(table("Findings", columns, rows))
    close = button("Close")
    close.clicked.connect(dialog.accept)
    dialog.buttons(close, default=close)
    return dialog


def shortcuts_dialog(policy: PolicyInForce, parent: QWidget | None) -> MarkedDialog:
    """The shortcut sheet."""
    dialog = MarkedDialog(policy, "Keyboard shortcuts", parent)
    dialog.body.addWidget(table("Shortcuts", ("Keys", "What they do"), SHORTCUTS))
    close = button("Close")
    close.clicked.connect(dialog.accept)
    dialog.buttons(close, default=close)
    return dialog


def table(name: str, columns: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> QTableView:
    """A read-only table."""
    model = QStandardItemModel(0, len(columns))
    model.setHorizontalHeaderLabels(list(columns))
    for row in rows:
        items = [QStandardItem(visible(cell)) for cell in row]
        for item in items:
            item.setEditable(False)
        model.appendRow(items)
    view = QTableView()
    model.setParent(view)
    view.setModel(model)
    view.setAccessibleName(name)
    view.setAlternatingRowColors(True)
    view.setShowGrid(False)
    view.verticalHeader().hide()
    view.setTabKeyNavigation(False)
    view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    view.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    view.horizontalHeader().setStretchLastSection(True)
    view.horizontalHeader().setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    view.horizontalHeader().setHighlightSections(False)
    view.setSizeAdjustPolicy(QAbstractItemView.SizeAdjustPolicy.AdjustToContents)
    row_height = view.verticalHeader().defaultSectionSize()
    view.setMinimumHeight(min(len(rows) + 1, _MIN_ROWS) * row_height + 8)
    view.setMaximumHeight(min(len(rows) + 1, _MAX_ROWS) * row_height + 8)
    return view
