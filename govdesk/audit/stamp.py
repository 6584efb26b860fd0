"""Who, when and where of a record: taken by the writer itself, never from what a session says."""

from __future__ import annotations

import os
import platform
import pwd
import time
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from govdesk import __version__
from govdesk.audit.record import When, Where, Who

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MAX_NAME = 200


class Stamp(Protocol):
    """Where a writer takes who, when and where from."""

    @property
    def who(self) -> Who:
        """The subject."""
        ...

    @property
    def where(self) -> Where:
        """The machine."""
        ...

    def when(self) -> When:
        """Now, by both clocks."""
        ...


@dataclass(frozen=True, slots=True)
class ProcessStamp:
    """Uninstalled, the writer is a child of the person's own session: the subject is its own account."""

    who: Who
    where: Where
    boot_id: str

    def when(self) -> When:
        """The wall clock, and the clock since boot that exposes a moved wall clock."""
        return When(
            utc_ns=str(max(time.time_ns(), 0)),
            monotonic_ns=str(time.clock_gettime_ns(time.CLOCK_BOOTTIME)),
            boot_id=self.boot_id,
        )


def of_this_process() -> ProcessStamp:
    """The facts of this process; a name or boot id that cannot be had is empty."""
    uid = os.getuid()
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        name = ""
    try:
        boot_id = _BOOT_ID.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        boot_id = ""
    return ProcessStamp(
        who=Who(uid=uid, name=_clean(name), role="owner", how="process"),
        where=Where(host=_clean(platform.node()), program=f"govdesk {__version__}"),
        boot_id=_clean(boot_id),
    )


def _clean(name: str) -> str:
    """A name of the machine's as a record may hold it: NFC, printable, bounded."""
    printable = "".join(character if character.isprintable() else "?" for character in name)
    return unicodedata.normalize("NFC", printable)[:_MAX_NAME]
