import shutil

import pytest

from govdesk import crypto
from govdesk.inference.manifest import read_manifest
from installer import sign_manifest


@pytest.fixture
def manifest(checkout, tmp_path):
    original = checkout / "models" / "smollm2-135m-instruct.toml"
    for path in (original, sign_manifest.signature_of(original)):
        shutil.copy(path, tmp_path)
    return tmp_path / original.name


def trust():
    return sign_manifest.DEVELOPMENT_TRUST.read_text()


def test_the_committed_signatures_check(checkout):
    manifests = sorted((checkout / "models").glob("*.toml"))
    assert [path.stem for path in manifests] == ["gemma-3-270m", "smollm2-135m-instruct"]
    assert sign_manifest.main(["--check", *map(str, manifests)]) == 0
    assert {len(sign_manifest.signature_of(path).read_bytes()) for path in manifests} == {4627}


def test_a_changed_manifest_does_not_check(manifest, capsys):
    assert sign_manifest.checks(manifest, trust())
    manifest.write_bytes(manifest.read_bytes().replace(b"version = 2", b"version = 3"))
    assert not sign_manifest.checks(manifest, trust())
    assert sign_manifest.main(["--check", str(manifest)]) == 1
    assert "DOES NOT CHECK" in capsys.readouterr().out


@pytest.mark.parametrize("change", [lambda s: s[:-1], lambda s: bytes([s[0] ^ 1]) + s[1:], lambda s: b""])
def test_a_changed_signature_does_not_check(manifest, change):
    signature = sign_manifest.signature_of(manifest)
    signature.write_bytes(change(signature.read_bytes()))
    assert not sign_manifest.checks(manifest, trust())


def test_no_signature_does_not_check(manifest):
    sign_manifest.signature_of(manifest).unlink()
    assert not sign_manifest.checks(manifest, trust())


def test_another_key_or_another_context_does_not_check(manifest):
    private, public = crypto.new_signing_key()
    assert not sign_manifest.checks(manifest, public)
    sign_manifest.sign(manifest, private)
    assert sign_manifest.checks(manifest, public)
    assert not sign_manifest.checks(manifest, trust())
    other = crypto.sign(private, manifest.read_bytes(), context=b"govdesk policy v1")
    sign_manifest.signature_of(manifest).write_bytes(other)
    assert not sign_manifest.checks(manifest, public)


def test_signing_anew_after_a_change(manifest):
    manifest.write_bytes(manifest.read_bytes() + b"\n")
    assert sign_manifest.main([str(manifest)]) == 0
    assert sign_manifest.checks(manifest, trust())


@pytest.mark.parametrize("flags", [[], ["--check"]])
def test_a_missing_manifest_is_said_and_nothing_is_signed(tmp_path, flags, capsys):
    assert sign_manifest.main([*flags, str(tmp_path / "gone.toml")]) in {1, 4}
    said = capsys.readouterr()
    assert "gone.toml" in said.out + said.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", ["--key", "--trust"])
@pytest.mark.parametrize("content", [None, b"no key", b"\xff\xfe"])
def test_a_key_that_cannot_be_used_is_said(manifest, tmp_path, flag, content, capsys):
    key = tmp_path / "key.pem"
    if content is not None:
        key.write_bytes(content)
    assert sign_manifest.main([flag, str(key), str(manifest)]) in {1, 4}
    said = capsys.readouterr()
    assert "sign_manifest:" in said.err or "DOES NOT CHECK" in said.out


def test_what_is_signed_here_is_what_the_catalogue_reads(manifest):
    private, public = crypto.new_signing_key()
    sign_manifest.sign(manifest, private)
    assert read_manifest(manifest, (public,)).name == "smollm2-135m-instruct"
