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


def test_cleaning_twice_changes_nothing() -> None:
    once = environment.clean(os.environ)
    assert environment.clean(once) == once


def test_a_display_over_a_network_is_refused() -> None:
    environment.require_local_display({"DISPLAY": ":0"})
    environment.require_local_display({"DISPLAY": "unix:0"})
    for display in ("localhost:10.0", "somewhere:0", "10.0.0.1:0"):
        with pytest.raises(WallError):
            environment.require_local_display({"DISPLAY": display})
