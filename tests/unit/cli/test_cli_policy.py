import argparse
import json
import shutil

import pytest

from govdesk.cli import policy


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(policy.DIRECTORY, tmp_path / "policy")


def run(capsys, *arguments):
    parser = argparse.ArgumentParser()
    policy.add_arguments(parser)
    code = policy.run(parser.parse_args([str(argument) for argument in arguments]))
    return code, capsys.readouterr().out


def check(capsys, *arguments):
    code, out = run(capsys, "check", "--json", *arguments)
    return code, json.loads(out)


def test_the_development_policy_is_accepted_here_and_not_where_installed(capsys, folder):
    code, found = check(capsys, folder / "policy.toml")
    assert (code, found["valid"], found["signature"]) == (0, True, "trusted")
    assert found["warning"] == "development policy: not for classified use"
    code, found = check(capsys, "--installed", folder / "policy.toml")
    assert (code, found["valid"], found["code"]) == (1, False, "policy.signature")


def test_a_draft_is_checked_without_its_signature(capsys, folder):
    draft = folder / "draft.toml"
    draft.write_text((folder / "policy.toml").read_text())
    assert check(capsys, draft)[0] == 4
    code, found = check(capsys, "--unsigned", draft)
    assert (code, found["signature"]) == (0, "not checked")
    draft.write_text(draft.read_text().replace("UNCLASSIFIED", "SECRET//NF"))
    code, found = check(capsys, "--unsigned", draft)
    assert (code, found["code"]) == (1, "policy.marking")
    assert "SECRET//NOFORN" in found["why"]


def test_trust_can_be_named(capsys, folder, tmp_path):
    (tmp_path / "empty").mkdir()
    code, found = check(capsys, "--trust", tmp_path / "empty", folder / "policy.toml")
    assert (code, found["signature"]) == (1, "refused")


def test_a_missing_file(capsys, tmp_path):
    assert run(capsys, "check", tmp_path / "none.toml")[0] == 4


def test_show(capsys, folder, monkeypatch):
    monkeypatch.setattr(policy, "DIRECTORY", folder)
    code, out = run(capsys, "show", "--json")
    found = json.loads(out)
    assert (code, found["source"], found["problem"]) == (0, "development", None)
    assert found["policy"]["id"] == "govdesk-development"
    assert "not for classified use" in run(capsys, "show")[1]
    (folder / "policy.toml.sig").unlink()
    found = json.loads(run(capsys, "show", "--json")[1])
    assert (found["source"], found["warning"]) == ("built-in", "no valid policy")
    assert "policy.toml.sig" in found["problem"]
    assert "no valid policy" in run(capsys, "show")[1]
