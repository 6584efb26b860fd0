"""Nobody at the keyboard for the policy's time: the session locks (AC-11), across suspend too.

The session keeps the time; this tells it of every input event, and looks now and then whether it is over.
"""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QTimer, Signal

from govdesk.gui.desk import Desk

_ACTIVITY = frozenset(
    {
        QEvent.Type.KeyPress,
        QEvent.Type.MouseButtonPress,
        QEvent.Type.MouseMove,
        QEvent.Type.Wheel,
        QEvent.Type.TouchBegin,
        QEvent.Type.TouchUpdate,
        QEvent.Type.TabletMove,
    }
)
_LOOKS_PER_LIMIT = 10
_LONGEST_TICK_MS = 15_000


class IdleWatch(QObject):
    """Watches the application's input events while the session is unlocked; `idle` comes once."""

    idle = Signal()

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        limit_ms = desk.policy.policy.session.idle_lock_seconds * 1000
        self._tick = QTimer(self)
        self._tick.setInterval(min(_LONGEST_TICK_MS, limit_ms // _LOOKS_PER_LIMIT))
        self._tick.timeout.connect(self.look)

    def watch(self, application: QObject) -> None:
        """Start: the session was just unlocked."""
        application.installEventFilter(self)
        self._tick.start()

    def end(self) -> None:
        """Stop watching."""
        self._tick.stop()

    def look(self) -> None:
        """Is it over?"""
        if self._tick.isActive() and self._desk.idle_over:
            self._say()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Notes activity; lets every event pass.

        An event after the time is over does not save the session that a suspend should have locked.
        """
        del watched
        if event.type() in _ACTIVITY and self._tick.isActive() and not self._desk.touch():
            self._say()
        return False

    def _say(self) -> None:
        self.end()
        self.idle.emit()
