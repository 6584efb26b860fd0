"""Each use of history is on record before it happens and again when it has; what was searched for never is."""

from __future__ import annotations

import pytest

from govdesk.chat.history import AuditedHistory
from govdesk.domain.ids import ConversationId, RecordSeq
from govdesk.domain.record import Entry, Event
from govdesk.domain.turn import Role
from govdesk.errors import AuditClosedError, DiskFullError
from tests import audit_fields
from tests.fakes import FakeStore

USES = {
    "view": lambda history, conversation: history.messages(conversation),
    "rename": lambda history, conversation: history.rename(conversation, "canary title"),
    "delete": lambda history, conversation: history.delete(conversation),
    "search": lambda history, _: history.search("canary query"),
}


class Audit:
    """Notes what was done to the history by the time of each record."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store
        self.entries: list[Entry] = []
        self.done: list[bool] = []
        self.refuses = ""

    def append(self, entry: Entry) -> RecordSeq:
        audit_fields.check(entry)
        if entry.outcome == self.refuses:
            raise AuditClosedError("closed")
        self.entries.append(entry)
        self.done.append(bool(self._store.threads))
        return RecordSeq(len(self.entries))

    def require_open(self) -> None:
        pass


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def conversation(store: FakeStore) -> ConversationId:
    return store.put("canary title of old", [(Role.USER, "canary words")])


@pytest.fixture
def audit(store: FakeStore) -> Audit:
    return Audit(store)


@pytest.fixture
def history(store: FakeStore, audit: Audit) -> AuditedHistory:
    return AuditedHistory(store, audit, "CUI", "p@h")


@pytest.mark.parametrize("name", USES)
def test_a_use_stands_between_its_intent_and_its_outcome(history, audit, conversation, name):
    USES[name](history, conversation)
    assert [(entry.event, entry.outcome) for entry in audit.entries] == [
        (Event(name), "intent"),
        (Event(name), "success"),
    ]
    assert audit.done == [False, True]
    assert {entry.object for entry in audit.entries} == {"" if name == "search" else conversation}
    assert {(entry.marking, entry.policy) for entry in audit.entries} == {("CUI", "p@h")}
    assert "canary" not in repr(audit.entries)


@pytest.mark.parametrize("name", USES)
def test_without_the_intent_on_record_nothing_is_done(history, audit, store, conversation, name):
    audit.refuses = "intent"
    with pytest.raises(AuditClosedError):
        USES[name](history, conversation)
    assert not store.threads


@pytest.mark.parametrize("name", USES)
def test_what_was_found_is_given_out_only_once_the_outcome_is_on_record(history, audit, conversation, name):
    audit.refuses = "success"
    with pytest.raises(AuditClosedError):
        USES[name](history, conversation)


@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize(
    ("problem", "code"), [(DiskFullError("full"), "disk.full"), (ZeroDivisionError(), "bug")]
)
def test_a_failure_is_recorded_with_its_code(history, audit, store, conversation, name, problem, code):
    store.problem = problem
    with pytest.raises(type(problem)):
        USES[name](history, conversation)
    assert [entry.outcome for entry in audit.entries] == ["intent", "failure"]
    assert audit.entries[-1].fields["code"] == code


def test_a_failure_that_cannot_be_recorded_is_still_the_one_to_hear_of(history, audit, store, conversation):
    store.problem, audit.refuses = DiskFullError("full"), "failure"
    with pytest.raises(DiskFullError):
        history.delete(conversation)


def test_the_length_of_a_query_is_recorded(history, audit):
    history.search("four")
    assert audit.entries[0].fields == {"characters": 4}


def test_the_list_has_the_record_of_the_unlocking(history, audit, conversation):
    assert [one.id for one in history.conversations()] == [conversation]
    assert audit.entries == []
