import shutil

import pytest

from govdesk import crypto
from govdesk.config import RESOURCES
from installer import sign_policy


@pytest.fixture
def policy(tmp_path):
    return shutil.copy(RESOURCES / "policy" / "policy.toml", tmp_path / "policy.toml")


def test_what_is_signed_is_accepted(policy, tmp_path):
    private, public = crypto.new_signing_key()
    (tmp_path / "own.key").write_text(private)
    (tmp_path / "own.pem").write_text(public)
    keys = ["--key", str(tmp_path / "own.key"), "--trust", str(tmp_path / "own.pem")]
    assert sign_policy.main([str(policy), *keys]) == 0
    assert (tmp_path / "policy.toml.sig").stat().st_size == 4_627
    assert sign_policy.main(["--check", str(policy), *keys]) == 0
    assert sign_policy.main(["--check", str(policy)]) == 1
    policy.write_text(policy.read_text() + "\n")
    assert sign_policy.main(["--check", str(policy), *keys]) == 1


def test_a_policy_that_would_be_refused_is_not_signed(policy, tmp_path, capsys):
    policy.write_text(policy.read_text() + "\n[surprise]\n")
    assert sign_policy.main([str(policy)]) == 1
    assert not (tmp_path / "policy.toml.sig").exists()
    assert "surprise" in capsys.readouterr().err


def test_the_development_policy_in_the_project_is_signed():
    assert sign_policy.main(["--check", str(RESOURCES / "policy" / "policy.toml")]) == 0
