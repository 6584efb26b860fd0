"""What the shell's process refuses before anything is started, and the home it gives to the sample question."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.audit_logs import build
from tests.commands import GOVDESK, govdesk, records


def test_the_sample_question_never_touches_a_profile(tmp_path: Path) -> None:
    """Its passphrase is known to nobody: in a real home it would make a profile that cannot be opened."""
    home = tmp_path / "home"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = govdesk(home, "sample", extra={"TMPDIR": str(temporary)})
    assert done.returncode == 0, done.stderr
    assert "turn.intent" in done.stdout
    assert not home.exists()
    assert list(temporary.iterdir()) == [], "removed at the end"


@pytest.mark.parametrize("number", ["77", "-1", "99999999999"])
def test_a_descriptor_that_is_not_open_is_wrong_usage_and_no_attempt(tmp_path: Path, number: str) -> None:
    for command in (("init",), ("ask", "Hello")):
        done = govdesk(tmp_path / "home", *command, f"--passphrase-fd={number}")
        assert done.returncode == 3, done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "home").exists()


def test_a_descriptor_whose_number_govdesk_would_use_itself(tmp_path: Path) -> None:
    """Closed 3: the lock, a channel or a log may get that number; none of them is a passphrase."""
    home = tmp_path / "home"
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" 3<&-', "sh", *GOVDESK, "init", "--passphrase-fd", "3"],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "GOVDESK_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 3
    assert "Descriptor 3 is not open" in done.stderr
    assert not home.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="another account's folder can be made by root only")
def test_a_home_that_may_not_be_looked_into_is_explained(tmp_path: Path) -> None:
    """Without root's power over files, which the tests may have."""
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0)
    os.chown(home, 65534, 65534)
    give_up = ["/usr/bin/setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    if not Path(give_up[0]).exists():
        pytest.skip("needs setpriv")
    for command in (("redact", "-"), ("ask", "Hello"), ("init",)):
        done = govdesk(home, *command, before=tuple(give_up))
        assert done.returncode == 5, done.stderr
        assert "Traceback" not in done.stderr


def test_wrong_seeds(tmp_path: Path) -> None:
    done = govdesk(tmp_path / "home", "ask", "--seed", "9" * 23, "Hello")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    assert records(tmp_path / "home") == []


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    """`govdesk audit show | head -1`"""
    build(tmp_path / "audit", 3)
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*GOVDESK, "audit", "show", str(tmp_path / "audit")],
            stdout=writing,
            stderr=subprocess.PIPE,
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
