"""Nobody at the keyboard for the policy's time: the session locks (AC-11), across suspend too."""

from __future__ import annotations

import time
from collections.abc import Callable

from PySide6.QtCore import QEvent, QObject, QTimer, Signal

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
_LONGEST_TICK_MS = 15_000


def _boot_seconds() -> float:
    """Seconds that go on through suspend, which an ordinary timer's clock does not."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class IdleWatch(QObject):
    """Watches the application's input events; `idle` comes once.

    Args:
        limit_seconds: of the policy.
        clock: seconds that never go back.
    """

    idle = Signal()

    def __init__(self, limit_seconds: float, clock: Callable[[], float] = _boot_seconds) -> None:
        super().__init__()
        self._limit, self._clock = limit_seconds, clock
        self._last = clock()
        self._tick = QTimer(self)
        self._tick.setInterval(max(10, min(_LONGEST_TICK_MS, int(limit_seconds * 1000 / 10))))
        self._tick.timeout.connect(self._look)

    def watch(self, application: QObject) -> None:
        """Start."""
        self._last = self._clock()
        application.installEventFilter(self)
        self._tick.start()

    def end(self) -> None:
        """Stop watching."""
        self._tick.stop()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Notes activity; lets every event pass."""
        del watched
        if event.type() in _ACTIVITY and self._tick.isActive():
            self._look()
            self._last = self._clock()
        return False

    def _look(self) -> None:
        """An event after the time is over must not save the session that a suspend should have locked."""
        if self._tick.isActive() and self._clock() - self._last >= self._limit:
            self.end()
            self.idle.emit()
