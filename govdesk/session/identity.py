"""Who is here: the account that the kernel says this process runs as."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Subject:
    """The person as the operating system knows them.

    `name` is the account's name, or `uid:N` where the account has none.
    """

    uid: int
    name: str


def subject() -> Subject:
    """The subject of this process, from its effective user id; nothing in the environment is believed."""
    uid = os.geteuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = f"uid:{uid}"
    return Subject(uid, name)
