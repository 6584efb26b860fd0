"""A clean start: an environment from an allow-list, no unknown descriptors, an isolated interpreter.

One variable such as OPENSSL_CONF loads any library into the process with the keys; so nothing is
kept that is not named here.
"""

from __future__ import annotations

import os
import re
import socket
import stat
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from govdesk.errors import WallError

_KEPT = frozenset({
    "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TERM", "COLUMNS", "LINES", "NO_COLOR",
    "DISPLAY", "XAUTHORITY", "WAYLAND_DISPLAY", "XDG_RUNTIME_DIR", "XDG_SESSION_TYPE", "XDG_CURRENT_DESKTOP",
    "XDG_DATA_HOME", "DBUS_SESSION_BUS_ADDRESS", "GOVDESK_HOME", "GOVDESK_PLATFORM",
})  # fmt: skip
_KEPT_PREFIX = "LC_"
_INPUT_METHODS = "ibus|fcitx5?|compose|none|xim"
_KEPT_IF = {
    "QT_SCALE_FACTOR": re.compile(r"(?:0?\.[5-9]\d{0,4}|[123](?:\.\d{1,5})?|4(?:\.0{1,5})?)"),
    "QT_IM_MODULE": re.compile(_INPUT_METHODS),
    "XMODIFIERS": re.compile(f"@im=(?:{_INPUT_METHODS})"),
}
"""What people need to read and write, in values that name no file: a scale from 0.5 to 4, an input method."""
_WORKER_KEPT = frozenset({"LANG", "TZ"})
_PATH = "/usr/bin:/bin"
_NO_SHADER_CACHES = {
    "MESA_SHADER_CACHE_DISABLE": "true",
    "__GL_SHADER_DISK_CACHE": "0",
    "CUDA_CACHE_DISABLE": "1",
}
BOUNDED_SPIN = "100000"
"""GOMP_SPINCOUNT for the worker: spin a little, then sleep (resources/docs/decisions)."""

LARGE_PAGES = "glibc.malloc.hugetlb=1"
"""GLIBC_TUNABLES for the worker: large pages for large blocks, where the kernel gives them on request."""


def clean(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment that GovDesk's own processes get."""
    kept = {
        name: value
        for name, value in environment.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIX) or _allowed(name, value)
    }
    kept["PATH"] = _PATH
    return kept


def _allowed(name: str, value: str) -> bool:
    allowed = _KEPT_IF.get(name)
    return allowed is not None and allowed.fullmatch(value) is not None


def for_worker(environment: Mapping[str, str], *, graphics: bool = False) -> dict[str, str]:
    """The environment of worker and audit writer: no home, no display, threads that spin a bounded time.

    `graphics`: the worker may use a graphics card, whose driver is to keep nothing on the disk.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if name in _WORKER_KEPT or name.startswith(_KEPT_PREFIX)
    }
    kept["PATH"] = _PATH
    kept["GOMP_SPINCOUNT"] = BOUNDED_SPIN
    kept["GLIBC_TUNABLES"] = LARGE_PAGES
    kept["GGML_NO_BACKTRACE"] = "1"  # its crash handler would start a debugger
    if graphics:
        kept |= _NO_SHADER_CACHES
    return kept


def restart_clean(arguments: list[str]) -> None:
    """Re-execute with a clean environment and an isolated interpreter; return when both hold already."""
    wanted = clean(os.environ)
    isolated = bool(sys.flags.isolated)
    if isolated and dict(os.environ) == wanted:
        return
    os.execve(sys.executable, [*command(), *arguments], wanted)  # noqa: S606


def command() -> list[str]:
    """How every role is started: this interpreter, isolated (no PYTHON*, no user site, no current folder)."""
    return [sys.executable, "-I", "-m", "govdesk"]


def close_unknown(known: frozenset[int]) -> None:
    """Close every descriptor that is not standard input, output, error or known.

    Inherited descriptors survive any filter, so this comes before everything else.
    """
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208  names are wanted, not paths
        descriptor = int(name)
        if descriptor > 2 and descriptor not in known:
            try:
                os.close(descriptor)
            except OSError:
                continue  # the one that listed the folder


def require_no_network(descriptors: Iterable[int]) -> None:
    """Filters leave descriptors that are open already alone: what was typed may come from no network.

    Raises:
        WallError: one of the descriptors is a socket that is not local.
    """
    for descriptor in descriptors:
        try:
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
        except OSError:
            continue  # not open
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, 0, os.dup(descriptor)) as inherited:
            family = inherited.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN)
        if family != socket.AF_UNIX:
            name = {0: "Standard input", 1: "Standard output", 2: "Standard error"}
            raise WallError(
                f"{name.get(descriptor, f'Descriptor {descriptor}')} is a connection to a network.",
                code="wall.network-descriptor",
                kept="GovDesk did not start; nothing was read or written.",
                todo="Start it from a terminal of this workstation, with files or pipes.",
            )


def require_local_display(environment: Mapping[str, str]) -> None:
    """A display reached over TCP would carry the screen over a network.

    Raises:
        WallError: DISPLAY names a host.
    """
    display = environment.get("DISPLAY", "")
    host = display.partition(":")[0]
    if display and host not in {"", "unix"}:
        raise WallError(
            f"The display {display} is reached over a network (as with ssh -X).",
            code="wall.remote-display",
            kept="GovDesk did not start.",
            todo="Sit at the workstation, or use `govdesk ask` in the terminal.",
        )


def display_available(environment: Mapping[str, str]) -> bool:
    """True when there is a screen to open a window on."""
    if environment.get("GOVDESK_PLATFORM") == "offscreen":
        return True
    wayland = environment.get("WAYLAND_DISPLAY")
    runtime = environment.get("XDG_RUNTIME_DIR")
    if wayland and (Path(wayland).is_absolute() or (runtime and (Path(runtime) / wayland).exists())):
        return True
    return bool(environment.get("DISPLAY"))
