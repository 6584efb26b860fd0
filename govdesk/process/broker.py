"""The broker: no Qt, no keys. Makes the channels, starts and reaps the other roles, and nothing else.

Locking ends the window process; the broker starts a new, locked one. In the terminal locking is the end.
A role that dies costs only itself: the worker's end is reported to the session process, the session's
end stops the rest. Without its audit writer nothing runs on: the worker is stopped at once. A session
process that said it ends and does not is killed.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import FrameType

from govdesk.domain.frames import (
    AuditEnded,
    FromBroker,
    LockNow,
    Probe,
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
END_SECONDS = 10.0
"""Longest a session process may take to end after it said that it locks, or was told to end."""
QUIT_SECONDS = 30.0
"""The same for one whose work is done: it closes its files, and nobody waits for its memory to go."""
_SEND_SECONDS = 1.0  # a session process that leaves so much unread is not one any more


class Front(Enum):
    """Which session process: the window, or a command of the terminal."""

    WINDOW = "window"
    TERMINAL = "terminal"


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start. `arguments` go to the session process; `passed` descriptors are inherited by it.

    `probes` are what this process's self-test found, for the session process to judge and record.
    """

    front: Front
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    audit_folder: str | None
    passed: tuple[int, ...] = ()
    probes: tuple[Probe, ...] = ()


@dataclass(slots=True)
class _Session:
    process: subprocess.Popen[bytes]
    channel: Channel[ToBroker]
    audit: subprocess.Popen[bytes] | None
    locking: bool = False
    channel_open: bool = True
    end_by: float | None = None
    quit_code: int | None = None
    audit_end: AuditEnded | None = None


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
        self._waking = -1

    def run(self) -> int:
        """Start the session process, serve it, reap everything.

        Returns:
            The exit code for the shell: the session's own, 70 when it died by a signal, 143 when terminated.
        """
        waking, writing = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._waking = waking  # readable once a signal arrived: a poll goes on sleeping through it
        before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        handler = signal.signal(signal.SIGTERM, self._terminate)
        listener = self._instance.listen() if self._instance and self._launch.front is Front.WINDOW else None
        try:
            while True:
                session = self._session = self._start_session()
                if self._terminating:  # the signal came while there was nobody to pass it on to
                    session.process.terminate()
                exit_code = self._serve(session, listener)
                if not session.locking or self._terminating:
                    return exit_code
                if self._launch.front is Front.TERMINAL:  # what was typed is not asked again
                    return max(exit_code, 0)
        finally:
            signal.signal(signal.SIGTERM, handler)
            signal.set_wakeup_fd(before)
            os.close(waking)
            os.close(writing)
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
                *(str(descriptor) for descriptor in self._launch.passed),
                "--",
                *self._launch.arguments,
            ],
            pass_fds=(theirs.fileno(), *self._launch.passed),
            env=dict(self._launch.environment),
        )
        theirs.close()
        channel: Channel[ToBroker] = Channel(ours, ToBroker, send_seconds=_SEND_SECONDS)
        welcome = Welcome(audit=audit_end is not None, probes=self._launch.probes)
        with contextlib.suppress(OSError):
            channel.send(welcome, (audit_end,) if audit_end is not None else ())
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
            env=env.for_worker(self._launch.environment, graphics="--gpu" in arguments),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def _serve(self, session: _Session, listener: int | None) -> int:
        session_end = os.pidfd_open(session.process.pid)
        audit_end = os.pidfd_open(session.audit.pid) if session.audit is not None else None
        poller = select.poll()
        for descriptor in (session_end, audit_end, session.channel.fileno(), listener, self._waking):
            if descriptor is not None:
                poller.register(descriptor, select.POLLIN)
        try:
            while True:
                if self._worker_pidfd is not None:
                    poller.register(self._worker_pidfd, select.POLLIN)
                if self._terminating:
                    _must_end(session, END_SECONDS)
                ready = {descriptor for descriptor, _ in poller.poll(_patience(session))}
                if self._waking in ready:
                    os.read(self._waking, 64)
                if session.channel_open and session.channel.fileno() in ready:
                    self._take_frames(session, poller)
                if listener is not None and listener in ready and self._raise_asked():
                    self._tell(session, Raise())
                if session_end in ready:
                    if session.channel_open:
                        self._take_frames(session, poller)
                    return self._end_session(session)
                if session.end_by is not None and time.monotonic() >= session.end_by:
                    session.process.kill()
                if audit_end is not None and audit_end in ready:
                    poller.unregister(audit_end)
                    self._report_audit_end(session, poller)
                if self._worker_pidfd is not None and self._worker_pidfd in ready:
                    self._report_worker_end(session, poller)
        finally:
            os.close(session_end)
            if audit_end is not None:
                os.close(audit_end)

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
                        if session.audit_end is None:
                            self._start_worker(session, frame.gpu)
                        else:
                            self._tell(session, session.audit_end)
                    case StopWorker():
                        self._report_worker_end(session, poller)
                    case LockNow():
                        session.locking = True
                        _must_end(session, END_SECONDS)
                    case Quit(exit_code=exit_code):
                        session.quit_code = exit_code
                        _must_end(session, QUIT_SECONDS)
        except TimeoutError:
            return  # the rest of the frame comes later, or never
        except (FrameError, OSError):
            session.channel_open = False
            poller.unregister(session.channel)
            session.process.kill()

    def _start_worker(self, session: _Session, gpu: str) -> None:
        ours, theirs = pair()
        self._worker = self._start_role("worker", theirs.fileno(), *(("--gpu", gpu) if gpu else ()))
        theirs.close()
        self._worker_pidfd = os.pidfd_open(self._worker.pid)
        self._tell(session, WorkerStarted(), (ours.fileno(),))
        ours.close()

    def _stop_worker(self, poller: select.poll | None, *, asked: bool = True) -> int | None:
        """Ladder, reap, forget. A worker that its session asked to end before gets its grace."""
        if self._worker is None:
            return None
        exit_code = ladder.stop(self._worker, asked=asked)
        self._worker = None
        if self._worker_pidfd is not None:
            if poller is not None:
                with contextlib.suppress(KeyError):
                    poller.unregister(self._worker_pidfd)
            os.close(self._worker_pidfd)
            self._worker_pidfd = None
        return exit_code

    def _report_audit_end(self, session: _Session, poller: select.poll) -> None:
        """Nothing may go on that cannot be recorded."""
        assert session.audit is not None  # noqa: S101  its end was seen
        exit_code = session.audit.wait()
        session.audit_end = AuditEnded(exit_code=max(exit_code, 0), signal=max(-exit_code, 0))
        self._tell(session, session.audit_end)
        self._report_worker_end(session, poller, asked=False)

    def _report_worker_end(self, session: _Session, poller: select.poll, *, asked: bool = True) -> None:
        exit_code = self._stop_worker(poller, asked=asked)
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
            try:
                session.channel.send(frame, descriptors)
            except TimeoutError:
                session.process.kill()
            except OSError:
                return  # it just ended; its pidfd says so next

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
        if exit_code == -signal.SIGKILL and session.quit_code is not None:  # done; only its end took too long
            return session.quit_code
        if exit_code < 0 and not session.locking:
            os.write(2, _died(-exit_code).encode())
            return 70
        return exit_code


def _must_end(session: _Session, seconds: float) -> None:
    if session.end_by is None:
        session.end_by = time.monotonic() + seconds


def _patience(session: _Session) -> float | None:
    """Milliseconds until the session process has to be gone; None when it need not."""
    return None if session.end_by is None else max(0.0, session.end_by - time.monotonic()) * 1000 + 1


def _died(signal_number: int) -> str:
    return (
        f"GovDesk's session process ended unexpectedly (signal {signal_number}). "
        "What was stored and audited is kept; an answer that was being written is marked interrupted at the "
        "next start. Start GovDesk again.\n"
    )
