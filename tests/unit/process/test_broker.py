"""The broker lives through whatever its session process does, and ends what has to end.

The roles are small programs of the test's own; broker, channels and signals are the real ones.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from govdesk.domain.frames import Probe
from govdesk.process import broker as module
from govdesk.process import environment
from govdesk.process.broker import Broker, Front, Launch

_BEGIN = """
import os, signal, sys, time
from pathlib import Path
from govdesk.domain.frames import *
from govdesk.process.channel import Channel
from govdesk.process.link import BrokerLink
arguments = sys.argv[1:]
role, descriptor = arguments[1], int(arguments[3])
folder = Path(os.environ.get("HOME", "/nowhere"))

def link():
    made = BrokerLink(Channel.from_descriptor(descriptor, FromBroker))
    return made, *made.welcome()

def writer():
    (Path(arguments[5]) / "auditd").write_text(str(os.getpid()))
    Channel.from_descriptor(descriptor, ToAudit).receive()

def worker():
    Channel.from_descriptor(descriptor, ToWorker).receive()

def session():
    raise SystemExit(0)
"""
_END = """
{"auditd": writer, "worker": worker}.get(role, session)()
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run a broker whose roles are the given source; its exit code."""
    monkeypatch.setenv("HOME", str(tmp_path))

    def run(
        source: str,
        probes: tuple[Probe, ...] = (),
        passed: tuple[int, ...] = (),
        front: Front = Front.TERMINAL,
    ) -> int:
        monkeypatch.setattr(
            environment, "command", lambda: [sys.executable, "-I", "-c", _BEGIN + source + _END]
        )
        environ = environment.clean(os.environ)
        return Broker(Launch(front, ("typed",), environ, str(tmp_path), passed, probes), None).run()

    return run


def test_the_sessions_exit_code_is_the_brokers(run: Callable[..., int]) -> None:
    assert run("def session(): link(); raise SystemExit(4)") == 4


def test_the_session_gets_probes_descriptors_and_what_was_typed(run: Callable[..., int]) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"secret")
    code = run(
        """
def session():
    made, welcome, audit = link()
    assert welcome.audit and audit is not None
    assert welcome.probes == (Probe("tcp4", True, "EPERM"),)
    mark = arguments.index("--")
    assert arguments[mark:] == ["--", "typed"]
    (passed,) = map(int, arguments[4:mark])
    assert os.read(passed, 100) == b"secret"
    raise SystemExit(6)
""",
        probes=(Probe("tcp4", True, "EPERM"),),
        passed=(reading,),
    )
    os.close(reading)
    os.close(writing)
    assert code == 6


def test_half_a_frame_harms_nobody(run: Callable[..., int]) -> None:
    assert (
        run(
            """
def session():
    made, *_ = link()
    os.write(descriptor, bytes(2))
    time.sleep(0.3)
    os._exit(3)
"""
        )
        == 3
    )


def test_a_session_that_sends_no_frames_is_ended(
    run: Callable[..., int], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("def session(): made = link(); os.write(descriptor, b'\\xff' * 16); time.sleep(600)") == 70
    assert "ended unexpectedly" in capfd.readouterr().err


_HANGS_ONCE = """
def session():
    made, *_ = link()
    if (folder / "was-here").exists():
        raise SystemExit(7)
    (folder / "was-here").write_text(str(os.getpid()))
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    made.lock()
    time.sleep(600)
"""


def test_a_session_that_locks_and_does_not_end_is_killed_and_followed(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "END_SECONDS", 0.5)
    assert run(_HANGS_ONCE, front=Front.WINDOW) == 7  # a second session process came, and ended well
    assert not Path("/proc", (tmp_path / "was-here").read_text()).exists()


def test_in_the_terminal_locking_is_the_end(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A second session would read a passphrase from a descriptor that is at its end."""
    monkeypatch.setattr(module, "END_SECONDS", 0.5)
    assert run(_HANGS_ONCE) == 0
    assert not Path("/proc", (tmp_path / "was-here").read_text()).exists()


def test_a_session_that_quits_and_does_not_end_is_killed(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "QUIT_SECONDS", 0.5)
    assert run("def session(): link()[0].quit(1); time.sleep(600)") == 1  # what its work came to
    assert "unexpectedly" not in capfd.readouterr().err


def test_a_session_that_does_not_heed_a_termination_is_killed(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "END_SECONDS", 0.5)

    def terminate() -> None:
        while not (tmp_path / "deaf").exists():
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=terminate, daemon=True).start()
    deaf = """
def session():
    link()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (folder / "deaf").touch()
    time.sleep(600)
"""
    assert run(deaf) == 128 + signal.SIGTERM


def test_a_termination_before_the_session_is_there_is_not_lost(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    start = Broker._start_session
    started: list[module._Session] = []

    def starting(self: Broker) -> module._Session:
        os.kill(os.getpid(), signal.SIGTERM)
        started.append(start(self))
        return started[0]

    monkeypatch.setattr(Broker, "_start_session", starting)
    assert run("def session(): time.sleep(600)") == 128 + signal.SIGTERM
    assert started[0].process.returncode == -signal.SIGTERM  # passed on at once, not killed at the end


def test_the_signal_handling_of_before_is_put_back(run: Callable[..., int]) -> None:
    before = signal.getsignal(signal.SIGTERM)
    run("")
    assert signal.getsignal(signal.SIGTERM) is before
    assert signal.set_wakeup_fd(-1) == -1


_WRITER_KILLED = """
def session():
    made, welcome, audit = link()
    channel = made.start_worker()
    while not (folder / "auditd").exists():
        time.sleep(0.02)
    os.kill(int((folder / "auditd").read_text()), signal.SIGKILL)
    end = made.audit_end(20)
    assert end == AuditEnded(exit_code=0, signal=9), end
    assert made.worker_end(20) is not None
    assert channel.receive(20) is None
    try:
        made.start_worker()
    except Exception as error:
        (folder / "said").write_text(error.code)
    answer, _ = made._channel.receive(20)
    assert answer == end, answer  # the broker's own answer to the order
    raise SystemExit(8)

def worker():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)
"""


def test_without_its_writer_the_worker_is_stopped_and_none_is_started(
    run: Callable[..., int], tmp_path: Path
) -> None:
    assert run(_WRITER_KILLED) == 8
    assert (tmp_path / "said").read_text() == "audit.gone"


def test_a_workers_exit_code_is_told(run: Callable[..., int]) -> None:
    refused = """
def session():
    made, *_ = link()
    made.start_worker()
    assert made.worker_end(20) == WorkerEnded(exit_code=5, signal=0)
    raise SystemExit(9)

def worker():
    raise SystemExit(5)
"""
    assert run(refused) == 9


@pytest.mark.parametrize("gpu", ["", "cuda", "vulkan"])
def test_a_worker_is_told_which_graphics_it_may_use(
    run: Callable[..., int], tmp_path: Path, gpu: str
) -> None:
    told = f"""
def session():
    made, *_ = link()
    made.start_worker({gpu!r})
    assert made.worker_end(20) is not None
    raise SystemExit(9)

def worker():
    caches = sorted(name for name in os.environ if "CACHE" in name)
    (folder / "worker").write_text(repr((arguments[4:], bool(caches))))
"""
    # the worker's environment has no HOME: its folder is written down
    assert run(told.replace("folder /", f"Path({str(tmp_path)!r}) /")) == 9
    wanted = ["--gpu", gpu] if gpu else []
    assert (tmp_path / "worker").read_text() == repr((wanted, bool(gpu)))
