"""Without a display, GovDesk is the same conversation in a terminal: notice, set-up, questions, a way to stop."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import termios
import time
from pathlib import Path

import pytest

from tests.commands import GOVDESK, PASSPHRASE, govdesk, records


class Terminal:
    """`govdesk …` on a terminal of its own."""

    def __init__(self, home: Path, *arguments: str, term: str = "dumb") -> None:
        self._end, inner = pty.openpty()
        self.process = subprocess.Popen(
            [*GOVDESK, *arguments],
            stdin=inner,
            stdout=inner,
            stderr=inner,
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(home.parent),
                "GOVDESK_HOME": str(home),
                "TERM": term,
            },
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  the terminal's Ctrl-C
        )
        os.close(inner)
        self.seen = ""

    def until(self, pattern: str, seconds: float = 120.0) -> str:
        """What came up to and with the pattern."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.seen)):
            assert time.monotonic() < deadline, self.seen[-2000:]
            if select.select([self._end], [], [], 0.5)[0]:
                try:
                    part = os.read(self._end, 65536)
                except OSError:
                    part = b""
                if not part:
                    assert re.search(pattern, self.seen), f"ended without {pattern!r}: {self.seen[-2000:]}"
                self.seen += part.decode("utf-8", "replace")
        before, self.seen = self.seen[: found.end()], self.seen[found.end() :]
        return before

    def type(self, text: str) -> None:
        os.write(self._end, text.encode())

    def ended(self) -> int:
        """The exit code; what is still written is read, or the program could not end."""
        while select.select([self._end], [], [], 30)[0]:
            try:
                if not (part := os.read(self._end, 65536)):
                    break
            except OSError:
                break
            self.seen += part.decode("utf-8", "replace")
        return self.process.wait(30)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._end)


@pytest.fixture
def start(tmp_path):
    terminals = []

    def start_it(*arguments: str, **options: str) -> Terminal:
        terminals.append(Terminal(tmp_path / "home", *arguments, **options))
        return terminals[-1]

    yield start_it
    for terminal in terminals:
        terminal.close()


def test_a_first_conversation_in_the_terminal(start, tmp_path):
    terminal = start()  # no command: the window; there is no display
    shown = terminal.until("Type yes to accept: ")
    assert "no display here" in shown
    assert "not for classified use" in shown
    terminal.type("yes\n")
    terminal.until("Choose a passphrase: ")
    terminal.type("short\n")
    terminal.until("15")
    terminal.until("Choose a passphrase: ")
    terminal.type(PASSPHRASE + "\n")
    terminal.until("Once more: ")
    terminal.type(PASSPHRASE + "\n")
    terminal.until("Recovery code, shown this once")
    terminal.until("\r\n> ")
    terminal.type("In one word, what floats?\n")
    answer = terminal.until("\r\n> ")
    assert answer.strip()
    # Ctrl-C stops an answer, not the conversation
    terminal.type("Write a very long story about a harbour town.\n")
    terminal.until("reading")
    terminal.type("\x03")
    terminal.until("Stopped")
    terminal.until("\r\n> ")
    terminal.type("Write a very long story about a harbour town.\n")
    terminal.until("reading")
    terminal.until(r"\r {10,}\r(\S+ +){3}")
    terminal.type("\x03")
    terminal.until("Stopped")
    terminal.until("\r\n> ")
    terminal.type("\x03")  # at the prompt it leaves
    assert terminal.ended() == 130
    log = records(tmp_path / "home")
    outcomes = [record["outcome"] for record in log if record["event"] == "turn.outcome"]
    assert outcomes == ["completed", "cancelled", "cancelled"]
    assert len({record["fields"]["conversation"] for record in log if record["event"] == "turn.outcome"}) == 1
    assert PASSPHRASE not in answer


def test_pasting_mistyping_and_ending(start, tmp_path):
    home = tmp_path / "home"
    assert govdesk(home, "init", passphrase=PASSPHRASE).returncode == 0
    terminal = start("chat", term="xterm")
    terminal.until("Type yes to accept: ")
    terminal.type("yes\n")
    terminal.until("Passphrase: ")
    terminal.type("wrong " + PASSPHRASE + "\n")
    terminal.until("does not open")
    terminal.until("Passphrase: ")
    terminal.type(PASSPHRASE + "\n")
    terminal.until("> ")
    # arrow keys move in the line, a bracketed paste is one question, its blank line no end
    terminal.type("\x1b[200~What flots?\n\nIn one word.\x1b[201~")
    terminal.until("word")
    terminal.type("\x1b[D" * 17 + "a\n")
    terminal.until("> ")
    terminal.type("First line,\nsecond line,\n\nlast line.\n")  # a terminal that marks no paste
    terminal.until("> ")
    terminal.type("\n")
    terminal.until("> ")
    terminal.type("/end\n")
    assert terminal.ended() == 0
    log = records(home)
    asked = [record["fields"]["characters"] for record in log if record["event"] == "turn.intent"]
    assert asked == [len("What floats?\n\nIn one word."), len("First line,\nsecond line,\n\nlast line.")]
    assert [record["outcome"] for record in log if record["event"] == "unlock"] == ["failure", "success"]


def test_the_notice_is_not_accepted(start, tmp_path):
    terminal = start("chat")
    terminal.until("Type yes to accept: ")
    terminal.type("no\n")
    assert terminal.ended() == 1
    assert not (tmp_path / "home" / "keys.json").exists()
    assert not [record for record in records(tmp_path / "home") if record["event"] == "consent"]
