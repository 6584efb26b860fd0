"""The machine has what GovDesk needs from it, or the person is told the one line that brings it.

Looks for the libraries and programs themselves, never for package names: a library that somebody
built is as good. Names of packages (Debian's) only appear in what to install.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from installer.setup.commands import Commands
from installer.setup.report import Report, SetupError

LDCONFIG = Path("/sbin/ldconfig")
FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts")
FONT_ENDINGS = (".ttf", ".otf", ".ttc", ".pfb")

# What Qt's own libraries and the xcb, wayland and offscreen plugins of the pinned PySide6 name as
# NEEDED and do not bring along; tests/unit/installer/test_setup_machine.py holds it to that.
QT_LIBRARIES: Mapping[str, str] = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libX11-xcb.so.1": "libx11-xcb1",
    "libX11.so.6": "libx11-6",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libwayland-client.so.0": "libwayland-client0",
    "libwayland-cursor.so.0": "libwayland-cursor0",
    "libwayland-egl.so.1": "libwayland-egl1",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-glx.so.0": "libxcb-glx0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-render.so.0": "libxcb-render0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-shm.so.0": "libxcb-shm0",
    "libxcb-sync.so.1": "libxcb-sync1",
    "libxcb-util.so.1": "libxcb-util1",
    "libxcb-xfixes.so.0": "libxcb-xfixes0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxcb.so.1": "libxcb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxkbcommon.so.0": "libxkbcommon0",
}
BUILD_PROGRAMS: Mapping[str, str] = {"cc": "gcc", "c++": "g++"}
TEST_PROGRAMS: Mapping[str, str] = {"strace": "strace"}


@dataclass(frozen=True, slots=True)
class Missing:
    """One thing that is not there: its own name, and the Debian package that has it."""

    name: str
    package: str


def require_platform(system: str = sys.platform) -> None:
    """Only Linux has the walls that GovDesk stands on.

    Raises:
        SetupError: another system.
    """
    if system != "linux":
        raise SetupError(f"GovDesk runs on Linux; this is {system}.", todo="Use a Linux machine.")


def known_libraries(commands: Commands) -> frozenset[str]:
    """Sonames that the dynamic loader's cache knows for this processor."""
    return sonames_in(commands.answer([LDCONFIG, "-p"]) or "", platform.machine())


def sonames_in(listing: str, machine: str) -> frozenset[str]:
    """Sonames in `ldconfig -p`, without those of another processor's libraries."""
    tag = {"x86_64": "x86-64", "aarch64": "AArch64"}.get(machine, "")
    found = set()
    for line in listing.splitlines():
        name, arrow, _ = line.strip().partition(" => ")
        soname, _, kind = name.partition(" (")
        if arrow and tag in kind:
            found.add(soname)
    return frozenset(found)


def loads(soname: str) -> bool:
    """True when the dynamic loader finds the library, wherever it is."""
    try:
        ctypes.CDLL(soname)
    except OSError:
        return False
    return True


def missing_libraries(
    needed: Mapping[str, str], cache: frozenset[str], loadable: Callable[[str], bool] = loads
) -> list[Missing]:
    """Libraries that are neither in the loader's cache nor found by asking the loader."""
    return [
        Missing(soname, package)
        for soname, package in needed.items()
        if soname not in cache and not loadable(soname)
    ]


def missing_programs(needed: Mapping[str, str]) -> list[Missing]:
    """Programs that are not on the PATH; CC and CXX name other compilers."""
    chosen = {"cc": os.environ.get("CC") or "cc", "c++": os.environ.get("CXX") or "c++"}
    return [
        Missing(program, package)
        for program, package in needed.items()
        if shutil.which(chosen.get(program, program).split()[0]) is None
    ]


def missing_venv_module() -> list[Missing]:
    """Debian ships Python without the part that `python3 -m venv` needs."""
    there = importlib.util.find_spec("ensurepip") and importlib.util.find_spec("venv")
    return [] if there else [Missing("the Python module ensurepip", "python3-venv")]


def missing_font(folders: Iterable[str] = FONT_FOLDERS) -> list[Missing]:
    """A window without any font shows boxes."""
    for folder in folders:
        for _, _, names in os.walk(Path(folder).expanduser()):
            if any(name.endswith(FONT_ENDINGS) for name in names):
                return []
    return [Missing("a font", "fonts-dejavu-core")]


def install_line(missing: Iterable[Missing]) -> list[str]:
    """The packages' installation as a list of words, each package once."""
    packages = sorted({item.package for item in missing})
    return ["apt-get", "install", "-y", "--no-install-recommends", *packages]


def provide(
    look: Callable[[], list[Missing]], commands: Commands, report: Report, *, root: bool, apt: str | None
) -> None:
    """Install what is missing when we may, else say the one line to type.

    Args:
        look: finds what is missing now.
        commands: runs apt-get.
        report: tells the person.
        root: whether we may install.
        apt: where apt-get is, None where there is none.

    Raises:
        SetupError: something is missing and could not be, or may not be, installed.
    """
    missing = look()
    if not missing:
        return
    names = ", ".join(item.name for item in missing)
    line = install_line(missing)
    if apt is None:
        raise SetupError(
            f"This machine lacks: {names}.",
            todo="Install them with your system's package manager (Debian calls the packages "
            f"{' '.join(line[4:])}), then run the same command again.",
        )
    if not root:
        raise SetupError(
            f"This machine lacks: {names}.",
            todo=f"Type this one line, then run the same command again:\n\n    sudo {' '.join(line)}\n",
        )
    with report.step(f"install {len(line) - 4} system packages"):
        quiet = Commands(report, commands.log, {**commands.environment, "DEBIAN_FRONTEND": "noninteractive"})
        wait = ["-o", "DPkg::Lock::Timeout=300"]
        try:
            quiet.run([apt, *wait, "update", "-q"], failed="apt-get update failed", summary=apt_summary)
        except SetupError as error:
            report.say(f"  {error.what.splitlines()[0]}; going on with the package lists that are there")
        quiet.run(
            [apt, *wait, *line[1:], "-q"],
            failed="The system packages could not be installed",
            todo=f"Install them yourself, then run the same command again:\n\n    {' '.join(line)}\n",
            summary=apt_summary,
        )
    still = look()
    if still:
        raise SetupError(
            "Installed what Debian calls "
            f"{' '.join(line[4:])}, and still missing: {', '.join(item.name for item in still)}.",
            todo="Look into the log of the set-up.",
        )


def apt_summary(text: str) -> str | None:
    """The package that apt-get is at."""
    words = text.split()
    if len(words) > 1 and words[0] in {"Unpacking", "Setting"}:
        return f"{words[0].lower()} {words[2] if words[0] == 'Setting' else words[1]}"
    return "reading package lists" if text.startswith("Reading package lists") else None
