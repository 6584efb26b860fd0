"""Every error GovDesk raises, in one tree; each can explain itself to a person.

    GovDeskError                 stable `code` for the audit, `explain()` for the person
    ├── KnownError               the environment's fault: said plainly, never a traceback
    │   ├── UsageError           wrong arguments, unusable input                       exit 3
    │   ├── UnreadableError      cannot read or unlock                                 exit 4
    │   │   ├── WrongPassphraseError
    │   │   ├── CorruptDatabaseError
    │   │   ├── NewerDatabaseError
    │   │   ├── KeySlotError
    │   │   └── AuditUnreadableError
    │   ├── MachineError         disk, missing part, no wall                           exit 5
    │   │   ├── HomeError
    │   │   ├── DiskFullError
    │   │   ├── InstanceRunningError
    │   │   ├── AuditClosedError
    │   │   ├── WallError
    │   │   ├── ModelError       missing, cut, renamed, oversized, no GGUF or a bad one, not approved
    │   │   └── WorkerError      crashed, hung, sent garbage, refused
    │   ├── PolicyError          a policy file that cannot be used (the strict one is used instead)
    │   ├── MarkingError         a marking that is not valid: rule, why, where, suggestion
    │   └── FrameError           bytes on a channel that are not a frame
    └── BugError                 ours                                                  exit 70

No message of any of them may hold prompt text, answer text or key material.
"""

from __future__ import annotations


class GovDeskError(Exception):
    """Root of the tree.

    Args:
        what: what happened, one sentence, for the person.
        code: stable, dotted, for the audit and for scripts; defaults to the class's own.
        kept: what was kept ("Your conversations are unchanged.").
        todo: what to do next.
    """

    code = "bug"
    exit_code = 70

    def __init__(self, what: str, *, code: str | None = None, kept: str = "", todo: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.kept = kept
        self.todo = todo
        if code is not None:
            self.code = code

    def explain(self) -> str:
        """What happened, what was kept, what to do next: one paragraph of plain words."""
        return " ".join(part for part in (self.what, self.kept, self.todo) if part)


class KnownError(GovDeskError):
    """The environment's fault, or the person's; never a traceback."""

    code = "known"
    exit_code = 5


class UsageError(KnownError):
    """Arguments or input that cannot be used."""

    code = "usage"
    exit_code = 3


class UnreadableError(KnownError):
    """Something is there but cannot be read or unlocked."""

    code = "unreadable"
    exit_code = 4


class WrongPassphraseError(UnreadableError):
    """The passphrase or recovery code opens no key slot."""

    code = "unlock.wrong-passphrase"


class KeySlotError(UnreadableError):
    """The key slot file is missing, damaged or newer than the program."""

    code = "unlock.key-slots"


class CorruptDatabaseError(UnreadableError):
    """The database file is damaged or is not ours."""

    code = "storage.corrupt"


class NewerDatabaseError(UnreadableError):
    """The database was written by a newer GovDesk."""

    code = "storage.newer"


class AuditUnreadableError(UnreadableError):
    """An audit log that cannot be read at all."""

    code = "audit.unreadable"


class MachineError(KnownError):
    """Disk, a missing part, a wall that cannot be had."""

    code = "environment"


class HomeError(MachineError):
    """The profile's folder cannot be used."""

    code = "home.unusable"


class DiskFullError(MachineError):
    """No space left where something has to be written."""

    code = "disk.full"


class InstanceRunningError(MachineError):
    """Another GovDesk holds this profile."""

    code = "instance.running"


class AuditClosedError(MachineError):
    """The audit log cannot take a record; nothing that needs one may go on."""

    code = "audit.closed"


class WallError(MachineError):
    """A wall of the operating system is missing or open; GovDesk refuses to run."""

    code = "wall.open"


class ModelError(MachineError):
    """The model file cannot be used."""

    code = "model.unusable"


class WorkerError(MachineError):
    """The worker could not do its job; the next turn starts a fresh one."""

    code = "worker.failed"


class PolicyError(KnownError):
    """A policy file that cannot be used; the built-in strict policy takes its place."""

    code = "policy.unusable"


class MarkingError(KnownError):
    """A marking that is not valid.

    Args:
        what: why, for the person.
        rule: our stable rule id.
        where: the part of the marking that is wrong.
        suggestion: the nearest right form, when there is one.
    """

    code = "marking.invalid"
    exit_code = 3

    def __init__(self, what: str, *, rule: str, where: str = "", suggestion: str | None = None) -> None:
        super().__init__(what)
        self.rule = rule
        self.where = where
        self.suggestion = suggestion


class FrameError(KnownError):
    """Bytes on a channel that are not an acceptable frame; the sender is stopped."""

    code = "frame.bad"


class BugError(GovDeskError):
    """Ours: an assumption that does not hold."""


def unexpected(error: BaseException) -> BugError:
    """An error that nobody foresaw, in words that hold nothing of its own message (it may hold content)."""
    place = ""
    trace = error.__traceback__
    while trace is not None:
        place = f"{trace.tb_frame.f_globals.get('__name__', '?')}:{trace.tb_lineno}"
        trace = trace.tb_next
    bug = BugError(
        "Something in GovDesk did not work as it should.",
        kept="What was stored before is unchanged.",
        todo=f"Try again; if it comes back, give your administrator this: {type(error).__name__} at {place}.",
    )
    bug.__cause__ = None
    return bug
