"""Promise: the worker is confined. Whoever takes it over reaches no file, no process, no key and no network.

The live worker is looked at from outside; what its walls refuse is tried in a process behind the same ones.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from govdesk.domain.frames import WorkerHello
from govdesk.errors import WallError
from govdesk.process import environment
from govdesk.process.channel import Channel
from govdesk.sandbox import landlock, selftest
from tests.processes import DirectBroker

_SECRET = "a-secret-of-the-session"


@pytest.fixture(scope="module")
def worker() -> Iterator[tuple[int, WorkerHello]]:
    """A worker of its own that said hello; nothing more is asked of it."""
    broker = DirectBroker()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GOVDESK_SECRET", _SECRET)
        patch.setenv("HOME", "/home/" + _SECRET)
        channel: Channel = broker.start_worker()
    received = channel.receive(60)
    assert received is not None
    assert broker.process is not None
    yield broker.process.pid, received[0]
    channel.close()
    broker.stop_worker()


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def test_every_thread_is_behind_the_filter(worker: tuple[int, WorkerHello]) -> None:
    pid, _ = worker
    threads = list(Path(f"/proc/{pid}/task").iterdir())
    assert threads
    for thread in threads:
        status = _status(int(thread.name))
        assert status["Seccomp"] == "2"
        assert int(status["Seccomp_filters"]) >= 1
        assert status["NoNewPrivs"] == "1"


def test_it_holds_its_channel_and_nothing_else(worker: tuple[int, WorkerHello]) -> None:
    pid, _ = worker
    held = {int(path.name): str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()}
    assert [held.pop(stream) for stream in (0, 1, 2)] == ["/dev/null"] * 3
    held = {number: target for number, target in held.items() if target != "/dev/null"}  # its library's own
    assert len(held) == 1
    assert all(target.startswith("socket:[") for target in held.values()), held


def test_its_environment_says_nothing_of_the_session(worker: tuple[int, WorkerHello]) -> None:
    pid, _ = worker
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    names = {entry.split(b"=")[0].decode() for entry in entries if entry}
    assert names <= {"PATH", "LANG", "TZ", "GOMP_SPINCOUNT", "GGML_NO_BACKTRACE", "GLIBC_TUNABLES"} | {
        name for name in names if name.startswith("LC_")
    }
    assert f"GLIBC_TUNABLES={environment.LARGE_PAGES}".encode() in entries
    assert _SECRET.encode() not in b"".join(entries)
    assert _SECRET.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_it_writes_no_file_and_leaves_no_dump(worker: tuple[int, WorkerHello]) -> None:
    pid, _ = worker
    limits = Path(f"/proc/{pid}/limits").read_text()
    for name, most in (("Max core file size", "0"), ("Max file size", "0"), ("Max open files", "64")):
        assert re.search(rf"^{name}\s+{most}\s+{most}\s", limits, re.MULTILINE), limits
    assert Path(f"/proc/{pid}/mem").stat().st_uid == 0  # not dumpable: the kernel owns its memory's file


def test_its_own_self_test_is_whole_and_sound(worker: tuple[int, WorkerHello]) -> None:
    _, hello = worker
    selftest.require_closed(hello.probes)
    with pytest.raises(WallError):
        selftest.require_closed(hello.probes[:-1])


_TRY = """
import ctypes, errno, os, resource, signal, subprocess, sys, threading
from govdesk.hardening import harden
from govdesk.sandbox import landlock, walls
from govdesk.sandbox.walls import Wall

folder, abi = sys.argv[1], int(sys.argv[2])
landlock.abi = lambda: abi
file, ours = os.path.join(folder, "file"), os.path.join(folder, "installation", "module.py")
victim = int(sys.argv[3])
harden()
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
walls.raise_and_prove(Wall.CONFINED, (*walls.readable(), landlock.Rule(walls.Path(folder, "installation"), landlock.READ)))
libc = ctypes.CDLL(None, use_errno=True)

def call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), "call")

def opened(path, flags):
    os.close(os.open(path, flags))

TRY = {
    "truncate": lambda: os.truncate(file, 0),
    "truncate by opening": lambda: opened(file, os.O_WRONLY | os.O_TRUNC),
    "truncate by opening for reading": lambda: opened(ours, os.O_RDONLY | os.O_TRUNC),
    "truncate by opening for nothing": lambda: opened(file, os.O_ACCMODE | os.O_TRUNC),
    "creat": lambda: call(85, file.encode(), 0o600),
    "chmod": lambda: os.chmod(file, 0o666),
    "chmod of what it reads": lambda: os.chmod(ours, 0o666),
    "fchmod": lambda: os.fchmod(os.open(ours, os.O_RDONLY), 0o666),
    "fchmodat2": lambda: call(452, -100, file.encode(), 0o666, 0),
    "chown": lambda: os.chown(file, 1, 1),
    "utime": lambda: os.utime(file, (0, 0)),
    "setxattr": lambda: os.setxattr(file, "user.x", b"1"),
    "listxattr": lambda: os.listxattr(file),
    "read": lambda: opened(file, os.O_RDONLY),
    "write": lambda: opened(file, os.O_WRONLY),
    "make": lambda: opened(file + "2", os.O_WRONLY | os.O_CREAT),
    "unlink": lambda: os.unlink(file),
    "rename": lambda: os.rename(file, file + "2"),
    "link": lambda: os.link(file, file + "2"),
    "mkfifo": lambda: os.mkfifo(file + "2"),
    "mkdir": lambda: os.mkdir(file + "2"),
    "processes": lambda: os.listdir("/proc"),
    "another's memory": lambda: opened(f"/proc/{victim}/mem", os.O_RDONLY),
    "another's environment": lambda: opened(f"/proc/{victim}/environ", os.O_RDONLY),
    "kill": lambda: os.kill(victim, signal.SIGTERM),
    "kill the group": lambda: os.kill(0, 0),
    "kill everybody": lambda: os.kill(-1, 0),
    "tkill": lambda: call(200, victim, 0),
    "tgkill": lambda: call(234, victim, victim, 0),
    "sigqueue": lambda: call(129, victim, 0, None),
    "pidfd_open": lambda: os.pidfd_open(victim),
    "prlimit": lambda: resource.prlimit(victim, resource.RLIMIT_NOFILE),
    "setpriority": lambda: os.setpriority(os.PRIO_PROCESS, victim, 5),
    "sched_setaffinity": lambda: os.sched_setaffinity(victim, {0}),
    "sched_setscheduler": lambda: os.sched_setscheduler(victim, os.SCHED_BATCH, os.sched_param(0)),
    "ioprio_set": lambda: call(251, 1, victim, 0),
    "ptrace": lambda: call(101, 16, victim, 0, 0),
    "process_vm_readv": lambda: call(310, victim, None, 0, None, 0, 0),
    "signals by a descriptor's owner": lambda: __import__("fcntl").fcntl(0, 8, victim),
    "shmget": lambda: call(29, 0x1234, 4096, 0o1666),
    "msgget": lambda: call(68, 0x1234, 0o1666),
    "semget": lambda: call(64, 0x1234, 1, 0o1666),
    "mq_open": lambda: call(240, b"govdesk", 0o102, 0o600, None),
    "inotify": lambda: call(253),
    "fanotify": lambda: call(300, 0, 0),
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "fork": os.fork,
}
for name, attempt in TRY.items():
    try:
        attempt()
        print("open:", name)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES):
            print("not by a wall:", name, error)

resource.prlimit(0, resource.RLIMIT_NOFILE)
resource.prlimit(os.getpid(), resource.RLIMIT_NOFILE)
os.sched_setaffinity(0, os.sched_getaffinity(0))
os.kill(os.getpid(), 0)
open("/dev/null", "w").close()
thread = threading.Thread(target=print, args=("done",)); thread.start(); thread.join()
"""


@pytest.mark.parametrize("abi", sorted({2, landlock.abi()}))
def test_what_a_worker_that_was_taken_over_would_try(tmp_path: Path, abi: int) -> None:
    """Also on a kernel that knows Landlock no further than ABI 2, as Debian 12's."""
    (tmp_path / "file").write_text("content")
    (tmp_path / "installation").mkdir()
    (tmp_path / "installation" / "module.py").write_text("content")
    with subprocess.Popen(["/bin/sleep", "600"]) as victim:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _TRY, str(tmp_path), str(abi), str(victim.pid)],
            capture_output=True, text=True, timeout=60, env={"PATH": "/usr/bin:/bin"}, check=False,
            start_new_session=True,
        )  # fmt: skip
        assert victim.poll() is None
        victim.kill()
    assert done.stdout.splitlines() == ["done"], done.stdout + done.stderr
    assert (tmp_path / "file").read_text() == "content"
    assert (tmp_path / "installation" / "module.py").read_text() == "content"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "installation"]


_WITHOUT_LANDLOCK = """
import os, sys
from govdesk.sandbox import seccomp
code = [seccomp._statement(0x20, 0), *seccomp._answer(444, 95), seccomp._statement(0x06, 0x7FFF0000)]
seccomp.install(b"".join(code))
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""


@pytest.mark.parametrize("role", ["worker", "auditd"])
def test_where_a_wall_cannot_be_had_the_role_refuses_with_5(tmp_path: Path, role: str) -> None:
    """As on a kernel without Landlock; the trusted side tells that from a crash by the exit code."""
    import socket

    ours, theirs = socket.socketpair()
    folder = ["--folder", str(tmp_path / "audit")] if role == "auditd" else []
    with ours:
        done = subprocess.run(
            [sys.executable, "-I", "-c", _WITHOUT_LANDLOCK, *environment.command()[1:],
             "--role", role, "--channel", str(theirs.fileno()), *folder],
            pass_fds=(theirs.fileno(),), env=environment.for_worker(os.environ),
            stderr=subprocess.PIPE, text=True, timeout=60, check=False,
        )  # fmt: skip
        theirs.close()
        assert done.returncode == 5
        assert "Landlock" in done.stderr
        assert ours.recv(1) == b""  # nothing was said before, and nothing opened
    assert not list(tmp_path.glob("audit/*"))
