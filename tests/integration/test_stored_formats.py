"""A profile of format 1, stored when it was the newest, opens with every later program.

`tests/vectors/profile-1` is never made anew: a change that cannot open it loses people's work.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from govdesk.config import Profile
from govdesk.domain.ids import ConversationId, EntityType, TurnId
from govdesk.domain.redaction import Finding, Operator
from govdesk.domain.turn import Outcome, Role
from govdesk.errors import KeySlotError
from govdesk.session.key_slots import KeySlots
from govdesk.session.keys import DataKeys, Purpose
from govdesk.storage import migrations
from govdesk.storage.conversations import EncryptedConversations
from govdesk.storage.database import Database

STORED = Path(__file__).resolve().parents[1] / "vectors" / "profile-1"
PASSPHRASE = "a harbour seen from seven hills"
RECOVERY_CODE = "D14TJ-GVDQJ-4D9QP-QEJS8-518J4-JBH5W-5BXQW"
CONVERSATION = ConversationId("75b5d0b48ae43aa6a6be9e46fd52203f")


@pytest.fixture
def profile(tmp_path: Path) -> Profile:
    shutil.copytree(STORED, tmp_path / "home")
    return Profile(tmp_path / "home")


def both_ways(profile: Profile) -> list[DataKeys]:
    slots = KeySlots(profile.key_slots, minimum_iterations=1)
    return [slots.unlock(PASSPHRASE), slots.unlock_with_recovery(RECOVERY_CODE)]


def test_the_keys_open_both_ways(profile: Profile) -> None:
    one, other = both_ways(profile)
    with one[Purpose.DATABASE].use() as key, other[Purpose.DATABASE].use() as same:
        assert key == same
    with pytest.raises(KeySlotError):  # its few iterations are for this test only
        KeySlots(profile.key_slots).unlock(PASSPHRASE)


def test_the_history_opens_and_says_what_it_said(profile: Profile) -> None:
    with both_ways(profile)[0] as keys, keys[Purpose.DATABASE].use() as key:
        database = Database.open(profile.database, key)
    store = EncryptedConversations(database)
    (conversation,) = store.conversations()
    assert (conversation.id, conversation.title, conversation.marking) == (
        CONVERSATION,
        "Harbours",
        "UNCLASSIFIED",
    )
    prompt, answer, second, half = store.messages(CONVERSATION)
    assert prompt.text == "I am [US_SSN]. What is a harbour?"
    assert prompt.findings == (Finding(6, 17, EntityType("US_SSN"), 0.99, "us-ssn", Operator.REDACT),)
    assert (answer.role, answer.text, answer.outcome) == (
        Role.ASSISTANT,
        "A place where ships are safe.",
        Outcome.COMPLETED,
    )
    assert (second.text, half.text, half.outcome) == ("And a port?", "Half an ans", None)
    assert store.unfinished_turns() == (TurnId("turn-2"),)
    assert [hit.turn for hit in store.search("ships")] == [TurnId("turn-1")]
    database.check()
    database.close()


def test_a_step_that_was_shipped_has_not_changed() -> None:
    text = "\n;\n".join(migrations._M001)
    assert hashlib.sha384(text.encode()).hexdigest()[:32] == "dbf05f6143cf558b5fb66fd103dd9702"
    assert migrations.MIGRATIONS[0] is migrations.m001_history
