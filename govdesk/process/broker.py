"""The broker: no Qt, no keys. Makes the channels, starts and reaps the other roles, and nothing else.

Locking ends the window process; the broker starts a new, locked one. A role that dies costs only
itself: the worker's end is reported to the session process, the session's end stops the rest.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import FrameType

from govdesk.domain.frames import (
    FromBroker,
    LockNow,
    Quit,
    Raise,
    StartWorker,
    StopWorker,
    ToBroker,
    Welcome,
    WorkerEnded,
    WorkerStarted,
)
from govdesk.errors import FrameError
from govdesk.process import environment as env
from govdesk.process import ladder
from govdesk.process.channel import Channel, pair
from govdesk.process.instance import Instance

_AUDIT_CLOSE_SECONDS = 5.0


class Front(Enum):
    """Which session process: the window, or a command of the terminal."""

    WINDOW = "window"
    TERMINAL = "terminal"


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start. `arguments` go to the session process; `passed` descriptors are inherited by it."""

    front: Front
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    audit_folder: str | None
    passed: tuple[int, ...] = ()


@dataclass(slots=True)
class _Session:
    process: subprocess.Popen[bytes]
    channel: Channel[ToBroker]
    audit: subprocess.Popen[bytes] | None
    locking: bool = False
    channel_open: bool = True


class Broker:
    """Runs until the session process ends for good.

    Args:
        launch: what to start.
        instance: the profile's lock, or None for a command that needs no profile.
    """

    def __init__(self, launch: Launch, instance: Instance | None) -> None:
        self._launch = launch
        self._instance = instance
        self._worker: subprocess.Popen[bytes] | None = None
        self._worker_pidfd: int | None = None
        self._terminating = False
        self._session: _Session | None = None

    def run(self) -> int:
        """Start the session process, serve it, reap everything.

        Returns:
            The exit code for the shell: the session's own, 70 when it died by a signal, 143 when terminated.
        """
        signal.signal(signal.SIGTERM, self._terminate)
        listener = self._instance.listen() if self._instance and self._launch.front is Front.WINDOW else None
        try:
            while True:
                session = self._start_session()
                self._session = session
                exit_code = self._serve(session, listener)
                if not session.locking or self._terminating:
                    return exit_code
        finally:
            if self._instance is not None:
                self._instance.release()

    def _start_session(self) -> _Session:
        audit_process, audit_end = self._start_audit()
        ours, theirs = pair()
        process = subprocess.Popen(
            [
                *env.command(),
                "--role",
                self._launch.front.value,
                "--channel",
                str(theirs.fileno()),
                "--",
                *self._launch.arguments,
            ],
            pass_fds=(theirs.fileno(), *self._launch.passed),
            env=dict(self._launch.environment),
        )
        theirs.close()
        channel: Channel[ToBroker] = Channel(ours, ToBroker)
        with contextlib.suppress(OSError):
            channel.send(Welcome(audit=audit_end is not None), (audit_end,) if audit_end is not None else ())
        if audit_end is not None:
            os.close(audit_end)
        return _Session(process, channel, audit_process)

    def _start_audit(self) -> tuple[subprocess.Popen[bytes] | None, int | None]:
        if self._launch.audit_folder is None:
            return None, None
        ours, theirs = pair()
        process = self._start_role("auditd", theirs.fileno(), "--folder", self._launch.audit_folder)
        theirs.close()
        return process, ours.detach()

    def _start_role(self, role: str, descriptor: int, *arguments: str) -> subprocess.Popen[bytes]:
        """A role with one inherited channel and nothing else; it speaks in frames, output goes nowhere."""
        return subprocess.Popen(
            [*env.command(), "--role", role, "--channel", str(descriptor), *arguments],
            pass_fds=(descriptor,),
            env=env.for_worker(self._launch.environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def _serve(self, session: _Session, listener: int | None) -> int:
        session_end = os.pidfd_open(session.process.pid)
        poller = select.poll()
        poller.register(session_end, select.POLLIN)
        poller.register(session.channel, select.POLLIN)
        if listener is not None:
            poller.register(listener, select.POLLIN)
        try:
            while True:
                if self._worker_pidfd is not None:
                    poller.register(self._worker_pidfd, select.POLLIN)
                ready = {descriptor for descriptor, _ in poller.poll()}
                if session.channel_open and session.channel.fileno() in ready:
                    self._take_frames(session, poller)
                if listener is not None and listener in ready and self._raise_asked():
                    self._tell(session, Raise())
                if self._worker_pidfd is not None and self._worker_pidfd in ready:
                    self._report_worker_end(session, poller)
                if session_end in ready:
                    if session.channel_open:
                        self._take_frames(session, poller)
                    return self._end_session(session)
        finally:
            os.close(session_end)

    def _take_frames(self, session: _Session, poller: select.poll) -> None:
        """Serve what the session asks. A frame that is none ends the session: it is not ours any more."""
        try:
            while session.channel_open and session.channel.readable():
                received = session.channel.receive(0.0)
                if received is None:
                    session.channel_open = False
                    poller.unregister(session.channel)
                    return
                frame, descriptors = received
                for descriptor in descriptors:
                    os.close(descriptor)
                match frame:
                    case StartWorker():
                        self._stop_worker(poller)
                        self._start_worker(session)
                    case StopWorker():
                        self._report_worker_end(session, poller)
                    case LockNow():
                        session.locking = True
                    case Quit():
                        session.locking = False
        except FrameError:
            session.channel_open = False
            poller.unregister(session.channel)
            session.process.kill()

    def _start_worker(self, session: _Session) -> None:
        ours, theirs = pair()
        self._worker = self._start_role("worker", theirs.fileno())
        theirs.close()
        self._worker_pidfd = os.pidfd_open(self._worker.pid)
        self._tell(session, WorkerStarted(), (ours.fileno(),))
        ours.close()

    def _stop_worker(self, poller: select.poll | None) -> int | None:
        """Ladder, reap, forget. The worker was asked by its session before, so it gets its grace."""
        if self._worker is None:
            return None
        exit_code = ladder.stop(self._worker, asked=True)
        self._worker = None
        if self._worker_pidfd is not None:
            if poller is not None:
                with contextlib.suppress(KeyError):
                    poller.unregister(self._worker_pidfd)
            os.close(self._worker_pidfd)
            self._worker_pidfd = None
        return exit_code

    def _report_worker_end(self, session: _Session, poller: select.poll) -> None:
        exit_code = self._stop_worker(poller)
        if exit_code is not None:
            self._tell(session, WorkerEnded(exit_code=max(exit_code, 0), signal=max(-exit_code, 0)))

    def _terminate(self, _number: int, _frame: FrameType | None) -> None:
        """The desktop or an administrator ends GovDesk: the session process first, the rest follows."""
        self._terminating = True
        if self._session is not None:
            self._session.process.terminate()

    def _raise_asked(self) -> bool:
        return self._instance is not None and self._instance.raise_asked()

    def _tell(self, session: _Session, frame: FromBroker, descriptors: tuple[int, ...] = ()) -> None:
        if session.channel_open:
            with contextlib.suppress(OSError):  # it just ended; its pidfd says so next
                session.channel.send(frame, descriptors)

    def _end_session(self, session: _Session) -> int:
        exit_code = session.process.wait()
        session.channel.close()
        self._stop_worker(None)
        if session.audit is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                session.audit.wait(_AUDIT_CLOSE_SECONDS)
            ladder.stop(session.audit, asked=True)
        if self._terminating:
            return 128 + signal.SIGTERM
        if exit_code < 0 and not session.locking:
            os.write(2, _died(-exit_code).encode())
            return 70
        return exit_code


def _died(signal_number: int) -> str:
    return (
        f"GovDesk's session process ended unexpectedly (signal {signal_number}). "
        "What was stored and audited is kept; an answer that was being written is marked interrupted at the "
        "next start. Start GovDesk again.\n"
    )
