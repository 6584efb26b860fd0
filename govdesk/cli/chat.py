"""`govdesk chat`: one question after another on a terminal, with the keys that a line editor has.

What is pasted is one question, however many lines it has. Ctrl-C stops an answer; at the prompt it drops
the line, and a second one in a row leaves. Ctrl-D, `/end` and idle time end the conversation. What does not
fit the model is put before the person there and then; a script is told with which options to start again.
"""

from __future__ import annotations

import argparse
import contextlib
import select
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

from govdesk.cli import entry, full, interrupts, output, passphrase, turns
from govdesk.cli.desk import Desk, Unlocked
from govdesk.domain.ids import ConversationId
from govdesk.domain.text import terminal_safe
from govdesk.domain.turn import Sampling, TooLong, WhenFull
from govdesk.errors import UsageError, WrongPassphraseError

END = "/end"
_TRIES = 3
_LOOK_SECONDS = 5.0
"""How often a waiting prompt looks whether the idle time is over."""
_SOON_SECONDS = 0.001
_PASTE_SECONDS = 0.05
"""Lines that follow each other this closely were not typed: a terminal without bracketed paste."""


class _EndError(Exception):
    """Leaves the conversation: the end of input, or of the idle time."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `chat`."""
    turns.add_arguments(parser)
    passphrase.add_arguments(parser)


def run(parsed: argparse.Namespace, desk: Desk) -> int:
    """Ask until the end of input; offers to make the profile first. The exit code."""
    sampling = turns.limited(Sampling(), parsed.max_tokens)
    print(entry.notice(desk))
    if not _accepted():
        return 1
    desk.record_consent("typed yes")
    unlocked = _unlock(parsed, desk) if desk.profile.exists else _first_run(parsed, desk)
    known = turns.known(parsed.conversation, unlocked)
    asking = _Asking(desk, unlocked, parsed, sampling, known.id if known else None)
    if sys.stdin.isatty():
        with contextlib.suppress(ImportError):  # arrow keys, bracketed paste; its history stays in memory
            import readline  # noqa: F401
    if known is not None:
        print(f"\nGoing on in: {terminal_safe(known.title)}")
    print(f"\nAsk; {END} or Ctrl-D ends, Ctrl-C stops an answer.")
    try:
        with contextlib.suppress(_EndError):
            while sys.stdout is not None:  # it went with its reader, in the middle of an answer's last line
                asking.ask(_question(desk))
    finally:
        if asking.conversation is not None:
            output.aside(f"\nTo go on later: govdesk chat --conversation {asking.conversation}\n")
    if desk.idle_over:
        print("\nNobody typed for as long as the policy allows, so the session was locked.")
        desk.lock()
    return 0


class _Asking:
    """One question after another in one conversation, and what follows when one does not fit.

    Args:
        desk: told that somebody is there.
        unlocked: asks the model.
        parsed: the command's options.
        sampling: how tokens are chosen.
        conversation: to go on in; None starts one.
    """

    def __init__(
        self,
        desk: Desk,
        unlocked: Unlocked,
        parsed: argparse.Namespace,
        sampling: Sampling,
        conversation: ConversationId | None,
    ) -> None:
        self._desk = desk
        self._unlocked = unlocked
        self._when_full: str = parsed.when_full
        self._show_thinking: bool = parsed.show_thinking
        self._sampling = sampling
        self.conversation = conversation

    def ask(self, question: str) -> None:
        """One question; the same again, with what was chosen, when it does not fit.

        Raises:
            _EndError: at the choice, as at a question.
        """
        way = self._when_full
        while True:
            too_long = self._turn(question, full.first_try(way))
            if too_long is None:
                return
            if way != full.SUMMARISE or not too_long.to_summarise:
                way = self._way(too_long)
            if way == full.SHORTEN or (way == full.SUMMARISE and not self._summarised(too_long)):
                return
            if way == full.SUMMARISE:
                way = WhenFull.STOP.value  # once: where that was not enough, it is asked again

    def _turn(self, question: str, when_full: WhenFull) -> TooLong | None:
        events = self._unlocked.chat.run_turn(self.conversation, question, self._sampling, when_full)
        ended, too_long = turns.show(self._unlocked, events, quiet=False, show_thinking=self._show_thinking)
        self.conversation = ended.conversation or self.conversation
        self._desk.touch()
        return too_long

    def _summarised(self, too_long: TooLong) -> bool:
        """Whether a summary stands in place of the oldest turns now."""
        if self.conversation is None:
            return False
        ended = turns.summarise(self._unlocked, self.conversation, too_long, quiet=False)
        self._desk.touch()
        return ended.is_whole

    def _way(self, too_long: TooLong) -> str:
        """What a person at a terminal chooses; a script is told what it could have been started with."""
        if not sys.stdin.isatty():
            here = f" --conversation {self.conversation}" if self.conversation else ""
            output.aside(full.ways_on(too_long, f"start `govdesk chat{here}` with one of these:"))
            return full.SHORTEN
        output.aside(full.question(too_long))
        ways = list(full.choices(too_long))
        way = ways[_number(self._desk, len(ways)) - 1]
        if way == full.SHORTEN:
            up = " The arrow-up key brings your message back." if "readline" in sys.modules else ""
            output.aside(f"Nothing was sent.{up}\n")
        return way


def _number(desk: Desk, most: int) -> int:
    """Which of so many is chosen; Ctrl-C and an empty line choose the last, which does nothing.

    Raises:
        _EndError: the end of input, `/end`, or the idle time is over.
    """
    if most == 1:
        return 1
    with _ending_when_idle(desk):
        while True:
            try:
                with interrupts.leaving():
                    typed = input(f"1 to {most} (Enter: {most}): ").strip()
            except EOFError:
                raise _EndError from None
            except KeyboardInterrupt:
                print()
                typed = ""
            if not desk.touch() or typed == END:
                raise _EndError
            _no_question(typed)
            if not typed:
                return most
            if typed.isascii() and typed.isdecimal() and 1 <= int(typed) <= most:
                return int(typed)
            print(f"Type a number from 1 to {most}.")


def _no_question(typed: str) -> None:
    """What was typed at a choice does not come back with the arrow-up key; the question before it does."""
    readline = sys.modules.get("readline")
    if readline is not None and typed and (last := readline.get_current_history_length()):
        readline.remove_history_item(last - 1)


def _accepted() -> bool:
    """The explicit act of accepting; the end of input is none."""
    try:
        with interrupts.leaving():
            return input("Type yes to accept: ").strip().lower() == "yes"
    except EOFError:
        return False


def _unlock(parsed: argparse.Namespace, desk: Desk) -> Unlocked:
    """A person may mistype twice; what comes on a descriptor is tried once."""
    for left in range(_TRIES - 1, -1, -1):
        try:
            return desk.unlock(passphrase.read(parsed))
        except WrongPassphraseError as error:
            if not left or parsed.passphrase_fd is not None:
                raise
            print(error.explain())
    raise AssertionError  # the last try returned or raised


def _first_run(parsed: argparse.Namespace, desk: Desk) -> Unlocked:
    print(f"There is no profile in {desk.profile.home} yet.")
    while True:
        chosen = passphrase.read(parsed, "Choose a passphrase: ")
        problem = desk.passphrase_problem(chosen)
        typed = parsed.passphrase_fd is None
        if not problem and (not typed or passphrase.read(parsed, "Once more: ") == chosen):
            break
        if not typed:
            raise UsageError(problem, code="passphrase.unsuitable", kept="Nothing was created.")
        print(problem or "The two differ.")
    print(f"\nRecovery code, shown this once; write it down:\n\n    {desk.create_profile(chosen)}\n")
    return desk.unlock(chosen)


def _question(desk: Desk) -> str:
    """The next question; an empty one is asked for again.

    Raises:
        _EndError: the end of input, `/end`, or the idle time is over.
        KeyboardInterrupt: Ctrl-C, twice in a row.
    """
    interrupted = False
    with _ending_when_idle(desk):
        while True:
            print()
            try:
                with interrupts.leaving():
                    text = _typed()
            except EOFError:
                raise _EndError from None
            except KeyboardInterrupt:
                if interrupted:
                    raise
                interrupted = True
                print(f"\nCtrl-C once more leaves; {END} or Ctrl-D ends.")
                text = ""
            else:
                interrupted = False
            if not desk.touch() or text == END:
                raise _EndError
            if text:
                return text


@contextlib.contextmanager
def _ending_when_idle(desk: Desk) -> Iterator[None]:
    """Within this block the end of the idle time raises _EndError, while a line is being typed too.

    A thread looks, and an alarm comes only then: Python's `input` crashes when the alarm's handler runs in
    the moment of a Ctrl-C, so it must not tick.
    """
    done = threading.Event()

    def look() -> None:
        while not done.wait(_LOOK_SECONDS):
            if desk.idle_over:
                signal.setitimer(signal.ITIMER_REAL, _SOON_SECONDS)
                return

    def end(_signal: int, _frame: FrameType | None) -> None:
        raise _EndError

    previous = signal.signal(signal.SIGALRM, end)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})  # in the thread: it is for this one
    looking = threading.Thread(target=look, name="idle", daemon=True)
    looking.start()
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        yield
    finally:
        done.set()
        looking.join()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def _typed() -> str:
    """A line, and the lines of the same paste that already wait behind it."""
    lines = [input("> ")]
    while _more_waits():
        try:
            lines.append(input())
        except EOFError:
            break
    return "\n".join(lines).strip()


def _more_waits() -> bool:
    if not sys.stdin.isatty():
        return False  # each line of a script is one question
    return bool(select.select([sys.stdin], [], [], _PASTE_SECONDS)[0])
