"""Runs a program, keeps all it says in a log, shows a short line of it, and explains a failure."""

from __future__ import annotations

import os
import re
import selectors
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from installer.setup.report import Report, SetupError

TAIL_LINES = 20
TICK_SECONDS = 1.0
_NINJA = re.compile(r"^\[(\d+)/(\d+)\] ")
_PIP = re.compile(
    r"^\s*(Collecting|Downloading|Installing collected packages|Building|Preparing)\b[: ]*(\S*)"
)

Summary = Callable[[str], "str | None"]


def ninja_summary(line: str) -> str | None:
    """`[12/78]` out of ninja's line, else None."""
    found = _NINJA.match(line)
    return f"[{found[1]}/{found[2]}]" if found else None


def pip_summary(line: str) -> str | None:
    """What pip is at, without the addresses it fetches from."""
    found = _PIP.match(line)
    if not found:
        return None
    if found[1] == "Installing collected packages":
        return "installing"
    return f"{found[1].lower()} {found[2].rsplit('/', 1)[-1]}".strip()


class Commands:
    """Starts programs for the set-up, one after the other."""

    def __init__(self, report: Report, log: Path, environment: Mapping[str, str]) -> None:
        self._report = report
        self.log = log
        self.environment = dict(environment)

    def run(
        self,
        arguments: Sequence[str | Path],
        *,
        failed: str,
        todo: str = "",
        folder: Path | None = None,
        summary: Summary = lambda _: None,
    ) -> None:
        """Run to the end.

        Args:
            arguments: the program and its arguments; no shell.
            failed: what to say when it fails.
            todo: what the person can do then.
            folder: where to run it.
            summary: makes a progress line of a line of output, or None.

        Raises:
            SetupError: it could not be started or did not exit with 0; carries the last lines it said.
        """
        words = [str(argument) for argument in arguments]
        tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("a", encoding="utf-8", errors="replace") as log:
            log.write(f"\n$ {' '.join(words)}\n")
            try:
                process = subprocess.Popen(
                    words,
                    cwd=folder,
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                )
            except OSError as error:
                raise SetupError(
                    f"{failed}: {words[0]} cannot be started ({error.strerror}).", todo=todo
                ) from error
            try:
                for line in self._lines(process):
                    log.write(line + "\n")
                    tail.append(line)
                    self._report.progress(summary(line))
                code = process.wait()
            except BaseException:
                process.terminate()
                process.wait()
                raise
        if code != 0:
            said = "\n".join(f"    {line}" for line in tail)
            raise SetupError(
                f"{failed} (exit {code}). Its last words:\n{said}\n  All of them: {self.log}", todo=todo
            )

    def answer(self, arguments: Sequence[str | Path]) -> str | None:
        """The standard output of a quick question to a program, or None if it cannot answer."""
        try:
            done = subprocess.run(
                [str(argument) for argument in arguments],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=60,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.decode(errors="replace") if done.returncode == 0 else None

    def _lines(self, process: subprocess.Popen[bytes]) -> Iterator[str]:
        """Lines as they come; the report's clock ticks while the program is silent."""
        if process.stdout is None:
            return
        held = b""
        with process.stdout as stream, selectors.DefaultSelector() as selector:
            selector.register(stream, selectors.EVENT_READ)
            while True:
                if not selector.select(TICK_SECONDS):
                    self._report.progress()
                    continue
                part = os.read(stream.fileno(), 65536)
                if not part:
                    break
                *whole, held = (held + part).split(b"\n")
                for line in whole:
                    yield line.decode(errors="replace").rstrip()
        if held:
            yield held.decode(errors="replace").rstrip()
