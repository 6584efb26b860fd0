"""Why the log closed, as a stable code on the channel and as words for the person."""

from __future__ import annotations

import errno

from govdesk.errors import AuditClosedError

_KEPT = "Every record that was acknowledged is kept; nothing that needed this one was done."
_DISK = "Check the disk, then start GovDesk again."
_OFFICER = "Do not repair the log by hand. Keep the folder as it is and call the security officer."
_WORDS = {
    "audit.disk-full": ("The disk is full.", "Free some space, then start GovDesk again."),
    "audit.quota": (
        "The log has reached the size it may have.",
        "Ask the security officer to take the log over, then start GovDesk again.",
    ),
    "audit.read-only": ("The disk became read-only.", _DISK),
    "audit.file-size": ("The system limits the size of files.", "Raise the limit, then start GovDesk again."),
    "audit.io": ("The disk reported an error.", _DISK),
    "audit.folder": (
        "The log's folder cannot be used: it is missing, another account's, or not a folder.",
        "Check the folder's owner and permissions, then start GovDesk again.",
    ),
    "audit.held": ("Another GovDesk writes this log.", "Close the other one, or use its window."),
    "audit.changed": ("Something else changed the log while it was open.", _OFFICER),
    "audit.cut": ("The log is shorter than it was: records are missing at its end.", _OFFICER),
    "audit.tampered": ("The end of the log is not what was written.", _OFFICER),
    "audit.state": ("The log's state is missing or damaged.", _OFFICER),
    "audit.newer": ("The log was written by a newer GovDesk.", "Start the newer GovDesk."),
    "audit.officer-key": (
        "An officer's key in the policy cannot be used.",
        "Ask the administrator to correct the policy's officer keys.",
    ),
    "audit.entry": ("A record had a shape that is not allowed.", "Start GovDesk again and report this."),
    "audit.silent": ("The audit writer did not answer in time.", "Start GovDesk again."),
    "audit.gone": ("The audit writer ended.", "Start GovDesk again."),
    "audit.walls": (
        "The audit writer refused to start: its walls cannot be raised, or do not hold.",
        "Show this to your administrator; `govdesk doctor` lists every channel.",
    ),
    "audit.frame": ("The audit writer said something that cannot be understood.", "Start GovDesk again."),
    "audit.not-open": ("The audit log was not opened.", "Start GovDesk again."),
    "audit.closed": ("The audit log was closed.", "Start GovDesk again."),
}
CODES = frozenset(_WORDS)

_BY_ERRNO = {
    errno.ENOSPC: "audit.disk-full",
    errno.EDQUOT: "audit.disk-full",
    errno.EROFS: "audit.read-only",
    errno.EFBIG: "audit.file-size",
}


def closed(code: str) -> AuditClosedError:
    """The error for a code; a code that is not known here gets general words."""
    what, todo = _WORDS.get(code, _WORDS["audit.closed"])
    return AuditClosedError(f"The audit log cannot take records. {what}", code=code, kept=_KEPT, todo=todo)


def code_of(error: OSError) -> str:
    """The code for a file operation that failed."""
    return _BY_ERRNO.get(error.errno or 0, "audit.io")
