"""The environment of GovDesk's processes is an allow-list; displays over a network are refused."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from govdesk.errors import WallError
from govdesk.process import environment


@pytest.mark.parametrize(
    "name",
    [
        "OPENSSL_CONF", "LD_PRELOAD", "LD_LIBRARY_PATH", "QT_PLUGIN_PATH", "PYTHONPATH", "PYTHONSTARTUP",
        "GCONV_PATH", "FONTCONFIG_FILE", "VK_ICD_FILENAMES", "GGML_BACKEND_PATH", "LLAMA_CPP_LIB_PATH",
        "SQLITE_TMPDIR", "http_proxy", "QT_QPA_PLATFORM", "GOMP_SPINCOUNT", "MALLOC_CONF",
    ],
)  # fmt: skip
def test_what_steers_a_library_is_dropped(name: str) -> None:
    given = {name: "x", "HOME": "/home/a", "LC_ALL": "C.UTF-8"}
    assert name not in environment.clean(given) or environment.clean(given)[name] != "x"
    assert environment.for_worker(given).get(name) != "x"


def test_what_a_person_needs_is_kept() -> None:
    kept = environment.clean({"HOME": "/home/a", "DISPLAY": ":0", "LC_ALL": "C.UTF-8", "PATH": "/evil"})
    assert kept == {"HOME": "/home/a", "DISPLAY": ":0", "LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"}
    assert "HOME" not in environment.for_worker({"HOME": "/home/a"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("QT_SCALE_FACTOR", "0.5"), ("QT_SCALE_FACTOR", "1"), ("QT_SCALE_FACTOR", "1.25"),
        ("QT_SCALE_FACTOR", "2.0"), ("QT_SCALE_FACTOR", "4"), ("XMODIFIERS", "@im=ibus"),
        ("XMODIFIERS", "@im=fcitx"), ("XMODIFIERS", "@im=none"), ("QT_IM_MODULE", "ibus"),
        ("QT_IM_MODULE", "fcitx5"), ("QT_IM_MODULE", "compose"),
    ],
)  # fmt: skip
def test_a_scale_and_an_input_method_are_kept(name: str, value: str) -> None:
    assert environment.clean({name: value})[name] == value
    assert name not in environment.for_worker({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("QT_SCALE_FACTOR", "0.4"), ("QT_SCALE_FACTOR", "4.5"), ("QT_SCALE_FACTOR", "10"), ("QT_SCALE_FACTOR", "-1"),
        ("QT_SCALE_FACTOR", "nan"), ("QT_SCALE_FACTOR", "1e1"), ("QT_SCALE_FACTOR", ""), ("QT_SCALE_FACTOR", "2\n"),
        ("XMODIFIERS", "@im=/tmp/evil"), ("XMODIFIERS", "@im=ibus@x=y"), ("QT_IM_MODULE", "../../evil"),
        ("QT_IM_MODULE", "ibus;evil"), ("QT_IM_MODULE", "evil"), ("QT_PLUGIN_PATH", "ibus"),
    ],
)  # fmt: skip
def test_any_other_value_of_theirs_is_dropped(name: str, value: str) -> None:
    assert name not in environment.clean({name: value})


def test_cleaning_twice_changes_nothing() -> None:
    once = environment.clean(os.environ)
    assert environment.clean(once) == once


def test_a_display_over_a_network_is_refused() -> None:
    environment.require_local_display({"DISPLAY": ":0"})
    environment.require_local_display({"DISPLAY": "unix:0"})
    for display in ("localhost:10.0", "somewhere:0", "10.0.0.1:0"):
        with pytest.raises(WallError):
            environment.require_local_display({"DISPLAY": display})


def test_a_start_in_a_strange_environment_is_done_again_in_a_clean_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[tuple[str, list[str], dict[str, str]]] = []
    monkeypatch.setattr(os, "execve", lambda *given: started.append(given))
    monkeypatch.setenv("OPENSSL_CONF", "/evil.cnf")
    environment.restart_clean(["ask", "x"])
    ((program, arguments, environ),) = started
    assert program == sys.executable
    assert arguments == [sys.executable, "-I", "-m", "govdesk", "ask", "x"]
    assert environ == environment.clean(os.environ)
    assert "OPENSSL_CONF" not in environ


def test_a_clean_start_is_not_done_twice(isolated) -> None:
    done = isolated(
        """
import os
import socket
import subprocess
import sys
from govdesk.process import environment
wanted = environment.clean(os.environ)
os.environ.clear(); os.environ.update(wanted)
os.execve = lambda *given: print("again")
environment.restart_clean([])
print("once")
"""
    )
    assert done.stdout.split() == ["once"], done.stderr


def test_unknown_descriptors_are_closed(isolated) -> None:
    done = isolated(
        """
import os
import socket
import subprocess
import sys
from govdesk.process.environment import close_unknown
known, unknown = os.open("/dev/null", os.O_RDONLY), os.open("/dev/null", os.O_RDONLY)
close_unknown(frozenset({known}))
for descriptor in (0, 1, 2, known, unknown):
    try:
        os.fstat(descriptor); print("open")
    except OSError:
        print("closed")
"""
    )
    assert done.stdout.split() == ["open", "open", "open", "open", "closed"], done.stderr


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK])
def test_a_network_socket_among_the_descriptors_is_refused(family: int) -> None:
    with socket.socket(family, socket.SOCK_DGRAM) as stranger, pytest.raises(WallError) as raised:
        environment.require_no_network((0, 1, 2, stranger.fileno()))
    assert raised.value.exit_code == 5
    assert raised.value.code == "wall.network-descriptor"


def test_files_pipes_and_local_sockets_are_fine() -> None:
    left, right = socket.socketpair()
    reading, writing = os.pipe()
    environment.require_no_network((left.fileno(), right.fileno(), reading, writing, 9999))
    assert left.fileno() > 0
    os.fstat(left.fileno())  # looking did not close it
    left.close()
    right.close()
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("stream", [0, 1, 2])
def test_the_command_refuses_a_network_as_a_standard_stream(stream: int) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as mine,
    ):
        theirs, _ = server.accept()
        with theirs:
            streams = {0: subprocess.DEVNULL, 1: subprocess.PIPE, 2: subprocess.PIPE} | {
                stream: theirs.fileno()
            }
            done = subprocess.run(
                [sys.executable, "-m", "govdesk", "policy", "show"],
                stdin=streams[0], stdout=streams[1], stderr=streams[2],
                env={"PATH": "/usr/bin:/bin"}, check=False,
            )  # fmt: skip
        assert done.returncode == 5
        if stream != 2:
            assert b"connection to a network" in done.stderr
        if stream == 1:
            assert mine.recv(10) == b""


def test_a_graphics_driver_keeps_nothing_on_the_disk() -> None:
    plain, graphics = environment.for_worker({}), environment.for_worker({}, graphics=True)
    assert graphics.items() - plain.items() == {
        ("MESA_SHADER_CACHE_DISABLE", "true"), ("__GL_SHADER_DISK_CACHE", "0"), ("CUDA_CACHE_DISABLE", "1"),
    }  # fmt: skip
    for name in ("GGML_VK_VISIBLE_DEVICES", "VK_ICD_FILENAMES", "VK_LAYER_PATH", "CUDA_VISIBLE_DEVICES"):
        assert name not in environment.for_worker({name: "x"}, graphics=True)
