"""Where things are, and personal preferences. Nothing here can loosen policy.

Paths are those of the contract's table for running uninstalled: one profile folder, `GOVDESK_HOME`
or the XDG data folder.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from govdesk.errors import HomeError

CHECKOUT = Path(__file__).resolve().parent.parent
"""The project's folder: `resources/` and `models/` are beside the package."""
RESOURCES = CHECKOUT / "resources"
MODELS = CHECKOUT / "models"
PROFILE_MODE = 0o700


@dataclass(frozen=True, slots=True)
class Profile:
    """The folder that holds everything of one person."""

    home: Path

    @property
    def database(self) -> Path:
        """Encrypted history."""
        return self.home / "history.db"

    @property
    def graphics(self) -> Path:
        """What was found out about this machine's graphics drivers."""
        return self.home / "graphics.json"

    @property
    def key_slots(self) -> Path:
        """The wrapped data keys."""
        return self.home / "keys.json"

    @property
    def unfinished_key_slots(self) -> Path:
        """The keys of a profile that is being made; no profile as long as they have this name."""
        return self.home / "keys.json.unfinished"

    @property
    def unfinished_database(self) -> Path:
        """The empty history of a profile that is being made."""
        return self.home / "history.db.unfinished"

    @property
    def audit(self) -> Path:
        """The audit log's folder."""
        return self.home / "audit"

    @property
    def models(self) -> Path:
        """Models the person imported."""
        return self.home / "models"

    @property
    def tuning(self) -> Path:
        """How many threads suit which model on this machine."""
        return self.home / "tuning.json"

    @property
    def preferences(self) -> Path:
        """What the person chose; nothing in it can loosen policy."""
        return self.home / "preferences.json"

    @property
    def caches(self) -> Path:
        """What can be made again, sealed: the model's reading of long conversations."""
        return self.home / "caches"

    @property
    def lock(self) -> Path:
        """Held by the one broker of this profile."""
        return self.home / "instance.lock"

    @property
    def exists(self) -> bool:
        """True once it was made whole: its key slots take their name last.

        Raises:
            HomeError: the folder may not be looked into.
        """
        try:
            self.key_slots.stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise HomeError(
                f"The profile's folder {self.home} cannot be read: {error.strerror}.",
                kept="Nothing was changed.",
                todo="Give yourself access to it, or choose another with GOVDESK_HOME.",
            ) from error
        return True

    def create(self) -> None:
        """Make the folder, for its owner only.

        Raises:
            HomeError: it cannot be made, or is not ours, or others can read it.
        """
        try:
            self.home.mkdir(mode=PROFILE_MODE, parents=True, exist_ok=True)
            status = self.home.stat()
            if status.st_uid == os.geteuid() and status.st_mode & 0o077:
                self.home.chmod(PROFILE_MODE)
        except OSError as error:
            raise HomeError(
                f"The profile's folder {self.home} cannot be used: {error.strerror}.",
                kept="Nothing was changed.",
                todo="Check GOVDESK_HOME, the folder's owner and the disk.",
            ) from error
        if status.st_uid != os.geteuid():
            raise HomeError(
                f"The profile's folder {self.home} belongs to another account.",
                kept="Nothing was changed.",
                todo="Choose a folder of your own with GOVDESK_HOME.",
            )
        if not os.access(self.home, os.R_OK | os.W_OK | os.X_OK):
            raise HomeError(
                f"The profile's folder {self.home} cannot be read or written.",
                kept="Nothing was changed.",
                todo="Give yourself access to it, or choose another with GOVDESK_HOME.",
            )


def profile(environment: Mapping[str, str]) -> Profile:
    """The profile that the environment names.

    Raises:
        HomeError: there is neither GOVDESK_HOME nor a home folder.
    """
    named = environment.get("GOVDESK_HOME")
    if named:
        return Profile(Path(named).absolute())
    data = environment.get("XDG_DATA_HOME")
    if data and Path(data).is_absolute():
        return Profile(Path(data) / "govdesk")
    home = environment.get("HOME")
    if not home:
        raise HomeError(
            "There is no home folder to keep the profile in.",
            todo="Set GOVDESK_HOME to a folder of your own.",
        )
    return Profile(Path(home) / ".local" / "share" / "govdesk")
