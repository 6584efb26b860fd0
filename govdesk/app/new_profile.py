"""A new profile: keys and an empty history, both or neither.

`keys.json` takes its name last, so a crash on the way leaves no profile but an unfinished one, which
the next try removes and makes afresh. A history whose keys are missing is never taken for one of those.
"""

from __future__ import annotations

import os

from govdesk.config import Profile
from govdesk.errors import HomeError
from govdesk.session.key_slots import KeySlots
from govdesk.session.keys import Purpose
from govdesk.storage.database import Database
from govdesk.storage.files import remove_database, sync_folder


def problem(profile: Profile) -> HomeError | None:
    """Why this folder can neither be unlocked nor get a new profile; None when it can.

    Args:
        profile: its paths.
    """
    keys = (profile.key_slots, profile.unfinished_key_slots)
    if not os.path.lexists(profile.database) or any(os.path.lexists(path) for path in keys):
        return None
    return HomeError(
        "There is a history in this folder, but the keys that open it are missing.",
        code="home.keys-missing",
        kept="The history was not touched.",
        todo="Put keys.json back from a backup of the profile, or choose another folder.",
    )


def create(profile: Profile, passphrase: str, *, iterations: int | None = None) -> str:
    """Make keys and database in a profile's folder.

    Args:
        profile: its paths; the folder exists.
        passphrase: judged before by `govdesk.session.passphrase.require_good`.
        iterations: of the passphrase slot; None calibrates to at least a second.

    Returns:
        The recovery code, to be shown once; it is stored nowhere.

    Raises:
        HomeError: there is a profile already, or a history without its keys, or nothing can be written here.
        DiskFullError
    """
    if os.path.lexists(profile.key_slots):
        raise HomeError(
            "This profile has keys already.",
            code="home.profile-exists",
            kept="They were not touched.",
            todo="Unlock the profile, or choose another folder for a new one.",
        )
    try:
        if os.path.lexists(profile.unfinished_key_slots):  # nothing was ever stored under these keys
            remove_database(profile.database)
            profile.unfinished_key_slots.unlink()
        elif (missing := problem(profile)) is not None:
            raise missing
        keys, code = KeySlots(profile.unfinished_key_slots, iterations=iterations).create(passphrase)
        with keys, keys[Purpose.DATABASE].use() as key:
            Database.create(profile.database, key).close()
        profile.unfinished_key_slots.rename(profile.key_slots)
        sync_folder(profile.home)
    except OSError as error:
        raise HomeError(
            f"The profile cannot be made in {profile.home}: {error.strerror}.",
            kept="No profile was made.",
            todo="Check the folder's owner and permissions, then try again.",
        ) from error
    return code.text
