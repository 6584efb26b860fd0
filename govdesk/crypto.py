"""The only importer of `cryptography`: CNSA 2.0 algorithms behind a few plain functions.

AES-256 (KWP, GCM), SHA-384/512, ML-KEM-1024 through HPKE (RFC 9180), pure ML-DSA-87 (FIPS 204).
PBKDF2 is SP 800-132's, HKDF is RFC 5869. Not a validated module: see resources/docs/threat-model.md.
"""

from __future__ import annotations

import ctypes
import hmac
import os
import time
from collections.abc import Callable

from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, hpke, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import mldsa, mlkem
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand
from cryptography.hazmat.primitives.kdf.pbkdf2 import PBKDF2HMAC

KEY_BYTES = 32
HASH_BYTES = 48
MIN_PBKDF2_ITERATIONS = 600_000
MAX_PBKDF2_ITERATIONS = 100_000_000
_CALIBRATIONS = 4
_SUITE = hpke.Suite(hpke.KEM.MLKEM1024, hpke.KDF.HKDF_SHA384, hpke.AEAD.AES_256_GCM)


class CryptoError(Exception):
    """A key, signature or ciphertext does not fit; says nothing about why (callers explain)."""


def random_bytes(count: int) -> bytes:
    """`count` bytes from the kernel's generator."""
    return os.urandom(count)


def random_into(target: bytearray) -> None:
    """Fill from the kernel's generator (getrandom(2)): no copy that cannot be overwritten is made."""
    cell = (ctypes.c_char * len(target)).from_buffer(target)
    if ctypes.CDLL(None, use_errno=True).getrandom(cell, ctypes.c_size_t(len(target)), 0) != len(target):
        raise OSError(ctypes.get_errno(), "getrandom")  # up to 256 bytes it gives all or none


def wipe(secret: bytearray) -> None:
    """Overwrite with zeros."""
    for index in range(len(secret)):
        secret[index] = 0


def sha384(*parts: bytes | bytearray) -> bytes:
    """SHA-384 over the concatenation of the parts: 48 bytes."""
    digest = hashes.Hash(hashes.SHA384())
    for part in parts:
        digest.update(part)
    return digest.finalize()


class Sha384:
    """SHA-384 over bytes that arrive in parts."""

    def __init__(self) -> None:
        self._digest = hashes.Hash(hashes.SHA384())

    def update(self, part: bytes) -> None:
        """Take the next bytes."""
        self._digest.update(part)

    def hexdigest(self) -> str:
        """The digest in lower-case hexadecimal; ends the computation."""
        return self._digest.finalize().hex()


def hmac_sha384(key: bytes | bytearray, data: bytes) -> bytes:
    """HMAC-SHA-384: 48 bytes (FIPS 198-1)."""
    return hmac.digest(key, data, "sha384")


def same(a: bytes, b: bytes) -> bool:
    """Equality in constant time."""
    return hmac.compare_digest(a, b)


def hkdf(secret: bytes, *, salt: bytes, info: bytes, length: int = KEY_BYTES) -> bytes:
    """HKDF-SHA-384, extract and expand (RFC 5869)."""
    return HKDF(hashes.SHA384(), length=length, salt=salt, info=info).derive(secret)


def hkdf_expand(key: bytes, *, info: bytes, length: int = KEY_BYTES) -> bytes:
    """HKDF-Expand with SHA-384 (RFC 5869 2.3); `key` is already uniform."""
    return HKDFExpand(hashes.SHA384(), length=length, info=info).derive(key)


def hkdf_expand_into(key: bytearray, target: bytearray, *, info: bytes) -> None:
    """HKDF-Expand with SHA-384 from one buffer to another; no copy that cannot be overwritten is made."""
    HKDFExpand(hashes.SHA384(), length=len(target), info=info).derive_into(key, target)


def pbkdf2(passphrase: bytes, *, salt: bytes, iterations: int) -> bytes:
    """PBKDF2-HMAC-SHA-512, 64 bytes (SP 800-132)."""
    return PBKDF2HMAC(hashes.SHA512(), length=64, salt=salt, iterations=iterations).derive(passphrase)


def calibrate_pbkdf2(target_seconds: float = 1.0, measure: Callable[[int], float] | None = None) -> int:
    """Iterations that take at least `target_seconds` here, never under the floor of 600,000.

    A short probe says about how many; they are then measured whole, and raised until they take that long.

    Args:
        target_seconds: the least that trying one passphrase shall cost.
        measure: seconds that so many iterations take; other than this machine's in tests only.
    """
    measure = measure or _pbkdf2_seconds
    probe = 100_000
    iterations = MIN_PBKDF2_ITERATIONS
    wanted = int(1.05 * probe * target_seconds / max(measure(probe), 1e-6))
    for _ in range(_CALIBRATIONS):
        iterations = min(max(iterations, wanted), MAX_PBKDF2_ITERATIONS)
        seconds = measure(iterations)
        if seconds >= target_seconds:
            break
        wanted = int(1.05 * iterations * target_seconds / max(seconds, 1e-6))
    return iterations


def _pbkdf2_seconds(iterations: int) -> float:
    started = time.perf_counter()
    pbkdf2(b"calibration", salt=bytes(32), iterations=iterations)
    return time.perf_counter() - started


def wrap_key(kek: bytes, key: bytes) -> bytes:
    """AES-256 key wrap with padding (SP 800-38F KWP, RFC 5649)."""
    return keywrap.aes_key_wrap_with_padding(kek, key)


def unwrap_key(kek: bytes, wrapped: bytes) -> bytes:
    """Undo `wrap_key`.

    Raises:
        CryptoError: the wrong KEK, or a changed ciphertext.
    """
    try:
        return keywrap.aes_key_unwrap_with_padding(kek, wrapped)
    except (keywrap.InvalidUnwrap, ValueError) as error:
        raise CryptoError("key unwrap failed") from error


class Sealer:
    """AES-256-GCM (SP 800-38D) under one key that seals one thing, in parts that are counted from 0.

    The number of a part is its nonce: the key must be fresh for each thing that is sealed.

    Args:
        key: 32 bytes, fresh.
    """

    overhead = 16
    """Bytes that a sealed part is longer than the part."""

    def __init__(self, key: bytes | bytearray) -> None:
        self._cipher = AESGCM(key)

    def seal(self, number: int, part: bytes | memoryview, *, bound_to: bytes) -> bytes:
        """Seal a part so that it opens only with the same number and the same `bound_to`."""
        return self._cipher.encrypt(number.to_bytes(12, "big"), part, bound_to)

    def open(self, number: int, sealed: bytes | memoryview, *, bound_to: bytes) -> bytes:
        """Undo `seal`.

        Raises:
            CryptoError: the wrong key, number or binding, or changed bytes.
        """
        try:
            return self._cipher.decrypt(number.to_bytes(12, "big"), sealed, bound_to)
        except (InvalidTag, ValueError) as error:
            raise CryptoError("cannot open") from error


def seal(public_pem: str, plaintext: bytes | bytearray, *, info: bytes) -> bytes:
    """HPKE base mode to an ML-KEM-1024 public key (HKDF-SHA-384, AES-256-GCM)."""
    key = serialization.load_pem_public_key(public_pem.encode())
    if not isinstance(key, mlkem.MLKEM1024PublicKey):
        raise CryptoError("not an ML-KEM-1024 public key")
    return _SUITE.encrypt(plaintext, key, info)


def check_sealing_key(public_pem: str) -> None:
    """Check that a text is a public key that `seal` takes.

    Raises:
        CryptoError: it is not an ML-KEM-1024 public key in PEM.
    """
    try:
        key = serialization.load_pem_public_key(public_pem.encode())
    except (UnsupportedAlgorithm, ValueError) as error:
        raise CryptoError("not a public key") from error
    if not isinstance(key, mlkem.MLKEM1024PublicKey):
        raise CryptoError("not an ML-KEM-1024 public key")


def open_sealed(private_pem: str, sealed: bytes, *, info: bytes) -> bytes:
    """Undo `seal`.

    Raises:
        CryptoError: the wrong key, other info, or changed bytes.
    """
    try:
        key = serialization.load_pem_private_key(private_pem.encode(), password=None)
        if not isinstance(key, mlkem.MLKEM1024PrivateKey):
            raise CryptoError("not an ML-KEM-1024 private key")
        return _SUITE.decrypt(sealed, key, info)
    except (InvalidTag, ValueError, TypeError) as error:
        raise CryptoError("cannot open") from error


def new_sealing_key() -> tuple[str, str]:
    """A fresh ML-KEM-1024 pair as PEM: (private, public)."""
    key = mlkem.MLKEM1024PrivateKey.generate()
    return _pem_pair(key, key.public_key())


def new_signing_key() -> tuple[str, str]:
    """A fresh ML-DSA-87 pair as PEM: (private, public)."""
    key = mldsa.MLDSA87PrivateKey.generate()
    return _pem_pair(key, key.public_key())


def sign(private_pem: str, message: bytes, *, context: bytes) -> bytes:
    """Pure ML-DSA-87 with a context string (FIPS 204, algorithm 2): 4,627 bytes."""
    key = serialization.load_pem_private_key(private_pem.encode(), password=None)
    if not isinstance(key, mldsa.MLDSA87PrivateKey):
        raise CryptoError("not an ML-DSA-87 private key")
    return key.sign(message, context)


def fingerprint(public_pem: str) -> bytes:
    """SHA-384 of the public key itself (DER), whatever its PEM looks like.

    Raises:
        CryptoError: it is not a public key in PEM.
    """
    try:
        key = serialization.load_pem_public_key(public_pem.encode())
    except (UnsupportedAlgorithm, ValueError) as error:
        raise CryptoError("not a public key") from error
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return sha384(key.public_bytes(encoding, form))


def verify(public_pem: str, signature: bytes, message: bytes, *, context: bytes) -> None:
    """Check a pure ML-DSA-87 signature.

    Raises:
        CryptoError: it does not check, or the key is not one.
    """
    try:
        key = serialization.load_pem_public_key(public_pem.encode())
        if not isinstance(key, mldsa.MLDSA87PublicKey):
            raise CryptoError("not an ML-DSA-87 public key")
        key.verify(signature, message, context)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError) as error:
        raise CryptoError("signature does not check") from error


def _pem_pair(
    private: mlkem.MLKEM1024PrivateKey | mldsa.MLDSA87PrivateKey,
    public: mlkem.MLKEM1024PublicKey | mldsa.MLDSA87PublicKey,
) -> tuple[str, str]:
    return (
        private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
        public.public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        ).decode(),
    )
