"""Where things are: one folder, for its owner only, and words for every way it cannot be used."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from govdesk import config
from govdesk.config import Profile
from govdesk.errors import HomeError


@pytest.mark.parametrize(
    ("environment", "home"),
    [
        ({"GOVDESK_HOME": "/a/b", "XDG_DATA_HOME": "/c", "HOME": "/d"}, "/a/b"),
        ({"GOVDESK_HOME": "", "XDG_DATA_HOME": "/c", "HOME": "/d"}, "/c/govdesk"),
        ({"XDG_DATA_HOME": "relative", "HOME": "/d"}, "/d/.local/share/govdesk"),
        ({"HOME": "/d"}, "/d/.local/share/govdesk"),
    ],
)
def test_the_home_that_the_environment_names(environment: dict[str, str], home: str) -> None:
    assert config.profile(environment).home == Path(home)


def test_no_home_is_said() -> None:
    with pytest.raises(HomeError):
        config.profile({})


def test_every_part_is_inside(tmp_path: Path) -> None:
    profile = Profile(tmp_path)
    parts = [getattr(profile, name) for name in dir(Profile) if isinstance(getattr(Profile, name), property)]
    paths = [part for part in parts if isinstance(part, Path)]
    assert len(set(paths)) == len(paths) >= 7
    assert all(path.parent == tmp_path for path in paths)


def test_the_folder_is_for_its_owner_only(tmp_path: Path) -> None:
    profile = Profile(tmp_path / "a" / "home")
    profile.create()
    assert stat.S_IMODE(profile.home.stat().st_mode) == 0o700
    profile.home.chmod(0o755)
    profile.create()
    assert stat.S_IMODE(profile.home.stat().st_mode) == 0o700


def test_a_profile_exists_once_its_keys_have_their_name(tmp_path: Path) -> None:
    profile = Profile(tmp_path / "home")
    assert not profile.exists
    profile.create()
    profile.unfinished_key_slots.write_text("{}")
    profile.database.write_text("")
    assert not profile.exists
    profile.key_slots.write_text("{}")
    assert profile.exists


def test_a_file_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert not Profile(tmp_path / "file").exists
    for home in (tmp_path / "file", tmp_path / "file" / "home"):
        with pytest.raises(HomeError):
            Profile(home).create()


# As somebody without root's power over files: the child gives it up before it looks.
UNPRIVILEGED = """
    import os, sys
    from pathlib import Path
    from govdesk.config import Profile
    from govdesk.errors import HomeError

    profile = Profile(Path(sys.argv[1]))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresuid(int(sys.argv[3]), int(sys.argv[3]), int(sys.argv[3]))
    try:
        print(getattr(profile, sys.argv[2])() if sys.argv[2] == "create" else profile.exists)
    except HomeError as error:
        print(error.code, error.exit_code, error.explain())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="another account's folder can be made by root only")
@pytest.mark.parametrize("asked", ["exists", "create"])
@pytest.mark.parametrize("kind", ["mode 000", "another owner"])
def test_a_home_that_may_not_be_looked_into_is_explained(tmp_path: Path, asked: str, kind: str) -> None:
    home = Path("/tmp") / f"govdesk-test-{os.getpid()}"  # on a path that everybody may walk
    home.mkdir(mode=0o700)
    try:
        if kind == "mode 000":
            os.chown(home, 65534, 65534)
            home.chmod(0)
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(UNPRIVILEGED), str(home), asked, "65534"],
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        home.rmdir()
    assert done.stdout.startswith("home.unusable 5 "), done.stdout + done.stderr
    assert str(home) in done.stdout
