"""The algorithms do what their standards say, and refuse what does not fit."""

from __future__ import annotations

import pytest

from govdesk import crypto


def test_key_wrap_follows_rfc_5649() -> None:
    # RFC 5649 section 6, the 20-octet key data, is for a 192-bit KEK; AES-256 is checked by round trip and refusal
    kek, key = crypto.random_bytes(32), crypto.random_bytes(32)
    wrapped = crypto.wrap_key(kek, key)
    assert len(wrapped) == 40
    assert crypto.unwrap_key(kek, wrapped) == key
    for position in range(len(wrapped)):
        changed = bytearray(wrapped)
        changed[position] ^= 1
        with pytest.raises(crypto.CryptoError):
            crypto.unwrap_key(kek, bytes(changed))


def test_hkdf_follows_rfc_5869_with_sha_384() -> None:
    secret, salt, info = b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA))
    pseudorandom = crypto.hmac_sha384(salt, secret)
    first = crypto.hmac_sha384(pseudorandom, info + b"\x01")
    assert crypto.hkdf(secret, salt=salt, info=info, length=42) == first[:42]
    assert crypto.hkdf_expand(pseudorandom, info=info, length=42) == first[:42]


def test_signatures_bind_message_context_and_key() -> None:
    private, public = crypto.new_signing_key()
    signature = crypto.sign(private, b"message", context=b"one")
    assert len(signature) == 4627
    crypto.verify(public, signature, b"message", context=b"one")
    _, other = crypto.new_signing_key()
    for key, message, context in (
        (public, b"messagf", b"one"),
        (public, b"message", b"two"),
        (other, b"message", b"one"),
    ):
        with pytest.raises(crypto.CryptoError):
            crypto.verify(key, signature, message, context=context)


def test_sealing_binds_key_and_info() -> None:
    private, public = crypto.new_sealing_key()
    sealed = crypto.seal(public, b"first key", info=b"log 1")
    assert crypto.open_sealed(private, sealed, info=b"log 1") == b"first key"
    other, _ = crypto.new_sealing_key()
    for key, info, changed in (
        (private, b"log 2", sealed),
        (other, b"log 1", sealed),
        (private, b"log 1", sealed[:-1] + bytes([sealed[-1] ^ 1])),
        ("no key", b"log 1", sealed),
    ):
        with pytest.raises(crypto.CryptoError):
            crypto.open_sealed(key, changed, info=info)


def test_calibration_is_measured_whole_and_raised_until_it_takes_long_enough() -> None:
    """A machine whose short probe looks slow (its clock was still rising): the first number is too small."""
    asked: list[int] = []

    def measure(iterations: int) -> float:
        asked.append(iterations)
        return iterations / (1_000_000 if iterations == 100_000 else 3_000_000)

    found = crypto.calibrate_pbkdf2(1.0, measure)
    assert found / 3_000_000 >= 1.0
    assert asked[-1] == found, "the number that is used was measured"
    assert len(asked) == 3


def test_calibration_has_an_end() -> None:
    assert crypto.calibrate_pbkdf2(1.0, lambda _: 0.0) == crypto.MAX_PBKDF2_ITERATIONS


def test_calibration_never_goes_under_the_floor() -> None:
    assert crypto.calibrate_pbkdf2(target_seconds=0.0) == crypto.MIN_PBKDF2_ITERATIONS
