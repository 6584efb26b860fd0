"""Every event has its row in the document, and the check that tests make against it can fail."""

from __future__ import annotations

import pytest

from govdesk.domain.record import Entry, Event
from tests import audit_fields


def test_every_event_is_documented_and_no_other() -> None:
    assert set(audit_fields.documented()) == {event.value for event in Event}


def test_an_undocumented_field_is_seen() -> None:
    audit_fields.check(Entry(Event.MODEL_LOAD, "success", fields={"version": 1, "bytes": 2}))
    with pytest.raises(AssertionError, match="color"):
        audit_fields.check(Entry(Event.MODEL_LOAD, "success", fields={"version": 1, "color": 2}))
