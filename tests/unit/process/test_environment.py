"""The environment of GovDesk's processes is an allow-list; displays over a network are refused."""

from __future__ import annotations

import os

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
