"""Without a display, GovDesk is the same conversation in a terminal: notice, set-up, questions, a way to stop."""

from __future__ import annotations

import contextlib
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

    def __init__(
        self,
        home: Path,
        *arguments: str,
        term: str = "dumb",
        passed: tuple[int, ...] = (),
        extra: dict[str, str] | None = None,
    ) -> None:
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
                **(extra or {}),
            },
            start_new_session=True,
            pass_fds=passed,
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

    def interrupt(self) -> None:
        """Ctrl-C a moment after what was seen, as a person's is.

        Between the prompt's last character and the wait for a key, CPython's `input` hears of a signal only
        at the next key.
        """
        time.sleep(0.5)
        self.type("\x03")

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

    def start_it(*arguments: str, **options) -> Terminal:
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
    # at the prompt it drops the line; twice in a row it leaves
    terminal.type("half a quest")
    terminal.interrupt()
    terminal.until("Ctrl-C once more leaves")
    terminal.until("\r\n> ")
    terminal.type("\n")
    terminal.until("\r\n> ")
    terminal.interrupt()
    terminal.until("Ctrl-C once more leaves")
    terminal.until("\r\n> ")
    terminal.interrupt()
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


LONG = "Write a very long story about a harbour town."


def events(home, *names):
    """Event and outcome of what is on record, with a code where there is one."""
    found = []
    for record in records(home):
        if record["event"] in names:
            fields = record["fields"]
            found.append((record["event"], record["outcome"], fields.get("code") or fields.get("rule")))
    return found


@contextlib.contextmanager
def history(home):
    """The history, as the next session opens it."""
    from govdesk.session.key_slots import KeySlots
    from govdesk.session.keys import Purpose
    from govdesk.storage.conversations import EncryptedConversations
    from govdesk.storage.database import Database

    keys = KeySlots(home / "keys.json").unlock(PASSPHRASE)
    with keys[Purpose.DATABASE].use() as key:
        database = Database.open(home / "history.db", key)
    try:
        yield EncryptedConversations(database)
    finally:
        database.close()


def stored_answer(home):
    """The last answer in the history."""
    with history(home) as store:
        return store.messages(store.conversations()[0].id)[-1]


@pytest.fixture
def home(tmp_path):
    made = tmp_path / "home"
    assert govdesk(made, "init", passphrase=PASSPHRASE).returncode == 0
    return made


def test_a_reader_that_leaves_ends_the_turn_in_order(home, tmp_path):
    """`govdesk ask … | head -c 5`"""
    secret = tmp_path / "passphrase"
    secret.write_text(PASSPHRASE + "\n")
    ran = subprocess.run(
        [
            "/bin/bash", "-c",
            'exec 4< "$1"; shift; "$@" --passphrase-fd 4 | head -c 5; exit ${PIPESTATUS[0]}',
            "bash", str(secret), *GOVDESK, "ask", LONG,
        ],
        capture_output=True, text=True, timeout=240, check=False, stdin=subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "GOVDESK_HOME": str(home)},
    )  # fmt: skip
    assert ran.returncode == 1, ran.stderr
    assert "Traceback" not in ran.stderr
    assert events(home, "turn.outcome", "app.stop")[-2:] == [
        ("turn.outcome", "cancelled", "view.closed"),
        ("app.stop", "success", None),
    ]
    answer = stored_answer(home)
    assert answer.outcome is not None
    assert answer.outcome.value == "cancelled"
    assert len(ran.stdout) == 5
    assert answer.text.startswith(ran.stdout)


@pytest.mark.parametrize("form", [(), ("--jsonl",)])
def test_ctrl_c_leaves_a_command_that_reads_the_terminal(start, home, form):
    terminal = start("redact", *form)
    terminal.type("not yet\n" if not form else '{"text":"a@b.org"}\n')
    terminal.until("not yet" if not form else r"\[EMAIL_ADDRESS\]")
    while ("redact", "intent", None) not in events(home, "redact"):
        time.sleep(0.05)
    terminal.interrupt()
    assert terminal.ended() == 130
    assert events(home, "redact", "app.stop")[-3:] == [
        ("redact", "intent", None),
        ("redact", "failure", "interrupted"),
        ("app.stop", "success", None),
    ]


def test_ctrl_c_before_the_question_is_asked_asks_nothing(start, home):
    reading, writing = os.pipe()
    os.set_inheritable(reading, True)
    terminal = start("ask", LONG, "--passphrase-fd", str(reading), passed=(reading,))
    while ("app.start", "success", None) not in events(home, "app.start")[1:]:
        time.sleep(0.01)  # the session process is there, and cannot unlock yet
    terminal.type("\x03")
    code = terminal.ended()
    os.close(reading)
    os.close(writing)
    assert code == 130
    assert not events(home, "turn.intent")
    assert events(home, "app.stop")[-1] == ("app.stop", "success", None)


def test_a_termination_ends_a_running_turn_in_order(start, home):
    terminal = start("chat")
    terminal.until("Type yes to accept: ")
    terminal.type("yes\n")
    terminal.until("Passphrase: ")
    terminal.type(PASSPHRASE + "\n")
    terminal.until("\r\n> ")
    terminal.type(LONG + "\n")
    terminal.until("reading")
    terminal.until(r"\r {10,}\r(\S+ +){3}")
    terminal.process.terminate()
    assert terminal.ended() == 143
    assert events(home, "turn.outcome", "app.stop")[-2:] == [
        ("turn.outcome", "cancelled", "cancelled"),
        ("app.stop", "success", None),
    ]


def test_a_termination_at_the_prompt_ends_in_order(start, home):
    terminal = start("chat")
    terminal.until("Type yes to accept: ")
    terminal.process.terminate()
    assert terminal.ended() == 143
    assert events(home, "app.stop")[-1] == ("app.stop", "success", None)


@pytest.mark.parametrize(("stop", "code"), [("Ctrl-C", 0), ("termination", 143)])
def test_the_window_closes_in_order_from_where_it_was_started(start, tmp_path, stop, code):
    terminal = start(extra={"GOVDESK_PLATFORM": "offscreen"})
    home = tmp_path / "home"
    while not [record for record in records(home) if record["object"] == "window, sealed"]:
        assert terminal.process.poll() is None, terminal.ended()
        time.sleep(0.05)
    if stop == "Ctrl-C":
        terminal.type("\x03")
    else:
        terminal.process.terminate()
    assert terminal.ended() == code, terminal.seen
    assert events(home, "app.stop") == [("app.stop", "success", None)]


def words(number: int) -> str:
    """About so many tokens, a few more."""
    return " ".join(f"w{at % 10}" for at in range(number // 2))


def full_conversation(home) -> str:
    """A conversation that fills most of any context that the embedded model may have."""
    from govdesk.domain.ids import RecordSeq, TurnId
    from govdesk.domain.turn import Outcome, Usage

    with history(home) as store:
        made = store.create("Ports", "UNCLASSIFIED", 1)
        turn = TurnId("0" * 24)
        store.begin_turn(made, turn, words(7400), (), "UNCLASSIFIED", "", 1)
        store.append_answer(turn, "Read.")
        store.finish_turn(turn, Outcome.COMPLETED, (), None, Usage(), RecordSeq(1), 2, "end")
        return made


def test_a_full_conversation_is_asked_about_there_and_then(home, start):
    conversation = full_conversation(home)
    terminal = start("chat", "--conversation", conversation, "--max-tokens", "5", term="xterm")
    terminal.until("Type yes to accept: ")
    terminal.type("yes\n")
    terminal.until("Passphrase: ")
    terminal.type(PASSPHRASE + "\n")
    terminal.until("Going on in: Ports")
    terminal.until("> ")
    message = words(1400)
    terminal.type(f"\x1b[200~{message}\x1b[201~\n")
    asked = terminal.until(r"1 to \d \(Enter: \d\): ")
    assert "Nothing was cut" in asked
    assert "1  leave out the oldest turn from now on" in asked and "--when-full" not in asked
    terminal.type("\n")  # shorten it
    terminal.until("The arrow-up key brings your message back")
    terminal.until("> ")
    terminal.type("\x1b[A")
    terminal.until("w9")
    terminal.type("\n")
    terminal.until(r"1 to \d \(Enter: \d\): ")
    terminal.type("1\n")
    terminal.until("The model does not see the oldest turn")
    terminal.until("reached its limit of 5 tokens")
    terminal.until("> ")
    terminal.type("/end\n")
    terminal.until(f"govdesk chat --conversation {conversation}")
    assert terminal.ended() == 0
    log = records(home)
    outcomes = [record["fields"] for record in log if record["event"] == "turn.outcome"]
    assert [fields["rule"] for fields in outcomes[-3:]] == ["context.full", "context.full", "length"]
    assert outcomes[-1]["unseen"] == 1 and outcomes[-1]["conversation"] == conversation
    asked = [record["fields"]["characters"] for record in log if record["event"] == "turn.intent"]
    assert asked[-3:] == [len(message)] * 3
