"""`keys.json`: decoded strictly and bounded, replaced whole or not at all, readable by its owner only.

It holds wrapped keys, salts and counts; nothing in it opens anything without a passphrase or the
recovery code. Numbers in it are believed within bounds only.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from govdesk.crypto import MAX_PBKDF2_ITERATIONS
from govdesk.errors import DiskFullError, HomeError, KeySlotError
from govdesk.session.keys import Purpose

SCHEMA = 1
MAX_FILE_BYTES = 64 * 1024
MAX_SLOTS = 16
SALT_BYTES = 32
WRAPPED_BYTES = 40
"""A 32-byte key under AES key wrap with padding (RFC 5649)."""
_FILE_MODE = 0o600
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

Salt = Annotated[bytes, msgspec.Meta(min_length=SALT_BYTES, max_length=SALT_BYTES)]
Wrapped = Annotated[bytes, msgspec.Meta(min_length=WRAPPED_BYTES, max_length=WRAPPED_BYTES)]
Iterations = Annotated[int, msgspec.Meta(ge=1, le=MAX_PBKDF2_ITERATIONS)]
MachineSecretKind = Literal["none", "file", "tpm2"]


class PassphraseSlot(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="passphrase"
):
    """The profile key under PBKDF2-HMAC-SHA-512 and HKDF-SHA-384 of passphrase and machine secret."""

    salt: Salt
    iterations: Iterations
    machine_secret: MachineSecretKind
    wrapped: Wrapped


class RecoverySlot(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="recovery-code"
):
    """The profile key under HKDF-SHA-384 of the recovery code, which is random already."""

    salt: Salt
    wrapped: Wrapped


class SlotFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file: slots that each open the profile key, and the data keys that it opens."""

    schema: int
    slots: Annotated[tuple[PassphraseSlot | RecoverySlot, ...], msgspec.Meta(max_length=MAX_SLOTS)]
    keys: Annotated[dict[Purpose, Wrapped], msgspec.Meta(max_length=len(Purpose))]

    @property
    def passphrase(self) -> PassphraseSlot:
        """The passphrase slot; `read` made sure that there is one."""
        return next(slot for slot in self.slots if isinstance(slot, PassphraseSlot))

    @property
    def recovery(self) -> RecoverySlot:
        """The recovery slot; `read` made sure that there is one."""
        return next(slot for slot in self.slots if isinstance(slot, RecoverySlot))


class _Version(msgspec.Struct):
    schema: int


def read(path: Path, minimum_iterations: int) -> SlotFile:
    """Read and check the file.

    Args:
        path: `keys.json`.
        minimum_iterations: the floor under which a passphrase slot is refused.

    Raises:
        KeySlotError: missing, too large, damaged, newer, weak, or not readable.
    """
    untrusted_bytes = _bytes(path)
    try:
        version = msgspec.json.decode(untrusted_bytes, type=_Version).schema
        if version > SCHEMA:
            raise KeySlotError(
                f"The key file was written by a newer GovDesk (schema {version}; this one knows {SCHEMA}).",
                code="unlock.key-slots.newer",
                kept="It was not touched.",
                todo="Start the newer GovDesk.",
            )
        file = msgspec.json.decode(untrusted_bytes, type=SlotFile)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise _damaged("it does not have the shape of a key file") from None
    if version != SCHEMA:
        raise _damaged("its schema number is not one")
    kinds = [type(slot) for slot in file.slots]
    if kinds.count(PassphraseSlot) != 1 or kinds.count(RecoverySlot) != 1:
        raise _damaged("it must have one passphrase slot and one recovery slot")
    if set(file.keys) != set(Purpose):
        raise _damaged("a data key is missing")
    if file.passphrase.iterations < minimum_iterations:
        raise _damaged(
            f"it asks for {file.passphrase.iterations} iterations, under the floor of {minimum_iterations}",
            code="unlock.key-slots.weak",
        )
    return file


def write(path: Path, file: SlotFile) -> None:
    """Replace the file: durable before it takes its name; a failure leaves the old one as it was.

    Raises:
        DiskFullError, HomeError
    """
    content = msgspec.json.format(msgspec.json.encode(file), indent=1) + b"\n"
    draft = path.with_name(path.name + ".new")
    try:
        draft.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(draft, flags, _FILE_MODE)
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        draft.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        if error.errno in _FULL:
            raise DiskFullError(
                "There is no space left to store the keys.",
                kept="The keys are as they were.",
                todo="Free some space on the disk that holds the profile, then try again.",
            ) from error
        raise HomeError(
            f"The keys cannot be written: {error.strerror}.",
            kept="The keys are as they were.",
            todo="Check the owner and the permissions of the profile's folder.",
        ) from error


def _bytes(path: Path) -> bytes:
    try:
        # O_NONBLOCK: a pipe put in the file's place must not hang the unlock.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise KeySlotError(
            "This profile has no keys yet, or its key file is missing.",
            code="unlock.no-profile",
            kept="Nothing was changed.",
            todo="Create the profile, or put keys.json back from a backup.",
        ) from None
    except OSError as error:
        raise _damaged(f"it cannot be read ({error.strerror})", code="unlock.key-slots.no-access") from error
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise _damaged("it is not a file")
        if status.st_size > MAX_FILE_BYTES:
            raise _damaged(f"it has {status.st_size} bytes; the limit is {MAX_FILE_BYTES}")
        if status.st_uid == os.geteuid() and status.st_mode & 0o077:
            os.fchmod(descriptor, _FILE_MODE)
        content = bytearray()
        while part := os.read(descriptor, MAX_FILE_BYTES + 1 - len(content)):
            content += part
        if len(content) > MAX_FILE_BYTES:
            raise _damaged(f"it has more than {MAX_FILE_BYTES} bytes")
        return bytes(content)
    except OSError as error:
        raise _damaged(f"it cannot be read ({error.strerror})", code="unlock.key-slots.no-access") from error
    finally:
        os.close(descriptor)


def _damaged(found: str, *, code: str = "unlock.key-slots") -> KeySlotError:
    return KeySlotError(
        f"The key file cannot be used: {found}.",
        code=code,
        kept="It was left as it is, and so was the history.",
        todo="Put keys.json back from a backup of the profile.",
    )
