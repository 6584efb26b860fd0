"""The window's start in a process of its own: shell, walls, consent, and errors that nobody foresaw."""

import sys

RUN = """
import os, signal, sys
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication
from govdesk.domain.turn import Role
from govdesk.errors import WallError
from govdesk.gui import application
from tests.fakes import FakeDesk

seen = []
def on_ready():
    window = next(w for w in QApplication.topLevelWidgets() if w.isVisible() and w.windowTitle() == "GovDesk")
    seen.append((type(window.page).__name__, window.isVisible()))
    QTimer.singleShot(50, lambda: after(window))
    if "refuse" in sys.argv:
        raise WallError("A channel is open.", todo="Tell your administrator.")
def after(window):
    from PySide6.QtWidgets import QLabel, QPushButton
    words = [l.text() for l in window.page.findChildren(QLabel)]
    number = next((getattr(signal, name) for name in sys.argv if name.startswith("SIG")), None)
    if number is not None:
        from govdesk.gui.setup import SetupPage
        if "setup" in sys.argv:
            setup = SetupPage(window._desk, window.tasks)
            SetupPage.code_unconfirmed = property(lambda _: True)
            window._go(setup)
        QApplication.instance().lastWindowClosed.connect(lambda: print("closed in order", window._locked))
        QTimer.singleShot(20_000, lambda: os._exit(9))
        os.kill(os.getpid(), number)
        return
    if "crash" in sys.argv:
        QTimer.singleShot(50, lambda: finish(window, words))
        raise ValueError("content of a prompt")
    finish(window, words)
def finish(window, words):
    from govdesk.gui.dialogs import MarkedDialog
    from PySide6.QtWidgets import QLabel
    dialogs = [l.text() for d in window.findChildren(MarkedDialog) for l in d.findChildren(QLabel)]
    print(seen, type(window.page).__name__, words, dialogs, QApplication.arguments())
    window.close()
sys.exit(application.run_window(FakeDesk(), on_ready))
"""


CAPTURED = {"capture_output": True, "text": True, "timeout": 60}


def run(tmp_path, *arguments):
    import os
    import subprocess
    from pathlib import Path

    script = tmp_path / "run.py"
    script.write_text(RUN)
    root = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH", ""))))
    environment = dict(os.environ, PYTHONPATH=paths, QT_QPA_PLATFORM="offscreen")
    result = subprocess.run(
        [sys.executable, str(script), *arguments], env=environment, check=False, **CAPTURED
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_on_ready_comes_when_the_window_is_there_and_before_consent(tmp_path):
    out = run(tmp_path, "-style", "windows")
    assert "[('CardPage', True)] ConsentPage" in out
    assert "-style" not in out.rpartition("[")[2]


def test_a_wall_that_is_open_lets_nobody_in(tmp_path):
    out = run(tmp_path, "refuse")
    assert "ConsentPage" not in out
    assert "A channel is open. Tell your administrator." in out


def test_an_unforeseen_error_is_a_calm_dialog(tmp_path):
    out = run(tmp_path, "crash")
    assert "Something went wrong" in out
    assert "ValueError at" in out
    assert "content of a prompt" not in out


def test_signals_close_the_window_in_order(tmp_path):
    """Ctrl-C where it was started, the end of the desktop's session; the latter asks nobody anything."""
    assert run(tmp_path, "SIGINT") == "closed in order True\n"
    assert run(tmp_path, "SIGTERM") == "closed in order True\n"
    assert run(tmp_path, "SIGTERM", "setup") == "closed in order True\n"
