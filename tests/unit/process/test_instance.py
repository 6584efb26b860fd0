"""One GovDesk per profile; the second one is told, and asks the first to show itself."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from govdesk.config import Profile
from govdesk.errors import HomeError, InstanceRunningError
from govdesk.process.instance import Instance, ask_to_raise


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    profile = Profile(tmp_path / "home")
    profile.create()
    return profile


def test_the_second_is_refused_until_the_first_lets_go(profile: Profile) -> None:
    first = Instance(profile, {})
    with pytest.raises(InstanceRunningError) as raised:
        Instance(profile, {})
    assert raised.value.exit_code == 5
    first.release()
    Instance(profile, {}).release()


def test_the_second_raises_the_first(profile: Profile, tmp_path: Path) -> None:
    environment = {"XDG_RUNTIME_DIR": str(tmp_path)}
    first = Instance(profile, environment)
    assert not ask_to_raise(profile, environment)  # nobody listens yet
    assert first.listen() is not None
    (path,) = tmp_path.glob("govdesk-*.sock")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    asking = threading.Thread(target=ask_to_raise, args=(profile, environment))
    asking.start()
    asking.join()
    assert first.raise_asked()
    assert not first.raise_asked()
    first.release()
    assert not path.exists()


@pytest.mark.parametrize("runtime", ["/proc", "/sys"])
def test_a_runtime_folder_that_takes_no_socket_costs_only_the_raising(profile: Profile, runtime: str) -> None:
    environment = {"XDG_RUNTIME_DIR": runtime}
    first = Instance(profile, environment)
    assert first.listen() is None
    assert not first.raise_asked()
    assert not ask_to_raise(profile, environment)
    first.release()


def test_a_home_that_cannot_be_written_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HomeError):
        Instance(Profile(tmp_path / "file"), {})
