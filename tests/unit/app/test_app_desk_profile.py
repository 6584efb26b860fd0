"""A session on a real profile: a forgotten passphrase is replaced, a draft is back after a new unlocking."""

import time
from types import SimpleNamespace

import pytest

from govdesk.app import new_profile
from govdesk.app.desk import SessionDesk
from govdesk.config import Profile
from govdesk.domain.turn import Draft
from govdesk.errors import HomeError, WrongPassphraseError
from tests.commands import PASSPHRASE

NEW = "seven purple lanterns over the quay"


class Audit:
    """Keeps what it is given, in memory."""

    def __init__(self):
        self.entries = []

    def open(self, officers):
        pass

    def require_open(self):
        pass

    def append(self, entry):
        self.entries.append(entry)
        return len(self.entries)

    def of(self, event):
        return [(entry.outcome, dict(entry.fields)) for entry in self.entries if entry.event.value == event]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A profile's folder and its recovery code."""
    profile = Profile(tmp_path_factory.mktemp("home"))
    profile.create()
    return profile, new_profile.create(profile, PASSPHRASE)


def session(profile):
    audit = Audit()
    clock = SimpleNamespace(utc_ns=time.time_ns, monotonic=time.monotonic)
    desk = SessionDesk(
        profile=profile, link=SimpleNamespace(), audit=audit, clock=clock, probes=(), broker_probes=()
    )
    desk.record_consent("click")
    return desk, audit


def test_a_forgotten_passphrase_is_replaced_and_recorded(made):
    profile, code = made
    desk, audit = session(profile)
    desk.unlock_with_recovery(code)
    with pytest.raises(WrongPassphraseError):
        desk.reset_passphrase("7QK4-M2XD", NEW)
    desk.reset_passphrase(code, NEW)
    desk.close()
    assert [outcome for outcome, _ in audit.of("key.reset")] == ["intent", "failure", "intent", "success"]
    desk, _ = session(profile)
    with pytest.raises(WrongPassphraseError):
        desk.unlock(PASSPHRASE)
    desk.unlock(NEW)
    desk.close()
    desk, _ = session(profile)
    desk.unlock_with_recovery(code)
    desk.reset_passphrase(code, PASSPHRASE)
    desk.close()


def test_a_weak_passphrase_replaces_nothing(made):
    profile, code = made
    desk, audit = session(profile)
    with pytest.raises(Exception, match="at least"):
        desk.reset_passphrase(code, "short")
    assert audit.of("key.reset") == []
    desk.close()


def test_a_draft_is_back_after_the_next_unlocking(made):
    profile, _ = made
    desk, audit = session(profile)
    desk.unlock(PASSPHRASE).drafts.keep(None, "words not sent")
    desk.close()
    kept = {"characters": 14, "findings": {}}
    assert audit.of("draft.keep") == [("intent", kept), ("success", kept)]
    desk, _ = session(profile)
    assert desk.unlock(PASSPHRASE).drafts.kept() == Draft(None, "words not sent")
    desk.close()


def test_missing_keys_are_known_before_any_passphrase(made, tmp_path):
    profile, _ = made
    desk, _ = session(profile)
    assert desk.profile_problem is None
    desk.close()
    bare = Profile(tmp_path)
    assert new_profile.problem(bare) is None
    bare.database.write_bytes(profile.database.read_bytes())
    desk, _ = session(bare)
    assert isinstance(desk.profile_problem, HomeError)
    assert desk.profile_problem.code == "home.keys-missing"
    assert not desk.profile_exists
    desk.close()
