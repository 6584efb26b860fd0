"""The subject comes from the kernel, not from the environment."""

import os
import pwd

from govdesk.session.identity import subject


def test_the_account_of_this_process(monkeypatch):
    monkeypatch.setenv("USER", "somebody")
    monkeypatch.setenv("LOGNAME", "somebody")
    here = subject()
    assert here.uid == os.geteuid()
    assert here.name == pwd.getpwuid(os.geteuid()).pw_name


def test_an_account_without_a_name(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 4_000_000)
    assert (subject().uid, subject().name) == (4_000_000, "uid:4000000")
