"""What `audit-format.md` says of the fields of each event; what a test records is held against it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from govdesk.domain.record import Entry, Event

_DOCUMENT = Path(__file__).parents[1] / "resources" / "docs" / "audit-format.md"
_NAME = re.compile(r"`([a-z_-]+(?:\.1)?)`")


@cache
def documented() -> dict[str, frozenset[str]]:
    """The fields that each event may have, out of the table of events."""
    table = _DOCUMENT.read_text(encoding="utf-8").split("\n## Events\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("| `")]
    return {
        event: frozenset(_NAME.findall("".join(fields)))
        for events, _, _, *fields in rows
        for event in re.findall(r"`([a-z.-]+)`", events)
    }


def check(entry: Entry) -> None:
    """A record has no field that the document does not name.

    Raises:
        AssertionError: it has.
    """
    if entry.event in {Event.LOG_START, Event.LOG_RECOVERED, Event.AUDIT_FAILURE}:
        return  # the writer's own, documented in words
    unknown = {re.sub(r"\.\d+$", ".1", name) for name in entry.fields} - documented()[entry.event.value]
    assert not unknown, f"{entry.event.value}: {sorted(unknown)} is in no row of audit-format.md"
