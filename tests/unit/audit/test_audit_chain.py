"""Keys only go forward; K0 opens for the officer it was sealed to, for that log alone."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from govdesk import crypto
from govdesk.audit import chain
from tests.audit_logs import officer

LOG = "ab" * 16


def test_next_key_is_hkdf_expand() -> None:
    """RFC 5869 2.3 with one block, computed by the standard library."""
    key = bytes(range(48))
    expected = hmac.digest(key, b"govdesk audit v1 next key " + LOG.encode() + b"\x01", "sha384")
    assert chain.next_key(key, LOG) == expected
    assert chain.next_key(key, "cd" * 16) != expected


def test_line_hash_and_mac() -> None:
    assert chain.line_hash(b"line") == hashlib.sha384(b"line").hexdigest()
    assert chain.mac(b"k" * 48, b"x") == hmac.new(b"k" * 48, b"x", "sha384").hexdigest()


def test_first_keys_differ() -> None:
    assert len({bytes(chain.first_key()) for _ in range(50)}) == 50
    assert len(chain.first_key()) == chain.KEY_BYTES == 48


def test_seal_and_open() -> None:
    private, public = officer()
    key = chain.first_key()
    sealed = chain.seal_first_key(public, key, LOG)
    assert chain.open_first_key(private, sealed, LOG) == key
    other = crypto.new_sealing_key()[0]
    for pem, text, log in (
        (other, sealed, LOG), (private, sealed, "cd" * 16), (private, sealed[:-8], LOG), (private, "", LOG),
        (private, "!" + sealed, LOG), ("no key", sealed, LOG), (private, sealed.swapcase(), LOG),
    ):  # fmt: skip
        with pytest.raises(crypto.CryptoError):
            chain.open_first_key(pem, text, log)


def test_only_a_first_key_is_a_first_key() -> None:
    private, public = officer()
    with pytest.raises(crypto.CryptoError):
        chain.open_first_key(private, chain.seal_first_key(public, b"short", LOG), LOG)


def test_officer_id_is_of_the_key_and_not_of_its_text() -> None:
    public = officer()[1]
    assert chain.officer_id(public) == chain.officer_id("\n" + public + "\n")
    assert len(chain.officer_id(public)) == 32
    for bad in ("", "no key", crypto.new_signing_key()[1]):
        with pytest.raises(crypto.CryptoError):
            chain.seal_first_key(bad, chain.first_key(), LOG)
