import re
import shutil
import subprocess
from pathlib import Path

import PySide6
import pytest

from installer.setup import machine
from installer.setup.machine import Missing
from installer.setup.report import SetupError

LISTING = """588 libs found in cache `/etc/ld.so.cache'
\tlibGL.so.1 (libc6,x86-64) => /lib/x86_64-linux-gnu/libGL.so.1
\tlibEGL.so.1 (libc6) => /lib/i386-linux-gnu/libEGL.so.1
\tlibc.so.6 (libc6,x86-64, OS ABI: Linux 3.2.0) => /lib/x86_64-linux-gnu/libc.so.6
\tlibX11.so.6 (libc6,AArch64) => /lib/aarch64-linux-gnu/libX11.so.6
"""
QT = Path(PySide6.__file__).parent / "Qt"
QT_NAMES = ("Core", "Gui", "Widgets", "DBus", "Svg", "OpenGL", "XcbQpa", "WaylandClient")
# What the window loads: its libraries, and the plugins of the platforms it can be on.
LOADED = (
    *(f"lib/libQt6{name}.so.6" for name in QT_NAMES),
    *(f"plugins/platforms/libq{name}.so" for name in ("xcb", "offscreen", "wayland")),
    "plugins/xcbglintegrations/libqxcb-glx-integration.so",
    "plugins/xcbglintegrations/libqxcb-egl-integration.so",
    "plugins/wayland-graphics-integration-client/libqt-plugin-wayland-egl.so",
    "plugins/iconengines/libqsvgicon.so",
    "plugins/imageformats/libqsvg.so",
)
# In every Debian root, or brought by g++ and Python, or by PySide6 itself.
BASE = re.compile(r"ld-linux.*|lib(c|m|dl|pthread|rt|gcc_s|stdc\+\+|z|zstd|icu.*|Qt6.*)\.so\.\d+")


def test_only_libraries_of_this_processor_count():
    assert machine.sonames_in(LISTING, "x86_64") == {"libGL.so.1", "libc.so.6"}
    assert machine.sonames_in(LISTING, "aarch64") == {"libX11.so.6"}
    assert machine.sonames_in("", "x86_64") == frozenset()


def test_the_table_names_every_library_that_the_pinned_qt_needs_and_no_other():
    readelf = shutil.which("readelf")
    assert readelf, "binutils comes with gcc"
    needed = set()
    for name in LOADED:
        shown = subprocess.run([readelf, "-d", QT / name], capture_output=True, text=True, check=True).stdout
        needed |= set(re.findall(r"\(NEEDED\).*\[(.+)\]", shown))
    assert {name for name in needed if not BASE.fullmatch(name)} == set(machine.QT_LIBRARIES)


def test_a_library_outside_the_loaders_cache_counts_when_it_loads():
    needed = {"libc.so.6": "libc6", "libno-such.so.1": "libno-such1"}
    assert machine.missing_libraries(needed, frozenset()) == [Missing("libno-such.so.1", "libno-such1")]
    assert machine.missing_libraries(needed, frozenset(needed), lambda _: False) == []


def test_missing_programs_follow_the_named_compiler(monkeypatch):
    monkeypatch.setenv("CC", "no-such-cc -m64")
    assert machine.missing_programs({"cc": "gcc"}) == [Missing("cc", "gcc")]
    monkeypatch.setenv("CC", "sh -c")
    assert machine.missing_programs({"cc": "gcc"}) == []


def test_a_font_is_looked_for_in_all_folders(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b" / "deep").mkdir(parents=True)
    folders = (str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "none"))
    assert machine.missing_font(folders) == [Missing("a font", "fonts-dejavu-core")]
    (tmp_path / "b" / "deep" / "x.ttf").touch()
    assert machine.missing_font(folders) == []


def test_another_system_is_refused_in_words():
    machine.require_platform("linux")
    with pytest.raises(SetupError, match="this is darwin"):
        machine.require_platform("darwin")


class Apt:
    """A stand-in program for apt-get: notes its words, and brings the library when it is to."""

    def __init__(self, folder, body):
        self.words = folder / "words"
        self.path = folder / "apt-get"
        self.path.write_text(f'#!/bin/sh\necho "$DEBIAN_FRONTEND: $@" >> {self.words}\n{body}\n')
        self.path.chmod(0o755)


LACK = [Missing("libA.so.1", "liba1"), Missing("libB.so.1", "liba1"), Missing("strace", "strace")]


def test_nothing_missing_runs_nothing(commands, report, said):
    machine.provide(list, commands, report, root=True, apt="/no/such/apt-get")
    assert said.getvalue() == ""


def test_an_ordinary_person_gets_one_line_to_type(commands, report, tmp_path):
    apt = Apt(tmp_path, "exit 0")
    with pytest.raises(SetupError) as caught:
        machine.provide(lambda: LACK, commands, report, root=False, apt=str(apt.path))
    lines = [line for line in caught.value.todo.splitlines() if "sudo" in line]
    assert lines == ["    sudo apt-get install -y --no-install-recommends liba1 strace"]
    assert caught.value.exit_code == 5
    assert "libA.so.1, libB.so.1, strace" in caught.value.what
    assert not apt.words.exists()


def test_root_installs_only_what_is_missing_after_updating_the_lists(commands, report, tmp_path):
    apt = Apt(tmp_path, f'case "$*" in *install*) touch {tmp_path}/there;; esac')
    look = lambda: [] if (tmp_path / "there").exists() else LACK  # noqa: E731
    machine.provide(look, commands, report, root=True, apt=str(apt.path))
    update, install = apt.words.read_text().splitlines()
    assert update.startswith("noninteractive: ")
    assert "update" in update.split()
    assert install.startswith("noninteractive: ")
    assert "install -y --no-install-recommends liba1 strace" in install


def test_lists_that_cannot_be_updated_do_not_stop_an_installation(commands, report, said, tmp_path):
    apt = Apt(tmp_path, f'case "$*" in *update*) exit 100;; esac; touch {tmp_path}/there')
    look = lambda: [] if (tmp_path / "there").exists() else LACK  # noqa: E731
    machine.provide(look, commands, report, root=True, apt=str(apt.path))
    assert "apt-get update failed" in said.getvalue()


def test_an_installation_that_fails_says_the_line(commands, report, tmp_path):
    apt = Apt(tmp_path, 'echo "E: no such package"; exit 100')
    with pytest.raises(SetupError, match="E: no such package") as caught:
        machine.provide(lambda: LACK, commands, report, root=True, apt=str(apt.path))
    assert "apt-get install -y --no-install-recommends liba1 strace" in caught.value.todo


def test_an_installation_that_did_not_help_is_not_taken_for_one(commands, report, tmp_path):
    apt = Apt(tmp_path, "exit 0")
    with pytest.raises(SetupError, match=r"still missing: libA\.so\.1"):
        machine.provide(lambda: LACK, commands, report, root=True, apt=str(apt.path))


def test_without_apt_the_names_are_said(commands, report):
    with pytest.raises(SetupError, match=r"lacks: libA\.so\.1") as caught:
        machine.provide(lambda: LACK, commands, report, root=True, apt=None)
    assert "liba1 strace" in caught.value.todo
