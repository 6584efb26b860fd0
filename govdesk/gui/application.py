"""Runs the window: its shell appears at once, and nothing else does before the walls are closed."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from types import TracebackType

from PySide6.QtCore import QElapsedTimer, QTimer
from PySide6.QtGui import QClipboard
from PySide6.QtWidgets import QApplication

from govdesk.errors import GovDeskError, unexpected
from govdesk.gui import theme
from govdesk.gui.desk import Desk
from govdesk.gui.window import Window

_POLL_MS = 10
_SIGNAL_MS = 100
_LONGEST_WAIT_MS = 3000


def run_window(desk: Desk, on_ready: Callable[[], None]) -> int:
    """Show the window until it closes or locks.

    Args:
        desk: what the window may use.
        on_ready: called once, on the GUI thread, when the connections to the desktop are made and the
            window is on screen, before anything can be clicked. A `GovDeskError` from it is shown, and
            nothing but leaving is offered.

    Returns:
        The exit code of the event loop.
    """
    application = QApplication(sys.argv[:1])  # none of the command line: Qt would take options from it
    application.setApplicationName("GovDesk")
    application.setStyle("Fusion")
    theme.apply(application, theme.in_force())
    keep_selection_private(application.clipboard())
    window = Window(desk)
    application.styleHints().colorSchemeChanged.connect(lambda _: window.restyle())
    last_hook = sys.excepthook
    sys.excepthook = _hook(window)
    window.locked.connect(lambda: application.exit(0))
    window.show()
    waited = QElapsedTimer()
    waited.start()

    def begin() -> None:
        if not window.windowHandle().isExposed() and waited.elapsed() < _LONGEST_WAIT_MS:
            QTimer.singleShot(_POLL_MS, window, begin)
            return
        try:
            on_ready()
        except GovDeskError as error:
            window.refuse(error)
        else:
            window.start()

    QTimer.singleShot(0, window, begin)
    _heed_signals(window)
    try:
        return application.exec()
    finally:
        sys.excepthook = last_hook


def _heed_signals(window: Window) -> None:
    """Ctrl-C where GovDesk was started closes the window as its button does; a termination without asking.

    Both are blocked in every thread, so no handler runs anywhere; what came is fetched between two events.
    """
    numbers = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)

    def look() -> None:
        came = signal.sigtimedwait(numbers, 0)
        if came is None:
            return
        if came.si_signo == signal.SIGTERM:
            window.end()
        else:
            window.close()

    timer = QTimer(window)
    timer.timeout.connect(look)
    timer.start(_SIGNAL_MS)


def keep_selection_private(clipboard: QClipboard) -> None:
    """X11's PRIMARY selection: what the mouse marks is not offered to every other program."""

    def drop() -> None:
        if clipboard.ownsSelection():
            clipboard.clear(QClipboard.Mode.Selection)

    clipboard.selectionChanged.connect(drop)


def _hook(
    window: Window,
) -> Callable[[type[BaseException], BaseException, TracebackType | None], None]:
    """What Python calls for an error that nothing caught: a calm dialog, no traceback, no content."""

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        del kind, trace
        window.say_unexpected(error if isinstance(error, GovDeskError) else unexpected(error))

    return hook
