import datetime
import os
import shutil

import pytest

from govdesk import crypto
from govdesk.config import CHECKOUT, RESOURCES
from govdesk.domain.policy import PolicySource
from govdesk.domain.redaction import Direction, Operator
from govdesk.errors import PolicyError
from govdesk.marking.parser import parse
from govdesk.policy import checks, loader
from govdesk.policy.builtin import EMBEDDED_MODEL_SHA384, strict_policy

POLICY = RESOURCES / "policy"
DEVELOPMENT_KEY = CHECKOUT / "installer" / "development" / "signing.key"
DEVELOPMENT_ROOT = (POLICY / "trust" / "development-signing.pem").read_text()
TODAY = datetime.date(2030, 5, 1)


def code_of(load, *arguments, **options):
    with pytest.raises(PolicyError) as refused:
        load(*arguments, **options)
    assert refused.value.explain()
    return refused.value.code


# ── the signature comes first ────────────────────────────────────────────────


def test_a_signed_policy_is_in_force(load, good):
    in_force = load(good)
    assert in_force.source is PolicySource.SITE
    assert in_force.warning == ""
    assert in_force.stamp == f"site-a@{crypto.sha384(good.encode()).hex()[:16]}"
    assert in_force.policy.rules(Direction.LOG).operator("US_SSN") is Operator.REDACT


def test_every_changed_byte_is_refused(load, keys, good):
    content = good.encode()
    signature = crypto.sign(keys[0], content, context=loader.CONTEXT)
    for place in range(len(content)):
        changed = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        assert code_of(load, changed, signature=signature) == "policy.signature"
    assert code_of(load, content + b"\n", signature=signature) == "policy.signature"
    assert code_of(load, content[:-1], signature=signature) == "policy.signature"


@pytest.mark.parametrize("place", [0, 100, 2_313, 4_626])
def test_a_changed_signature_is_refused(load, keys, good, place):
    signature = bytearray(crypto.sign(keys[0], good.encode(), context=loader.CONTEXT))
    signature[place] ^= 1
    assert code_of(load, good, signature=bytes(signature)) == "policy.signature"


@pytest.mark.parametrize("signature", [b"", b"x", bytes(4_627), bytes(4_628)])
def test_what_is_no_signature_is_refused(load, good, signature):
    assert code_of(load, good, signature=signature) == "policy.signature"


def test_a_signature_made_for_something_else_is_refused(load, good):
    assert code_of(load, good, context=b"govdesk model manifest v1") == "policy.signature"
    assert code_of(load, good, context=b"") == "policy.signature"


def test_the_key_has_to_be_trusted(load, keys, good):
    other = crypto.new_signing_key()[1]
    sealing = crypto.new_sealing_key()[1]
    assert code_of(load, good, roots=[]) == "policy.signature"
    assert code_of(load, good, roots=[other]) == "policy.signature"
    assert code_of(load, good, roots=["", "not a key", sealing, keys[0]]) == "policy.signature"
    assert load(good, roots=["not a key", other, keys[1]]).source is PolicySource.SITE


def test_nothing_is_decoded_before_the_signature_was_checked(load, keys):
    bad = "this is not toml ["
    assert code_of(load, bad, signature=bytes(4_627)) == "policy.signature"
    assert code_of(load, bad) == "policy.syntax"


# ── the development key ──────────────────────────────────────────────────────


def test_the_development_key_is_known_by_itself():
    assert loader.is_development_root(DEVELOPMENT_ROOT)
    body = "".join(DEVELOPMENT_ROOT.splitlines()[1:-1])
    lines = [body[at : at + 40] for at in range(0, len(body), 40)]
    wrapped = "\n".join(["a comment", "-----BEGIN PUBLIC KEY-----", *lines, "-----END PUBLIC KEY-----", ""])
    assert loader.is_development_root(wrapped)
    assert not loader.is_development_root(crypto.new_signing_key()[1])
    assert not loader.is_development_root("not a key")


def test_an_installed_build_never_trusts_it(load, good):
    signature = crypto.sign(DEVELOPMENT_KEY.read_text(), good.encode(), context=loader.CONTEXT)
    in_force = load(good, signature=signature, roots=[DEVELOPMENT_ROOT], installed=False)
    assert in_force.source is PolicySource.DEVELOPMENT
    assert in_force.warning == "development policy: not for classified use"
    assert (
        code_of(load, good, signature=signature, roots=[DEVELOPMENT_ROOT], installed=True)
        == "policy.signature"
    )


def test_the_key_beside_a_sites_key_does_not_taint_it(load, keys, good):
    assert load(good, roots=[DEVELOPMENT_ROOT, keys[1]], installed=True).source is PolicySource.SITE
    assert load(good, roots=[DEVELOPMENT_ROOT, keys[1]], installed=False).source is PolicySource.SITE


# ── what the file says ───────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("version = 3", "version = 3\nsurprise = 1", "policy.unknown-key"),
        ("[consent]", "[consent]\nfont = 1", "policy.unknown-key"),
        ('default = "redact"', 'default = "redact"\ndefaults = "allow"', "policy.unknown-key"),
        ('id = "site-a"\n', "", "policy.shape"),
        ("version = 3", 'version = "3"', "policy.shape"),
        ("version = 3", "version = 3.5", "policy.shape"),
        ('default = "redact"', 'default = "ignore"', "policy.shape"),
        ('id = "site-a"', "id = ", "policy.syntax"),
        ("version = 3", "version = 3\nversion = 4", "policy.syntax"),
        ("schema = 1", "schema = 2", "policy.schema"),
        ("schema = 1", "schema = 0", "policy.schema"),
        ("version = 3", "version = 0", "policy.version"),
        ("version = 3", "version = 1000000001", "policy.version"),
        ("site-a", "Site A", "policy.id"),
        ("site-a", "s" * 65, "policy.id"),
        ("SECRET//NOFORN", "SECRIT", "policy.marking"),
        ("Use is monitored.", " ", "policy.consent"),
        ("redaction.prompt", "redaction.prompts", "policy.direction"),
        ('default = "redact"', 'types = { US_SNN = "allow" }', "policy.entity-type"),
        ('default = "redact"', 'types = { "SECRET.ANY" = "allow" }', "policy.entity-type"),
        ('default = "redact"', 'types = { "*" = "allow" }', "policy.entity-type"),
        ('default = "redact"', 'default = "mask"', "policy.mask-secret"),
        ('default = "redact"', 'types = { "SECRET.*" = "mask" }', "policy.mask-secret"),
        ('default = "redact"', 'types = { "SECRET.TOKEN" = "mask" }', "policy.mask-secret"),
        ('default = "redact"', 'types = { MARKING = "redact" }', "policy.marking-operator"),
        ('default = "redact"', 'types = { MARKING = "allow" }', "policy.marking-operator"),
        (
            'default = "redact"',
            'default = "redact"\n[redaction.output]\ntypes = { MARKING = "warn" }',
            "policy.marking-operator",
        ),
        (
            'default = "redact"',
            'default = "redact"\n[redaction.storage]\ntypes = { MARKING = "mask" }',
            "policy.marking-operator",
        ),
        ("version = 3", 'version = 3\nmin_app = "1.2.4"', "policy.min-app"),
        ("version = 3", 'version = 3\nmin_app = "1.10"', "policy.min-app"),
        ("version = 3", 'version = 3\nmin_app = "new"', "policy.min-app"),
        ("version = 3", "version = 3\nexpires = 2030-04-30", "policy.expired"),
        ("version = 3", 'version = 3\nexpires = "never"', "policy.shape"),
        ("[consent]", "[session]\nidle_lock_seconds = 0\n[consent]", "policy.idle-lock"),
        ("[consent]", "[session]\nidle_lock_seconds = 86400\n[consent]", "policy.idle-lock"),
        ("[consent]", "[session]\nminimum_passphrase_characters = 4\n[consent]", "policy.passphrase"),
        ("[consent]", '[models]\napproved = ["ABC"]\n[consent]', "policy.model-digest"),
        ("[consent]", '[audit]\nofficers = ["none"]\n[consent]', "policy.officer-key"),
    ],
)
def test_what_cannot_be_carried_out_is_refused(load, good, old, new, code):
    assert old in good
    assert code_of(load, good.replace(old, new, 1)) == code


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("version = 3", 'version = 3\nmin_app = "1.2.3"'),
        ("version = 3", 'version = 3\nmin_app = "1.2"'),
        ("version = 3", "version = 3\nexpires = 2030-05-01"),
        (
            'default = "redact"',
            'types = { "SECRET.*" = "block", US_SSN = "mask", "CUSTOM.PROJECT_X" = "warn" }',
        ),
        ('[redaction.prompt]\ndefault = "redact"', "[redaction]"),
    ],
)
def test_what_can_be_carried_out_is_taken(load, good, old, new):
    assert old in good
    assert load(good.replace(old, new, 1)).policy.id == "site-a"


def test_a_marking_blocks_where_it_is_written_said_or_not(load, good):
    policy = load(good).policy
    assert policy.rules(Direction.PROMPT).operator("MARKING") is Operator.BLOCK
    assert policy.rules(Direction.OUTPUT).operator("MARKING") is Operator.BLOCK
    assert policy.rules(Direction.PROMPT).operator("US_SSN") is Operator.REDACT
    assert policy.rules(Direction.STORAGE).operator("MARKING") is Operator.REDACT


def test_an_officers_key_has_to_be_of_the_right_kind(load, good, keys):
    sealing = crypto.new_sealing_key()[1]
    taken = good.replace("[consent]", f'[audit]\nofficers = ["""{sealing}"""]\n[consent]')
    assert load(taken).policy.audit.officers == (sealing,)
    refused = good.replace("[consent]", f'[audit]\nofficers = ["""{keys[1]}"""]\n[consent]')
    assert code_of(load, refused) == "policy.officer-key"


def test_sizes_are_bounded(load, good):
    assert code_of(load, good + "#" * loader.MAX_POLICY_BYTES) == "policy.size"


@pytest.mark.parametrize("text", [b"\xff\xfe", b"a = \x00", b"a = " + b"[" * 5_000])
def test_bytes_that_are_no_toml_are_refused(load, text):
    assert code_of(load, text) == "policy.syntax"


# ── the policy of a folder ───────────────────────────────────────────────────


def in_force(directory, **options):
    return loader.policy_in_force(
        directory, check_marking=parse, today=options.pop("today", TODAY), **{"installed": False, **options}
    )


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(POLICY, tmp_path / "policy")


def test_the_development_policy_is_in_force_in_a_checkout(folder):
    found, error = in_force(folder)
    assert error is None
    assert found.source is PolicySource.DEVELOPMENT
    assert found.warning == loader.DEVELOPMENT_WARNING
    policy = found.policy
    assert policy.system_high == "UNCLASSIFIED"
    assert policy.session.idle_lock_seconds == 900
    assert policy.session.minimum_passphrase_characters == 15
    assert EMBEDDED_MODEL_SHA384 in policy.models.approved
    assert policy.audit.officers == ((POLICY / "trust" / "development-officer.pem").read_text(),)
    prompt = policy.rules(Direction.PROMPT)
    assert prompt.operator("SECRET.PRIVATE_KEY") is Operator.BLOCK
    assert prompt.operator("MARKING") is Operator.BLOCK
    for direction in Direction:
        assert policy.rules(direction).operator("US_SSN") is Operator.REDACT


def spoil_text(folder):
    file = folder / "policy.toml"
    file.write_text(file.read_text().replace("900", "901"))


SPOILED = [
    (spoil_text, "policy.signature"),
    (lambda folder: (folder / "policy.toml").unlink(), "policy.missing"),
    (lambda folder: (folder / "policy.toml.sig").unlink(), "policy.missing"),
    (lambda folder: (folder / "policy.toml.sig").write_bytes(bytes(4_628)), "policy.size"),
    (lambda folder: (folder / "policy.toml").write_bytes(b"#" * 1_000_001), "policy.size"),
    (lambda folder: (folder / "trust" / "development-signing.pem").unlink(), "policy.signature"),
    (lambda folder: (folder / "trust" / "more.pem").write_bytes(b"#" * 20_000), "policy.size"),
    (lambda folder: shutil.rmtree(folder / "trust"), "policy.signature"),
    (shutil.rmtree, "policy.missing"),
    (
        lambda folder: [(folder / "policy.toml").unlink(), (folder / "policy.toml").mkdir()],
        "policy.unreadable",
    ),
]


@pytest.mark.parametrize(("spoil", "code"), SPOILED)
def test_a_bad_policy_means_the_strict_one(folder, spoil, code):
    spoil(folder)
    found, error = in_force(folder)
    assert found == strict_policy()
    assert error is not None
    assert error.code == code
    assert "strict policy is in force" in error.explain()


def test_an_installed_build_runs_the_strict_policy_rather_than_the_development_one(folder):
    found, error = in_force(folder, installed=True)
    assert found.source is PolicySource.BUILT_IN
    assert error is not None


def test_the_strict_policy_is_strict():
    strict = strict_policy()
    assert strict.source is PolicySource.BUILT_IN
    assert strict.warning == "no valid policy"
    assert strict.policy.system_high == "UNCLASSIFIED"
    assert strict.policy.models.approved == (EMBEDDED_MODEL_SHA384,)
    for direction in Direction:
        rules = strict.policy.rules(direction)
        assert rules.default is Operator.REDACT
        assert set(rules.types.values()) <= {Operator.BLOCK}
    for direction in (Direction.PROMPT, Direction.OUTPUT):
        for entity_type in ("SECRET.PRIVATE_KEY", "SECRET.TOKEN", "SECRET.GENERIC", "MARKING"):
            assert strict.policy.rules(direction).operator(entity_type) is Operator.BLOCK


def test_the_strict_policy_passes_its_own_checks():
    checks.check(strict_policy().policy, check_marking=parse, today=TODAY, app_version="0.0.1")


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "policy.toml")
    with pytest.raises(PolicyError) as refused:
        loader.read_bounded(tmp_path / "policy.toml", 10)
    assert refused.value.code == "policy.unreadable"
