"""A new profile: keys and an empty history, both or neither; nothing called `history.db` is ever removed.

Both are made under names of their own and published at the end, the history first and the keys last:

    keys.json.unfinished → history.db.unfinished → history.db → keys.json

A crash before the history has its name leaves an unfinished profile, which the next try removes: nothing
was ever stored in it. A crash between the two names leaves a history and unfinished keys: when the
passphrase opens both, the next try finishes them, with a new recovery code, for the first was never
shown. Any other history is somebody's work whose keys are missing (restored from a backup, say).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from govdesk.config import Profile
from govdesk.errors import HomeError, UnreadableError
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
    if not _history_is_there(profile.database) or any(os.path.lexists(path) for path in keys):
        return None
    return _keys_missing()


def create(profile: Profile, passphrase: str, key_slots: Callable[[Path], KeySlots] = KeySlots) -> str:
    """Make keys and database in a profile's folder.

    Args:
        profile: its paths; the folder exists.
        passphrase: judged before by `govdesk.session.passphrase.require_good`.
        key_slots: makes the key slots of a file; quicker ones in tests only.

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
    slots = key_slots(profile.unfinished_key_slots)
    try:
        if _history_is_there(profile.database):
            code = _finish(profile, slots, passphrase)
        else:
            code = _make(profile, slots, passphrase)
        profile.unfinished_key_slots.rename(profile.key_slots)
        sync_folder(profile.home)
    except OSError as error:
        raise HomeError(
            f"The profile cannot be made in {profile.home}: {error.strerror}.",
            kept="No profile was made.",
            todo="Check the folder's owner and permissions, then try again.",
        ) from error
    return code


def _make(profile: Profile, slots: KeySlots, passphrase: str) -> str:
    """Fresh keys under their unfinished name, and a fresh history under its own."""
    remove_database(profile.unfinished_database)
    profile.unfinished_key_slots.unlink(missing_ok=True)
    keys, code = slots.create(passphrase)
    with keys, keys[Purpose.DATABASE].use() as key:
        Database.make(profile.unfinished_database, key)
    if _history_is_there(profile.database):
        raise _keys_missing()
    profile.unfinished_database.rename(profile.database)
    sync_folder(profile.home)
    return code.text


def _finish(profile: Profile, slots: KeySlots, passphrase: str) -> str:
    """The history has its name: go on when these are the keys that it was made with."""
    ours = os.path.lexists(profile.unfinished_key_slots) and not os.path.lexists(profile.unfinished_database)
    if not ours:
        raise _keys_missing()
    try:
        with slots.unlock(passphrase) as keys, keys[Purpose.DATABASE].use() as key:
            Database.open(profile.database, key).close()
    except UnreadableError:
        raise _keys_missing() from None
    return slots.renew_recovery(passphrase).text


def _history_is_there(path: Path) -> bool:
    # A write-ahead file alone counts: a history put beside it would take its pages in.
    return any(os.path.lexists(path.with_name(path.name + suffix)) for suffix in ("", "-wal", "-journal"))


def _keys_missing() -> HomeError:
    return HomeError(
        "There is a history in this folder, but the keys that open it are missing.",
        code="home.keys-missing",
        kept="The history was not touched.",
        todo="Put keys.json back from a backup of the profile, or choose another folder; if this profile was "
        "just being made, give the passphrase that was chosen for it.",
    )
