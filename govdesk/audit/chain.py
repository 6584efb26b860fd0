"""Each record holds the hash of the line before it and a MAC under a key that evolves; pure functions.

A key stolen now says nothing about the keys before it (HKDF-Expand cannot be run backwards), so
whoever holds it cannot forge what was recorded before it was stolen.
"""

from __future__ import annotations

import base64
import binascii

from govdesk import crypto
from govdesk.audit import canonical
from govdesk.audit.canonical import Value

FORMAT = 1
KEY_BYTES = crypto.HASH_BYTES
"""48: RFC 5869 2.3 asks of a key that HKDF-Expand takes that it is as long as the hash."""
NO_PREVIOUS = "0" * (2 * crypto.HASH_BYTES)
"""What the first record holds in place of a previous line's hash."""
MAX_OFFICERS = 16
_EVOLVE = b"govdesk audit v1 next key "
_SEAL = b"govdesk audit v1 first key "
_OFFICER_ID_BYTES = 16


def first_key() -> bytearray:
    """K0: 48 bytes from the kernel's generator; wipe it."""
    key = bytearray(KEY_BYTES)
    crypto.random_into(key)
    return key


def next_key(key: bytes | bytearray, log_id: str) -> bytes:
    """K(n+1) from K(n): HKDF-Expand with SHA-384 (RFC 5869 2.3), bound to the log."""
    return crypto.hkdf_expand(bytes(key), info=_EVOLVE + log_id.encode("ascii"), length=KEY_BYTES)


def evolved(key: bytearray, log_id: str) -> bytearray:
    """The same for the writer: what comes out, and what goes in, can be overwritten; wipe it."""
    following = bytearray(KEY_BYTES)
    crypto.hkdf_expand_into(key, following, info=_EVOLVE + log_id.encode("ascii"))
    return following


def line_hash(line: bytes | bytearray) -> str:
    """SHA-384 of a line without its line feed, lower-case hexadecimal."""
    return crypto.sha384(line).hex()


def mac(key: bytes | bytearray, unsigned: bytes) -> str:
    """HMAC-SHA-384 over a record's canonical form without its `mac`, lower-case hexadecimal."""
    return crypto.hmac_sha384(key, unsigned).hex()


def line_of(unsigned: dict[str, Value], key: bytes | bytearray) -> bytes:
    """The line of a record, MAC included, without its line feed.

    Raises:
        NotCanonicalError: the record has no canonical form.
    """
    return canonical.encode({**unsigned, "mac": mac(key, canonical.encode(unsigned))})


def mac_fits(claimed: str, unsigned: bytes, key: bytes | bytearray) -> bool:
    """Whether a MAC over a record's bytes without its `mac` was made with this key; constant time."""
    return crypto.same(claimed.encode(), mac(key, unsigned).encode())


def officer_id(officer_pem: str) -> str:
    """How a record names an officer's key: 32 hexadecimal digits of the key's SHA-384.

    Raises:
        CryptoError: it is not a public key in PEM.
    """
    return crypto.fingerprint(officer_pem)[:_OFFICER_ID_BYTES].hex()


def seal_first_key(officer_pem: str, key: bytes | bytearray, log_id: str) -> str:
    """K0 sealed to an officer (HPKE, ML-KEM-1024), bound to the log's id; base64.

    Raises:
        CryptoError: it is not an ML-KEM-1024 public key in PEM.
    """
    crypto.check_sealing_key(officer_pem)
    sealed = crypto.seal(officer_pem, key, info=_SEAL + log_id.encode("ascii"))
    return base64.b64encode(sealed).decode("ascii")


def open_first_key(officer_private_pem: str, sealed: str, log_id: str) -> bytes:
    """Undo `seal_first_key`.

    Raises:
        CryptoError: another officer's, another log's, changed, or no private key at all.
    """
    try:
        ciphertext = base64.b64decode(sealed, validate=True)
    except (binascii.Error, ValueError) as error:
        raise crypto.CryptoError("not base64") from error
    key = crypto.open_sealed(officer_private_pem, ciphertext, info=_SEAL + log_id.encode("ascii"))
    if len(key) != KEY_BYTES:
        raise crypto.CryptoError("not a first key")
    return key
