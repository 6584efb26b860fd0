"""The real broker with real roles, and in the window's place a front that a test drives through files.

As a program: `python -I lockable.py FOLDER` is the broker; with `--role` it is a role. Only what a person
does at the window is replaced: consent, unlocking, asking, locking.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

PASSPHRASE = "correct horse battery staple in a test"


def _broker(home: Path, end_seconds: float) -> int:
    from govdesk import config
    from govdesk.process import broker, environment
    from govdesk.process.broker import Broker, Front, Launch
    from govdesk.process.instance import Instance
    from govdesk.sandbox import walls
    from govdesk.sandbox.walls import Wall

    environment.command = lambda: [sys.executable, "-I", __file__]
    broker.END_SECONDS = end_seconds
    profile = config.profile(os.environ)
    profile.create()
    instance = Instance(profile, os.environ)
    walls.raise_walls(Wall.BROKER, walls.programs())
    probes = walls.prove(Wall.BROKER)
    environ = environment.clean(os.environ)
    return Broker(Launch(Front.WINDOW, (), environ, str(profile.audit), (), probes), instance).run()


def _wait_for(path: Path) -> None:
    while not path.exists():
        time.sleep(0.05)


def _first(desk, folder: Path) -> None:
    """Unlock, ask, and lock when told to."""
    from govdesk.domain.turn import Sampling

    desk.record_consent("click")
    if not desk.profile_exists:
        desk.create_profile(PASSPHRASE)
    unlocked = desk.unlock(PASSPHRASE)
    for _ in unlocked.chat.run_turn(None, "What is a harbour?", Sampling(max_tokens=4)):
        pass
    _say(folder / "first", {"conversations": len(unlocked.history.conversations())})
    _wait_for(folder / "lock")
    desk.lock()
    if (folder / "hang").exists():
        time.sleep(3600)


def _second(desk, folder: Path) -> None:
    """Say what a locked window can do without the passphrase, and with it."""
    from govdesk.errors import GovDeskError

    said: dict[str, object] = {"keys": desk._keys is not None, "database": desk._database is not None}
    desk.record_consent("click")
    try:
        desk.unlock("not the passphrase of anybody here")
        said["wrong"] = "opened"
    except GovDeskError as error:
        said["wrong"] = type(error).__name__
    said["conversations"] = len(desk.unlock(PASSPHRASE).history.conversations())
    _say(folder / "second", said)
    _wait_for(folder / "end")


def _say(path: Path, said: dict[str, object]) -> None:
    path.with_suffix(".part").write_text(json.dumps({"pid": os.getpid(), **said}))
    path.with_suffix(".part").rename(path)


def _role() -> int:
    from govdesk import __main__ as program
    from govdesk.app import session

    def front(desk) -> int:
        folder = Path(os.environ["HOME"])
        (_second if (folder / "first").exists() else _first)(desk, folder)
        return 0

    session._window = front
    return program.main()


if __name__ == "__main__":
    sys.exit(_role() if "--role" in sys.argv else _broker(Path(sys.argv[1]), float(sys.argv[2])))
