"""Nobody gets in past the notice: it is shown, accepted and on record before the passphrase is tried."""

from __future__ import annotations

import argparse

import pytest

from govdesk.cli import entry
from govdesk.errors import AuditClosedError
from tests.fakes import PASSPHRASE, FakeDesk

TYPED = argparse.Namespace(passphrase_fd=None)
ON_DESCRIPTOR = argparse.Namespace(passphrase_fd=3)


@pytest.fixture
def desk(monkeypatch):
    monkeypatch.setattr(entry.passphrase, "read", lambda *_: PASSPHRASE)
    return FakeDesk()


def test_consent_comes_before_the_unlock(desk, capsys):
    entry.unlock(TYPED, desk)
    assert desk.calls == ["consent passphrase typed below the notice", "unlock"]
    said = capsys.readouterr()
    assert said.out == "", "answers only"
    policy = desk.policy.policy
    for text in (policy.system_high, desk.policy.warning, policy.consent.title, policy.consent.text):
        assert text in said.err


def test_on_a_descriptor_nobody_reads_and_the_record_says_so(desk, capsys):
    entry.unlock(ON_DESCRIPTOR, desk)
    assert desk.calls[0] == "consent passphrase on a descriptor"
    assert desk.policy.policy.consent.text not in capsys.readouterr().err


def test_no_record_of_consent_no_unlock(desk):
    desk.problems["consent passphrase on a descriptor"] = AuditClosedError("closed")
    with pytest.raises(AuditClosedError):
        entry.unlock(ON_DESCRIPTOR, desk)
    assert "unlock" not in desk.calls


def test_the_notice_stands_before_the_passphrase_and_is_recorded(monkeypatch, capsys):
    desk = FakeDesk()
    seen = []

    def read(_parsed, prompt):
        seen.append((prompt, capsys.readouterr().err, tuple(desk.calls)))
        return PASSPHRASE

    monkeypatch.setattr(entry.passphrase, "read", read)
    entry.unlock(TYPED, desk)
    ((prompt, shown, before),) = seen
    assert desk.policy.policy.consent.text in shown
    assert desk.policy.warning in shown
    assert prompt == "I agree; my passphrase: "
    assert before == ()
    assert desk.calls == ["consent passphrase typed below the notice", "unlock"]
