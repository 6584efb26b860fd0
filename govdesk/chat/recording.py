"""An action is on record before it starts and again when it has ended, well or not (security.md 3, AU-10)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import msgspec

from govdesk.chat.ports import AuditLog
from govdesk.domain.record import Entry
from govdesk.errors import AuditClosedError, GovDeskError


class Findings:
    """What the record of the end says besides, filled while the action runs: for a look that finds something.

    `code`: what is wrong; the action then ends as a failure, and what it found is given out all the same.
    """

    def __init__(self) -> None:
        self.fields: dict[str, int] = {}
        self.code = ""


@contextlib.contextmanager
def recorded(audit: AuditLog, entry: Entry) -> Iterator[Findings]:
    """Around an action: the record of the intent, durable; then the action; then `success` or `failure`.

    One rule for all: a look or a search too has two records, and what it found is given out only once
    the second is durable.

    Args:
        audit: the log.
        entry: what is about to be done; its `outcome` is set here. A failure's record adds `code`.

    Raises:
        AuditClosedError: the intent is not on record, and nothing was done; or the outcome is not, and
            the action was done (the intent without an outcome says so).
    """
    audit.append(msgspec.structs.replace(entry, outcome="intent"))
    found = Findings()
    try:
        yield found
    except BaseException as error:
        code = error.code if isinstance(error, GovDeskError) else "bug"
        if isinstance(error, KeyboardInterrupt | SystemExit):
            code = "interrupted"
        with contextlib.suppress(AuditClosedError):  # the action's own error is the one to hear of
            fields = {**entry.fields, "code": code}
            audit.append(msgspec.structs.replace(entry, outcome="failure", fields=fields))
        raise
    outcome, fields = "success", {**entry.fields, **found.fields}
    if found.code:
        outcome, fields["code"] = "failure", found.code
    audit.append(msgspec.structs.replace(entry, outcome=outcome, fields=fields))
