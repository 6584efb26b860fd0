"""A profile opens with its passphrase or its recovery code and nothing else; a change re-wraps only.

    passphrase ─PBKDF2, HKDF (+ machine secret)→ KEK ─KWP─┐
                                                          ├→ profile key ─HKDF→ KEK per use ─KWP→ data keys
    recovery code ─HKDF→ KEK ─────────────────────────KWP─┘

The profile key stands between slots and data keys so that a purpose can be added, or a slot changed,
by whoever holds any one slot. Each KEK is bound to its use by HKDF's info: a wrapped key moved to
another place in the file does not open.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from govdesk import crypto
from govdesk.errors import BugError, HomeError, KeySlotError, WrongPassphraseError
from govdesk.session import slot_file
from govdesk.session.keys import DataKeys, KeyHolder, Purpose
from govdesk.session.passphrase import normalised
from govdesk.session.recovery import RecoveryCode
from govdesk.session.slot_file import MachineSecretKind, PassphraseSlot, RecoverySlot, SlotFile

_INFO = b"govdesk/key-slots/1/"
MACHINE_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class MachineSecret:
    """256 bits that stay with the machine, or none (uninstalled).

    Args:
        kind: where it comes from; stored in the slot.
        value: 32 bytes; empty for `none`.
    """

    kind: MachineSecretKind = "none"
    value: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        if len(self.value) != (0 if self.kind == "none" else MACHINE_SECRET_BYTES):
            raise BugError(f"A machine secret has {MACHINE_SECRET_BYTES} bytes.")


NO_MACHINE_SECRET = MachineSecret()


class KeySlots:
    """The key slots of one profile.

    Args:
        path: `keys.json`.
        machine_secret: mixed into the passphrase slot, never into the recovery slot (that one must
            open the profile on another machine).
        minimum_iterations: floor for what the file may ask; lower in tests only.
        iterations: for slots made from now on; None calibrates to at least a second on this machine.
    """

    def __init__(
        self,
        path: Path,
        *,
        machine_secret: MachineSecret = NO_MACHINE_SECRET,
        minimum_iterations: int = crypto.MIN_PBKDF2_ITERATIONS,
        iterations: int | None = None,
    ) -> None:
        self._path = path
        self._machine_secret = machine_secret
        self._minimum_iterations = minimum_iterations
        self._iterations = iterations

    def create(self, passphrase: str) -> tuple[DataKeys, RecoveryCode]:
        """Make fresh keys, a passphrase slot and a recovery slot; takes about a second.

        Args:
            passphrase: judged before by `govdesk.session.passphrase.require_good`.

        Returns:
            The data keys (wipe them), and the recovery code to be shown once; it is stored nowhere.

        Raises:
            HomeError: there are keys already, which stay as they are.
            DiskFullError
        """
        if self._path.exists() or self._path.is_symlink():
            raise HomeError(
                "This profile has keys already.",
                code="unlock.profile-exists",
                kept="They were not touched.",
                todo="Unlock the profile, or choose another folder for a new one.",
            )
        profile_key = bytearray(crypto.random_bytes(crypto.KEY_BYTES))
        with DataKeys(
            {purpose: KeyHolder(crypto.random_bytes(crypto.KEY_BYTES)) for purpose in Purpose}
        ) as fresh:
            try:
                code = RecoveryCode.new()
                wrapped = {
                    purpose: _wrap_data_key(profile_key, purpose, fresh[purpose]) for purpose in Purpose
                }
                slots = (self._passphrase_slot(passphrase, profile_key), _recovery_slot(code, profile_key))
                file = SlotFile(slot_file.SCHEMA, slots, wrapped)
                # Opened from what is about to be written: a file that does not open is never written.
                keys = self._data_keys(file, self._open_with_recovery(file, code))
            finally:
                crypto.wipe(profile_key)
        try:
            slot_file.write(self._path, file)
        except BaseException:
            keys.wipe()
            raise
        return keys, code

    def unlock(self, passphrase: str) -> DataKeys:
        """Open the data keys with the passphrase; takes about a second.

        Raises:
            WrongPassphraseError: it opens nothing.
            KeySlotError: the file cannot be used, or wants another machine's secret.
        """
        file = self._read()
        return self._data_keys(file, self._open_with_passphrase(file, passphrase))

    def unlock_with_recovery(self, untrusted_code: str) -> DataKeys:
        """Open the data keys with the recovery code.

        Raises:
            WrongPassphraseError: mistyped (`unlock.recovery-typo`), or another profile's code.
            KeySlotError: the file cannot be used.
        """
        file = self._read()
        return self._data_keys(file, self._open_with_recovery(file, RecoveryCode.parse(untrusted_code)))

    def change_passphrase(self, old: str, new: str) -> None:
        """Wrap the profile key under a new passphrase; data keys and recovery code stay as they are.

        Raises:
            WrongPassphraseError: the old one opens nothing.
            KeySlotError, DiskFullError, HomeError: the old passphrase still holds.
        """
        file = self._read()
        self._replace_passphrase(file, self._open_with_passphrase(file, old), new)

    def reset_passphrase(self, untrusted_code: str, new: str) -> None:
        """Wrap the profile key under a new passphrase, opened by the recovery code.

        Raises:
            WrongPassphraseError: the code opens nothing.
            KeySlotError, DiskFullError, HomeError: the old passphrase still holds.
        """
        file = self._read()
        self._replace_passphrase(
            file, self._open_with_recovery(file, RecoveryCode.parse(untrusted_code)), new
        )

    def renew_recovery(self, passphrase: str) -> RecoveryCode:
        """Wrap the profile key under a new recovery code, to be shown once; the one before opens nothing.

        Raises:
            WrongPassphraseError: the passphrase opens nothing.
            KeySlotError, DiskFullError, HomeError: the old code still holds.
        """
        file = self._read()
        profile_key = self._open_with_passphrase(file, passphrase)
        code = RecoveryCode.new()
        try:
            slot = _recovery_slot(code, profile_key)
        finally:
            crypto.wipe(profile_key)
        slots = tuple(slot if isinstance(old, RecoverySlot) else old for old in file.slots)
        slot_file.write(self._path, SlotFile(file.schema, slots, file.keys))
        return code

    def _read(self) -> SlotFile:
        return slot_file.read(self._path, self._minimum_iterations)

    def _replace_passphrase(self, file: SlotFile, profile_key: bytearray, new: str) -> None:
        try:
            slot = self._passphrase_slot(new, profile_key)
        finally:
            crypto.wipe(profile_key)
        slots = tuple(slot if isinstance(old, PassphraseSlot) else old for old in file.slots)
        slot_file.write(self._path, SlotFile(file.schema, slots, file.keys))

    def _passphrase_slot(self, passphrase: str, profile_key: bytearray) -> PassphraseSlot:
        secret = normalised(passphrase)
        salt = crypto.random_bytes(slot_file.SALT_BYTES)
        iterations = self._iterations
        if iterations is None:
            iterations = min(crypto.calibrate_pbkdf2(), crypto.MAX_PBKDF2_ITERATIONS)
        if iterations < self._minimum_iterations:
            raise BugError("A passphrase slot would be weaker than its floor.")
        kek = _passphrase_kek(secret, salt, iterations, self._machine_secret)
        wrapped = crypto.wrap_key(kek, bytes(profile_key))
        return PassphraseSlot(salt, iterations, self._machine_secret.kind, wrapped)

    def _open_with_passphrase(self, file: SlotFile, passphrase: str) -> bytearray:
        slot = file.passphrase
        if slot.machine_secret != self._machine_secret.kind:
            raise KeySlotError(
                "The passphrase slot belongs to a machine secret that is not here.",
                code="unlock.machine-secret",
                kept="Nothing was changed.",
                todo="Unlock with the recovery code, then set the passphrase again on this machine.",
            )
        kek = _passphrase_kek(normalised(passphrase), slot.salt, slot.iterations, self._machine_secret)
        return _unwrap_slot(kek, slot.wrapped, "This passphrase does not open the profile.")

    @staticmethod
    def _open_with_recovery(file: SlotFile, code: RecoveryCode) -> bytearray:
        kek = _recovery_kek(code, file.recovery.salt)
        return _unwrap_slot(kek, file.recovery.wrapped, "This recovery code belongs to another profile.")

    @staticmethod
    def _data_keys(file: SlotFile, profile_key: bytearray) -> DataKeys:
        try:
            return DataKeys(
                {
                    purpose: KeyHolder(crypto.unwrap_key(_purpose_kek(profile_key, purpose), wrapped))
                    for purpose, wrapped in file.keys.items()
                }
            )
        except crypto.CryptoError:
            raise KeySlotError(
                "The key file is damaged: a data key does not open.",
                kept="It was left as it is, and so was the history.",
                todo="Put keys.json back from a backup of the profile.",
            ) from None
        finally:
            crypto.wipe(profile_key)


def _recovery_slot(code: RecoveryCode, profile_key: bytearray) -> RecoverySlot:
    salt = crypto.random_bytes(slot_file.SALT_BYTES)
    return RecoverySlot(salt, crypto.wrap_key(_recovery_kek(code, salt), bytes(profile_key)))


def _passphrase_kek(secret: bytes, salt: bytes, iterations: int, machine_secret: MachineSecret) -> bytes:
    # PBKDF2 gives 64 bytes always, so that the concatenation can be read one way only.
    stretched = crypto.pbkdf2(secret, salt=salt, iterations=iterations)
    info = _INFO + b"passphrase/" + machine_secret.kind.encode()
    return crypto.hkdf(stretched + machine_secret.value, salt=salt, info=info)


def _recovery_kek(code: RecoveryCode, salt: bytes) -> bytes:
    # No stretching: the code is 160 random bits.
    return crypto.hkdf(code.secret, salt=salt, info=_INFO + b"recovery-code")


def _purpose_kek(profile_key: bytearray, purpose: Purpose) -> bytes:
    return crypto.hkdf_expand(bytes(profile_key), info=_INFO + b"purpose/" + purpose.value.encode())


def _wrap_data_key(profile_key: bytearray, purpose: Purpose, holder: KeyHolder) -> bytes:
    with holder.use() as key:
        return crypto.wrap_key(_purpose_kek(profile_key, purpose), bytes(key))


def _unwrap_slot(kek: bytes, wrapped: bytes, refusal: str) -> bytearray:
    try:
        return bytearray(crypto.unwrap_key(kek, wrapped))
    except crypto.CryptoError:
        raise WrongPassphraseError(
            refusal,
            kept="Nothing was changed.",
            todo="Try again; a forgotten passphrase can be replaced with the recovery code.",
        ) from None
