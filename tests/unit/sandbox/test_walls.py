"""Each wall closes what it must, leaves what its role needs, and a wall that was sabotaged is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from govdesk.sandbox import landlock

_ENTER = """
import sys
from govdesk.sandbox import walls, seccomp, landlock, selftest
from govdesk.sandbox.walls import Wall
"""


@pytest.mark.parametrize("wall", ["BROKER", "WINDOW_CONNECTING", "SEALED", "CONFINED"])
def test_every_channel_of_a_wall_is_refused(isolated, wall: str) -> None:
    rules = "walls.programs()" if wall == "BROKER" else "walls.readable()"
    done = isolated(
        _ENTER
        + f"""
probes = walls.raise_and_prove(Wall.{wall}, {rules})
print(len(probes), all(p.blocked for p in probes))
"""
    )
    assert done.returncode == 0, done.stderr
    count, closed = done.stdout.split()
    assert int(count) >= 11
    assert closed == "True"


_SABOTAGE = {
    "no filter": "seccomp.install = lambda program: None",
    "no landlock": "landlock.restrict = lambda rules, execute_only=False: None",
    "unix left open": "p = seccomp.program; seccomp.program = lambda **k: p(**{**k, 'unix_sockets': True})",
    "exec left open": "p = seccomp.program; seccomp.program = lambda **k: p(**{**k, 'starts_programs': True})",
    "empty filter": "seccomp.program = lambda **k: seccomp._statement(6, 0x7FFF0000)",
    "io_uring left open": "del seccomp.denied.ALWAYS['io_uring_setup']",
    "read rule for /": (
        "r = landlock.restrict; from pathlib import Path;"
        "landlock.restrict = lambda rules, execute_only=False: "
        "r((landlock.Rule(Path('/'), landlock.READ),))"
    ),
    "write rule for /": (
        "r = landlock.restrict; from pathlib import Path;"
        "landlock.restrict = lambda rules, execute_only=False: "
        "r((landlock.Rule(Path('/'), landlock.WRITE),))"
    ),
    "wrong errno": "e = seccomp._answer; seccomp._answer = lambda n, err: e(n, 97)",
    "socket rule lost": "seccomp.SOCKET = 9999",
    "signals left open": "p = seccomp.program; seccomp.program = lambda **k: p(**{**k, 'only_process': None})",
    "attributes left open": "del seccomp.denied.FILES['chmod']",
    "truncation left open": "del seccomp.denied.FILES['truncate']",
    "shared memory left open": "del seccomp.denied.FILES['shmget']",
    "queues left open": "del seccomp.denied.ALWAYS['msgctl']",
}


@pytest.mark.parametrize("how", _SABOTAGE)
def test_a_sabotaged_wall_is_noticed(isolated, how: str) -> None:
    done = isolated(
        _ENTER
        + _SABOTAGE[how]
        + """
from govdesk.errors import WallError
try:
    walls.raise_and_prove(Wall.CONFINED, walls.readable())
except WallError as error:
    print("refused", error.code)
"""
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "refused wall.open"


def test_landlock_alone_refuses_to_truncate_what_it_does_not_list(isolated, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("content")
    done = isolated(
        _ENTER
        + """
import os
landlock.restrict(walls.readable())
try:
    os.truncate(sys.argv[1], 0)
except PermissionError:
    print("refused")
""",
        str(file),
    )
    knows = landlock.abi() >= 3
    assert (done.stdout.strip(), file.read_text()) == (("refused", "content") if knows else ("", "")), (
        done.stderr
    )


def test_the_filter_reaches_threads_that_run_already(isolated) -> None:
    done = isolated(
        _ENTER
        + """
import socket, threading
ready, go = threading.Event(), threading.Event()
def late():
    ready.set(); go.wait()
    try:
        socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    except PermissionError:
        print("refused")
thread = threading.Thread(target=late); thread.start(); ready.wait()
walls.raise_walls(Wall.SEALED); go.set(); thread.join()
"""
    )
    assert done.stdout.strip() == "refused"


def test_the_broker_starts_the_installation_and_nothing_else(isolated) -> None:
    done = isolated(
        _ENTER
        + """
import subprocess
walls.raise_and_prove(Wall.BROKER, walls.programs())
print(subprocess.run([sys.executable, "-I", "-c", "print('ours')"], capture_output=True, text=True).stdout.strip())
for program in ("/bin/sh", "/usr/bin/env", "/bin/cat"):
    try:
        subprocess.run([program], capture_output=True)
        print("started", program)
    except PermissionError:
        print("refused")
"""
    )
    assert done.stdout.split() == ["ours", "refused", "refused", "refused"], done.stderr


def test_threads_work_and_forks_do_not_behind_the_wall(isolated) -> None:
    done = isolated(
        _ENTER
        + """
import os, threading
walls.raise_walls(Wall.SEALED)
thread = threading.Thread(target=print, args=("thread",)); thread.start(); thread.join()
try:
    os.fork()
except PermissionError:
    print("no fork")
"""
    )
    assert done.stdout.split("\n")[:2] == ["thread", "no fork"]


def test_another_processor_table_is_killed(isolated) -> None:
    done = isolated(
        _ENTER
        + """
import ctypes
walls.raise_walls(Wall.SEALED)
ctypes.CDLL(None).syscall(0x40000000 | 39)  # getpid by the x32 table
print("alive")
"""
    )
    assert "alive" not in done.stdout
    assert done.returncode == -31  # SIGSYS


@pytest.mark.parametrize("role", ["govdesk.app.session", "govdesk.app.writer", "govdesk.worker.main"])
def test_no_role_loads_native_parsers_before_its_walls(isolated, role: str) -> None:
    done = isolated(
        f"""
import sys
import govdesk.__main__, {role}
natives = ("sqlcipher3", "sqlite_utils", "cryptography", "llama_cpp", "jinja2", "PySide6")
print([name for name in natives if name in sys.modules])
"""
    )
    assert done.stdout.strip() == "[]", done.stderr
