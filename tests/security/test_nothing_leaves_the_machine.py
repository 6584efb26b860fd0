"""Promise: nothing leaves the machine. A whole session is traced, and no network socket ever comes to be."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.commands import GOVDESK, PASSPHRASE, govdesk, records

_NETWORK_CALLS = "socket,socketpair,connect,bind,listen,accept,accept4,sendto,io_uring_setup,execve"


def _traced_window(home: Path, strace: str, trace: Path) -> str:
    """The window, from its start until its second stage is up, then ended as a desktop would."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(home.parent),
        "GOVDESK_HOME": str(home),
        "GOVDESK_PLATFORM": "offscreen",
        "XDG_RUNTIME_DIR": str(home.parent),
    }
    process = subprocess.Popen(
        [strace, "-f", "-o", str(trace), "-e", f"trace={_NETWORK_CALLS}", *GOVDESK], env=environment
    )
    try:
        deadline = time.monotonic() + 120
        while not any(record["object"] == "window, sealed" for record in records(home)):
            assert process.poll() is None, "the window ended"
            assert time.monotonic() < deadline, "the window's second stage did not come up"
            time.sleep(0.2)
        broker = int(trace.read_text(errors="replace").split(maxsplit=1)[0])
        os.kill(broker, signal.SIGTERM)
        process.wait(60)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    return trace.read_text(errors="replace")


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A session from the first command to the last, under `strace -f`: init, then a turn; the trace."""
    strace = shutil.which("strace")
    assert strace, "strace is missing: run `make test`, which installs it or prints the line to type"
    folder = tmp_path_factory.mktemp("traced")
    home = folder / "home"
    traces = []
    for number, arguments in enumerate(
        (("init",), ("ask", "--max-tokens", "24", "--json", "What is a harbour?"))
    ):
        trace = folder / f"trace-{number}"
        done = govdesk(
            home,
            *arguments,
            passphrase=PASSPHRASE,
            before=(strace, "-f", "-o", str(trace), "-e", f"trace={_NETWORK_CALLS}"),
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        traces.append(trace.read_text(errors="replace"))
    traces.append(_traced_window(home, strace, folder / "trace-window"))
    return home, "\n".join(traces)


def _succeeded(trace: str, call: str) -> list[str]:
    return [
        line
        for line in trace.splitlines()
        if re.search(rf"\b{call}\(", line) and not re.search(r"= -1 |= \?", line)
    ]


def test_no_socket_but_unix_ones_is_ever_made(traced: tuple[Path, str]) -> None:
    _, trace = traced
    made = _succeeded(trace, "socket") + _succeeded(trace, "socketpair")
    assert made, "the trace saw nothing"
    assert [line for line in made if not re.search(r"\((AF_UNIX|AF_LOCAL)\b", line)] == []


def test_nothing_connects_or_listens_but_to_unix_sockets(traced: tuple[Path, str]) -> None:
    _, trace = traced
    assert _succeeded(trace, "io_uring_setup") == []
    # the one socket that is listened on says "raise the window" and lies in the runtime folder
    assert [line for line in _succeeded(trace, "bind") if "AF_UNIX" not in line or ".sock" not in line] == []
    assert len(_succeeded(trace, "listen")) <= 1
    assert [line for line in _succeeded(trace, "connect") if "AF_UNIX" not in line] == []


@pytest.mark.parametrize(
    "family", ["AF_INET,", "AF_INET6", "AF_NETLINK", "AF_PACKET", "AF_VSOCK", "AF_BLUETOOTH"]
)
def test_the_self_tests_own_attempts_are_seen_to_fail(traced: tuple[Path, str], family: str) -> None:
    _, trace = traced
    tried = [line for line in trace.splitlines() if f"socket({family}" in line]
    assert len(tried) >= 4, f"the self-test did not try {family} in every process"
    assert all("EPERM" in line for line in tried)


def test_only_the_installation_is_executed(traced: tuple[Path, str]) -> None:
    _, trace = traced
    programs = {re.search(r'execve\("([^"]+)"', line) for line in _succeeded(trace, "execve")}
    names = {Path(found.group(1)).name for found in programs if found}
    assert all(name.startswith("python") for name in names), names


def test_the_self_tests_are_in_the_audit_log(traced: tuple[Path, str]) -> None:
    home, _ = traced
    tests = [record for record in records(home) if record["event"] == "self-test"]
    assert {record["object"] for record in tests} == {
        "broker", "terminal", "worker", "auditd", "window", "window, sealed",
    }  # fmt: skip
    for record in tests:
        fields = record["fields"]
        assert isinstance(fields, dict)
        assert all(blocked == 1 for blocked in fields["channels"].values())
        assert len(fields["channels"]) >= 11
