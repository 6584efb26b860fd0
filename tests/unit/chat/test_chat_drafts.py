"""A draft in the real history: redacted, recorded by counts, in clear nowhere, gone with its conversation."""

from dataclasses import dataclass, field

import msgspec
import pytest

from govdesk.app.rules import build_redactor, load_policy
from govdesk.chat.drafts import RedactedDrafts
from govdesk.domain.ids import ConversationId
from govdesk.domain.policy import RedactionRules
from govdesk.domain.record import Event
from govdesk.domain.redaction import Operator
from govdesk.domain.turn import Draft
from govdesk.errors import AuditClosedError
from govdesk.storage.conversations import EncryptedConversations
from govdesk.storage.database import Database
from govdesk.storage.drafts import EncryptedDrafts
from tests import audit_fields

KEY = bytes(range(32))
CANARY = "quartermaine-canary"
SSN = "-".join(("219", "09", "9999"))
PRIVATE_KEY = "-----BEGIN " + "PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END " + "PRIVATE KEY-----"


@dataclass
class Audit:
    entries: list = field(default_factory=list)
    closed: bool = False

    def append(self, entry):
        audit_fields.check(entry)
        if self.closed:
            raise AuditClosedError("The log is closed.")
        self.entries.append(entry)
        return len(self.entries)


class Clock:
    def utc_ns(self):
        return 7

    def monotonic(self):
        return 7.0


@pytest.fixture(scope="module")
def redactor():
    in_force, _ = load_policy()
    return build_redactor(in_force)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "history.db"


@pytest.fixture
def database(path):
    made = Database.create(path, bytearray(KEY))
    yield made
    made.close()


@pytest.fixture
def audit():
    return Audit()


@pytest.fixture
def drafts(database, redactor, audit):
    return RedactedDrafts(
        store=EncryptedDrafts(database),
        redactor=redactor,
        audit=audit,
        clock=Clock(),
        marking="UNCLASSIFIED",
        policy_stamp="p@h",
    )


def test_a_draft_is_back_after_the_history_was_closed(database, path, drafts):
    conversation = EncryptedConversations(database).create("Title", "", 1)
    assert drafts.kept() is None
    drafts.keep(conversation, "an earlier state")
    drafts.keep(conversation, f"Unsent words {CANARY}\nand a \x00 second line \ud800")
    database.close()
    again = Database.open(path, bytearray(KEY))
    kept = EncryptedDrafts(again).kept()
    again.close()
    assert kept == Draft(conversation, f"Unsent words {CANARY}\nand a \x00 second line \ufffd")


def test_a_draft_is_in_clear_nowhere_on_the_disk(database, path, drafts):
    drafts.keep(None, f"{CANARY} and {SSN}")
    database.close()
    files = [file for file in path.parent.rglob("*") if file.is_file()]
    assert files
    for file in files:
        assert CANARY.encode() not in file.read_bytes()
        assert SSN.encode() not in file.read_bytes()


def test_what_redaction_takes_out_of_stored_text_is_not_in_the_draft(database, drafts):
    kept = drafts.keep(None, f"My number is {SSN}.")
    assert kept.text == "My number is [US_SSN]."
    assert [finding.type for finding in kept.findings] == ["US_SSN"]
    assert drafts.kept() == kept


def test_a_draft_that_policy_blocks_is_not_kept_and_takes_the_last_one_with_it(drafts, audit):
    in_force, _ = load_policy()
    blocks = {"storage": RedactionRules(types={"SECRET.*": Operator.BLOCK})}
    strict = msgspec.structs.replace(
        in_force, policy=msgspec.structs.replace(in_force.policy, redaction=blocks)
    )
    drafts._redactor = build_redactor(strict)
    drafts.keep(None, "harmless")
    kept = drafts.keep(None, PRIVATE_KEY)
    assert kept.text == ""
    assert kept.findings
    assert drafts.kept() == kept
    assert audit.entries[-1].outcome == "denied"


@pytest.mark.parametrize("text", ["TOP SECRET//SI//NOFORN\nThe source in Vienna.", PRIVATE_KEY])
def test_what_could_not_be_sent_is_not_kept_as_a_draft(drafts, audit, text):
    """Else its marking would become a placeholder in the draft, and the rest could be sent after a lock."""
    kept = drafts.keep(None, text)
    assert kept.text == ""
    assert kept.findings
    assert drafts.kept().text == ""
    assert [entry.outcome for entry in audit.entries] == ["denied"]


def test_the_record_has_counts_only(drafts, audit):
    drafts.keep(ConversationId("c"), f"{CANARY} {SSN}")
    intent, entry = audit.entries
    assert (intent.outcome, entry.outcome) == ("intent", "success")
    assert entry.event is Event.DRAFT_KEEP
    assert entry.object == "c"
    assert entry.fields == {"characters": len(CANARY) + 12, "findings": {"US_SSN": 1}}
    assert CANARY not in repr(entry)
    assert SSN not in repr(entry)


def test_the_place_alone_needs_no_record(database, drafts, audit):
    conversation = EncryptedConversations(database).create("Title", "", 1)
    drafts.keep(conversation, "words")
    before = len(audit.entries)
    drafts.keep(conversation, "")
    assert drafts.kept() == Draft(conversation, "")
    assert len(audit.entries) == before > 0


def test_without_a_record_nothing_is_kept(drafts, audit):
    drafts.keep(None, "before")
    audit.closed = True
    with pytest.raises(AuditClosedError):
        drafts.keep(None, "after")
    assert drafts.kept() == Draft(None, "before")


def test_a_draft_goes_with_its_conversation(database, path, drafts):
    store = EncryptedConversations(database)
    conversation = store.create("Title", "", 1)
    drafts.keep(conversation, CANARY)
    store.delete(conversation)
    assert drafts.kept() is None
    drafts.keep(conversation, "typed on")  # the window still shows it: it counts as a new one now
    assert drafts.kept() == Draft(None, "typed on")


def test_one_draft_is_kept_not_two(database, drafts):
    store = EncryptedConversations(database)
    first, second = store.create("One", "", 1), store.create("Two", "", 1)
    drafts.keep(first, "one")
    drafts.keep(second, "two")
    assert drafts.kept() == Draft(second, "two")
    with database.reading() as sql:
        assert sql.execute("SELECT count(*) FROM draft").fetchone() == (1,)
