"""The passphrase opens, the recovery code opens, nothing else does; a bad file is refused with its reason."""

import copy
import json
import os
import stat

import pytest

from govdesk import crypto
from govdesk.errors import BugError, DiskFullError, HomeError, KeySlotError, UsageError, WrongPassphraseError
from govdesk.session import key_slots, slot_file
from govdesk.session.key_slots import KeySlots, MachineSecret
from govdesk.session.keys import DataKeys, Purpose
from govdesk.session.recovery import RecoveryCode

PASSPHRASE = "seven quiet herons wade"
QUICK = {"minimum_iterations": 1, "iterations": 10}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.json"


@pytest.fixture
def slots(path):
    return KeySlots(path, **QUICK)


def database_key(keys):
    with keys[Purpose.DATABASE].use() as key:
        return bytes(key)


def test_passphrase_and_recovery_code_open_the_same_key(slots, path):
    keys, code = slots.create(PASSPHRASE)
    expected = database_key(keys)
    assert len(expected) == 32
    assert any(expected)
    assert database_key(slots.unlock(PASSPHRASE)) == expected
    assert database_key(slots.unlock_with_recovery(code.text)) == expected
    assert database_key(slots.unlock_with_recovery(code.text.lower().replace("-", " "))) == expected
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [f.name for f in path.parent.iterdir()] == ["keys.json"]


def test_two_profiles_share_nothing(tmp_path):
    files, keys = [], []
    for name in ("a.json", "b.json"):
        opened, _ = KeySlots(tmp_path / name, **QUICK).create(PASSPHRASE)
        keys.append(database_key(opened))
        files.append(json.loads((tmp_path / name).read_text()))
    assert keys[0] != keys[1]
    for one, other in zip(files[0]["slots"], files[1]["slots"], strict=True):
        assert one["salt"] != other["salt"]
        assert one["wrapped"] != other["wrapped"]


@pytest.mark.parametrize("wrong", ["", PASSPHRASE + " ", PASSPHRASE.upper(), "something else entirely"])
def test_a_wrong_passphrase(slots, path, wrong):
    slots.create(PASSPHRASE)
    before = path.read_bytes()
    with pytest.raises(WrongPassphraseError) as caught:
        slots.unlock(wrong)
    assert caught.value.code == "unlock.wrong-passphrase"
    assert caught.value.exit_code == 4
    assert path.read_bytes() == before


def test_another_profiles_recovery_code(slots):
    slots.create(PASSPHRASE)
    with pytest.raises(WrongPassphraseError) as caught:
        slots.unlock_with_recovery(RecoveryCode.new().text)
    assert caught.value.code == "unlock.wrong-passphrase"


def test_composed_and_decomposed_letters_are_the_same_passphrase(slots):
    keys, _ = slots.create("caf\u00e9 \u00fcber \u1e69")
    assert database_key(slots.unlock("cafe\u0301 u\u0308ber s\u0323\u0307")) == database_key(keys)


def test_changing_the_passphrase_wraps_again_only(slots, path):
    keys, code = slots.create(PASSPHRASE)
    before = json.loads(path.read_text())
    slots.change_passphrase(PASSPHRASE, "nine loud herons stand")
    after = json.loads(path.read_text())
    assert after["keys"] == before["keys"]
    assert after["slots"][1] == before["slots"][1]
    assert after["slots"][0] != before["slots"][0]
    assert after["slots"][0]["salt"] != before["slots"][0]["salt"]
    assert database_key(slots.unlock("nine loud herons stand")) == database_key(keys)
    assert database_key(slots.unlock_with_recovery(code.text)) == database_key(keys)
    with pytest.raises(WrongPassphraseError):
        slots.unlock(PASSPHRASE)


def test_a_wrong_old_passphrase_changes_nothing(slots, path):
    slots.create(PASSPHRASE)
    before = path.read_bytes()
    with pytest.raises(WrongPassphraseError):
        slots.change_passphrase("wrong", "nine loud herons stand")
    assert path.read_bytes() == before


def test_a_lost_passphrase_is_replaced_with_the_recovery_code(slots):
    keys, code = slots.create(PASSPHRASE)
    slots.reset_passphrase(code.text, "nine loud herons stand")
    assert database_key(slots.unlock("nine loud herons stand")) == database_key(keys)
    with pytest.raises(WrongPassphraseError):
        slots.unlock(PASSPHRASE)


def test_create_never_replaces(slots, path):
    slots.create(PASSPHRASE)
    before = path.read_bytes()
    with pytest.raises(HomeError) as caught:
        slots.create(PASSPHRASE)
    assert caught.value.code == "unlock.profile-exists"
    assert path.read_bytes() == before


def test_the_machine_secret_counts(path):
    secret = MachineSecret("file", b"m" * 32)
    slots = KeySlots(path, machine_secret=secret, **QUICK)
    keys, code = slots.create(PASSPHRASE)
    assert database_key(slots.unlock(PASSPHRASE)) == database_key(keys)
    other = KeySlots(path, machine_secret=MachineSecret("file", b"n" * 32), **QUICK)
    with pytest.raises(WrongPassphraseError):
        other.unlock(PASSPHRASE)
    without = KeySlots(path, **QUICK)
    with pytest.raises(KeySlotError) as caught:
        without.unlock(PASSPHRASE)
    assert caught.value.code == "unlock.machine-secret"
    assert database_key(without.unlock_with_recovery(code.text)) == database_key(keys)
    without.reset_passphrase(code.text, "nine loud herons stand")
    assert json.loads(path.read_text())["slots"][0]["machine_secret"] == "none"
    assert database_key(without.unlock("nine loud herons stand")) == database_key(keys)
    assert "m" * 8 not in repr(secret)
    with pytest.raises(BugError):
        MachineSecret("file", b"short")


def test_the_floor_holds_for_files_and_for_new_slots(path):
    KeySlots(path, minimum_iterations=1, iterations=599_999).create(PASSPHRASE)
    with pytest.raises(KeySlotError) as caught:
        KeySlots(path).unlock(PASSPHRASE)
    assert caught.value.code == "unlock.key-slots.weak"
    path.unlink()
    with pytest.raises(BugError):
        KeySlots(path, iterations=599_999).create(PASSPHRASE)
    assert not path.exists()


def test_without_a_number_the_machine_is_measured(path, monkeypatch):
    monkeypatch.setattr(crypto, "calibrate_pbkdf2", lambda: 23)
    slots = KeySlots(path, minimum_iterations=1)
    slots.create(PASSPHRASE)
    assert json.loads(path.read_text())["slots"][0]["iterations"] == 23
    slots.unlock(PASSPHRASE)


def test_the_real_calibration_keeps_the_floor(path):
    slots = KeySlots(path)
    keys, _ = slots.create(PASSPHRASE)
    assert json.loads(path.read_text())["slots"][0]["iterations"] >= 600_000
    assert database_key(slots.unlock(PASSPHRASE)) == database_key(keys)


def test_known_answer(path):
    """Computed with hashlib, hmac and RFC 5869/5649 by hand from the format in the module's head."""
    import hashlib
    import hmac

    from cryptography.hazmat.primitives import keywrap

    keys, code = KeySlots(path, **QUICK).create(PASSPHRASE)
    file = slot_file.read(path, 1)

    def hkdf(secret, salt, info, extract=True):
        prk = hmac.digest(salt, secret, "sha384") if extract else secret
        return hmac.digest(prk, info + b"\x01", "sha384")[:32]

    stretched = hashlib.pbkdf2_hmac("sha512", PASSPHRASE.encode(), file.passphrase.salt, 10, 64)
    kek = hkdf(stretched, file.passphrase.salt, b"govdesk/key-slots/1/passphrase/none")
    profile_key = keywrap.aes_key_unwrap_with_padding(kek, file.passphrase.wrapped)
    kek = hkdf(code.secret, file.recovery.salt, b"govdesk/key-slots/1/recovery-code")
    assert keywrap.aes_key_unwrap_with_padding(kek, file.recovery.wrapped) == profile_key
    kek = hkdf(profile_key, b"", b"govdesk/key-slots/1/purpose/database", extract=False)
    assert keywrap.aes_key_unwrap_with_padding(kek, file.keys[Purpose.DATABASE]) == database_key(keys)


# ── bad files ────────────────────────────────────────────────────────────────


def edited(change):
    def edit(path):
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    return edit


def raw(content):
    return lambda path: path.write_bytes(content)


BAD = {
    "empty": (raw(b""), "unlock.key-slots"),
    "text": (raw(b"hello"), "unlock.key-slots"),
    "bytes": (raw(b"\xff\xfe\x00"), "unlock.key-slots"),
    "list": (raw(b"[]"), "unlock.key-slots"),
    "deep": (raw(b"[" * 60_000), "unlock.key-slots"),
    "large": (raw(b" " * 70_000), "unlock.key-slots"),
    "unknown key": (edited(lambda c: c.update(extra=1)), "unlock.key-slots"),
    "unknown key in slot": (edited(lambda c: c["slots"][0].update(extra=1)), "unlock.key-slots"),
    "newer": (edited(lambda c: c.update(schema=2, novel={})), "unlock.key-slots.newer"),
    "schema 0": (edited(lambda c: c.update(schema=0)), "unlock.key-slots"),
    "no recovery": (edited(lambda c: c["slots"].pop(1)), "unlock.key-slots"),
    "no passphrase": (edited(lambda c: c["slots"].pop(0)), "unlock.key-slots"),
    "two passphrases": (edited(lambda c: c["slots"].append(c["slots"][0])), "unlock.key-slots"),
    "many slots": (edited(lambda c: c.update(slots=c["slots"] * 10)), "unlock.key-slots"),
    "no keys": (edited(lambda c: c.update(keys={})), "unlock.key-slots"),
    "unknown purpose": (edited(lambda c: c["keys"].update(other=c["keys"]["database"])), "unlock.key-slots"),
    "short salt": (edited(lambda c: c["slots"][0].update(salt="AAAA")), "unlock.key-slots"),
    "short wrapped": (edited(lambda c: c["slots"][1].update(wrapped="AAAA")), "unlock.key-slots"),
    "unknown secret": (edited(lambda c: c["slots"][0].update(machine_secret="usb")), "unlock.key-slots"),
    "no iterations": (edited(lambda c: c["slots"][0].update(iterations=0)), "unlock.key-slots"),
    "endless iterations": (edited(lambda c: c["slots"][0].update(iterations=10**9)), "unlock.key-slots"),
    "changed data key": (edited(lambda c: c["keys"].update(database="A" * 54 + "==")), "unlock.key-slots"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_refused_and_left_as_it_is(slots, path, name):
    slots.create(PASSPHRASE)
    spoil, code = BAD[name]
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(KeySlotError) as caught:
        slots.unlock(PASSPHRASE)
    assert caught.value.code == code
    assert caught.value.kept
    assert caught.value.todo
    assert path.read_bytes() == before


def test_every_flipped_bit_is_refused_or_harmless(slots, path):
    """A flip in JSON's white space may be harmless; no flip may open another key."""
    keys, _ = slots.create(PASSPHRASE)
    expected, whole = database_key(keys), path.read_bytes()
    refused = 0
    for index in range(len(whole)):
        content = bytearray(whole)
        content[index] ^= 1 << (index % 7)
        path.write_bytes(content)
        try:
            assert database_key(slots.unlock(PASSPHRASE)) == expected
        except (KeySlotError, WrongPassphraseError):
            refused += 1
    assert refused > len(whole) // 2


def test_a_missing_file(slots):
    with pytest.raises(KeySlotError) as caught:
        slots.unlock(PASSPHRASE)
    assert caught.value.code == "unlock.no-profile"


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_something_else_in_its_place(slots, path, tmp_path, kind):
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        (tmp_path / "real").write_bytes(b"{}")
        path.symlink_to(tmp_path / "real")
    else:
        os.mkfifo(path)
    with pytest.raises(KeySlotError):
        slots.unlock(PASSPHRASE)


def test_a_full_disk_keeps_the_old_keys(slots, path, monkeypatch):
    keys, _ = slots.create(PASSPHRASE)
    before = path.read_bytes()

    def full(descriptor, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(DiskFullError):
        slots.change_passphrase(PASSPHRASE, "nine loud herons stand")
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert database_key(slots.unlock(PASSPHRASE)) == database_key(keys)
    slots.change_passphrase(PASSPHRASE, "nine loud herons stand")
    slots.unlock("nine loud herons stand")


def test_a_folder_that_is_gone(tmp_path):
    with pytest.raises(HomeError):
        KeySlots(tmp_path / "gone" / "keys.json", **QUICK).create(PASSPHRASE)


def test_the_old_file_stays_until_the_new_one_is_durable(slots, path, monkeypatch):
    """At each system call of a change the file holds the old or the new slots, whole."""
    slots.create(PASSPHRASE)
    steps = []

    def watch(name):
        real = getattr(os, name)

        def watched(*arguments, **named):
            steps.append((name, path.read_bytes()))
            return real(*arguments, **named)

        monkeypatch.setattr(os, name, watched)

    before = path.read_bytes()
    for name in ("write", "fsync", "replace"):
        watch(name)
    slots.change_passphrase(PASSPHRASE, "nine loud herons stand")
    after = path.read_bytes()
    assert [name for name, _ in steps] == ["write", "fsync", "replace", "fsync"]
    assert [content for _, content in steps] == [before, before, before, after]


def test_a_file_that_others_can_read_is_closed_to_them(slots, path):
    slots.create(PASSPHRASE)
    path.chmod(0o644)
    slots.unlock(PASSPHRASE)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_secret_is_in_the_file_or_in_a_repr(slots, path):
    keys, code = slots.create(PASSPHRASE)
    content = path.read_bytes()
    for secret in (PASSPHRASE.encode(), code.text.encode(), code.secret, database_key(keys)):
        assert secret not in content
        for shown in (repr(keys), repr(code), repr(keys[Purpose.DATABASE]), str(keys[Purpose.DATABASE])):
            assert secret.hex() not in shown
            assert repr(secret)[2:-1] not in shown


def test_a_passphrase_that_is_not_text(slots):
    with pytest.raises(UsageError):
        slots.create("\ud800 half a character")


def test_keys_cannot_be_copied(slots):
    import pickle

    keys, _ = slots.create(PASSPHRASE)
    for copier in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError):
            copier(keys[Purpose.DATABASE])


# ── nothing of a key stays behind ────────────────────────────────────────────


@pytest.fixture
def profile_keys(monkeypatch):
    """Every copy of the profile key that is held as one that can be overwritten."""
    seen = []
    unwrap, wrap = key_slots._unwrap_slot, key_slots._wrap_data_key

    def note_unwrapped(*arguments):
        seen.append(unwrap(*arguments))
        return seen[-1]

    def note_wrapping(profile_key, *arguments):
        seen.append(profile_key)
        return wrap(profile_key, *arguments)

    monkeypatch.setattr(key_slots, "_unwrap_slot", note_unwrapped)
    monkeypatch.setattr(key_slots, "_wrap_data_key", note_wrapping)
    return seen


def test_the_profile_key_is_overwritten_after_each_use(tmp_path, profile_keys):
    slots = KeySlots(tmp_path / "keys.json", minimum_iterations=1, iterations=10)
    _, code = slots.create("a passphrase")
    slots.unlock("a passphrase")
    slots.unlock_with_recovery(code.text)
    slots.change_passphrase("a passphrase", "another passphrase")
    slots.reset_passphrase(code.text, "a third passphrase")
    slots.renew_recovery("a third passphrase")
    assert len(profile_keys) >= 7
    assert all(len(key) == 32 and not any(key) for key in profile_keys)


def test_the_data_keys_are_overwritten_when_the_file_cannot_be_written(tmp_path, monkeypatch):
    made = []
    init = DataKeys.__init__

    def note(self, holders):
        init(self, holders)
        made.append(self)

    def full(*_):
        raise DiskFullError("full")

    monkeypatch.setattr(DataKeys, "__init__", note)
    monkeypatch.setattr(key_slots.slot_file, "write", full)
    with pytest.raises(DiskFullError):
        KeySlots(tmp_path / "keys.json", minimum_iterations=1, iterations=10).create("a passphrase")
    assert len(made) == 2
    assert all(keys.wiped for keys in made)


def test_a_renewed_recovery_code_replaces_the_one_before(tmp_path):
    slots = KeySlots(tmp_path / "keys.json", minimum_iterations=1, iterations=10)
    keys, first = slots.create("a passphrase")
    second = slots.renew_recovery("a passphrase")
    with pytest.raises(WrongPassphraseError):
        slots.unlock_with_recovery(first.text)
    with keys[Purpose.DATABASE].use() as expected:
        for opened in (slots.unlock_with_recovery(second.text), slots.unlock("a passphrase")):
            with opened[Purpose.DATABASE].use() as key:
                assert key == expected
    with pytest.raises(WrongPassphraseError):
        slots.renew_recovery("a wrong passphrase")
