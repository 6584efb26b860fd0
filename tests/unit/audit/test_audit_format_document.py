"""resources/docs/audit-format.md is what the code does: its vector is recomputed, and read by other means.

The reader below is written from the document with the standard library alone.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import unicodedata

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from govdesk import crypto
from govdesk.audit import chain, failures, record, report
from govdesk.audit.state import State
from govdesk.config import RESOURCES
from govdesk.domain.record import Entry, Event
from tests.audit_logs import Clock, slot_of

DOCUMENT = RESOURCES / "docs" / "audit-format.md"
LOG = "000102030405060708090a0b0c0d0e0f"
K0 = bytes(range(48))


def block(name: str) -> str:
    found = re.search(rf"<!-- vector: {name} -->\n```\w*\n(.*?)\n```", DOCUMENT.read_text(), re.DOTALL)
    assert found is not None, name
    return found.group(1)


def vector() -> tuple[list[str], list[str], State]:
    """Lines, keys and state of the document's example, made by the code."""
    entries = (
        Entry(
            Event.LOG_START,
            "success",
            object=LOG,
            fields={"format": 1, "segment": 0, "sealed": "HPKE ML-KEM-1024 HKDF-SHA384 AES-256-GCM"},
        ),
        Entry(
            Event.TURN_INTENT,
            "permit",
            object="5f0e7c2d1b3a4958",
            marking="UNCLASSIFIED",
            policy="dev@0123456789abcdef",
            fields={"characters": 41, "findings": {"US_SSN": 1}, "rule": None},
        ),
        Entry(
            Event.TURN_OUTCOME,
            "completed",
            object="5f0e7c2d1b3a4958",
            marking="UNCLASSIFIED",
            policy="dev@0123456789abcdef",
            fields={"characters": 120, "findings": {}, "rule": "end"},
        ),
    )
    clock = Clock(who=record.Who(uid=1000, name="Zo\u00eb", role="owner", how="process"))
    key, head, lines, keys = K0, chain.NO_PREVIOUS, [], [K0.hex()]
    for seq, entry in enumerate(entries):
        unsigned = record.unsigned(
            entry,
            log=LOG,
            seq=seq,
            prev=head,
            when=clock.when(),
            where=clock.where,
            who=clock.who,
            seal={} if seq == 0 else None,
        )
        line = chain.line_of(unsigned, key)
        lines.append(line.decode())
        head, key = chain.line_hash(line), chain.next_key(key, LOG)
        keys.append(key.hex())
    length = sum(len(line.encode()) + 1 for line in lines)
    return lines, keys, State(1, LOG, len(lines), length, head, keys[-1])


def test_the_vector_is_what_the_code_makes() -> None:
    lines, keys, at = vector()
    assert block("lines").split("\n") == lines
    assert block("keys").split("\n") == [f"K{number} = {key}" for number, key in enumerate(keys)]
    text, check = slot_of(at).rstrip(b"\0").decode().rstrip("\n").split("\n")
    assert block("state") == f"{text}\n{check}"


def test_a_reader_written_from_the_document_agrees() -> None:
    """Canonical form, order, chain, MACs and state, with none of our code."""
    key, head = K0, "0" * 96
    lines = block("lines").split("\n")
    for seq, line in enumerate(lines):
        value = json.loads(line)
        spelled = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        assert spelled == line == unicodedata.normalize("NFC", line)
        mac = value.pop("mac")
        unsigned = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()
        assert hmac.new(key, unsigned, hashlib.sha384).hexdigest() == mac
        assert (value["seq"], value["prev"], value["log"]) == (seq, head, LOG)
        head = hashlib.sha384(line.encode()).hexdigest()
        info = b"govdesk audit v1 next key " + LOG.encode()
        key = hmac.new(key, info + b"\x01", hashlib.sha384).digest()
    text, check = block("state").split("\n")
    assert hashlib.sha384(text.encode()).hexdigest() == check
    at = json.loads(text)
    assert (at["seq"], at["head"], at["key"]) == (len(lines), head, key.hex())
    assert at["length"] == len(("\n".join(lines) + "\n").encode())


def test_the_document_names_what_there_is() -> None:
    text = " ".join(DOCUMENT.read_text().split())
    for attack in report.Attack:
        assert attack.value in text, attack
    for code in failures.CODES:
        assert f"`{code}`" in text, code
    for event in Event:
        assert f"`{event.value}`" in text, event
    for name in (*record.Record.__struct_fields__, *State.__struct_fields__):
        assert f"`{name}`" in text, name
    for number in (65_536, 4096, 262_144, 2**30):
        assert f"{number:,}" in text, number


def test_a_sealed_first_key_opens_as_the_document_says() -> None:
    """HPKE's key schedule by hand (RFC 9180 5.1, base mode), from the parts in the order that is written there."""
    private, public = crypto.new_sealing_key()
    key = bytearray(range(48))
    sealed = base64.b64decode(chain.seal_first_key(public, key, LOG))
    encapsulated, ciphertext = sealed[:1568], sealed[1568:]
    assert len(ciphertext) == 48 + 16
    suite = b"HPKE" + b"\x00\x42" + b"\x00\x02" + b"\x00\x02"

    def extract(salt: bytes, label: bytes, material: bytes) -> bytes:
        return hmac.digest(salt or bytes(48), b"HPKE-v1" + suite + label + material, "sha384")

    def expand(secret: bytes, label: bytes, info: bytes, length: int) -> bytes:
        labelled = length.to_bytes(2, "big") + b"HPKE-v1" + suite + label + info
        return hmac.digest(secret, labelled + b"\x01", "sha384")[:length]

    info = b"govdesk audit v1 first key " + LOG.encode()
    shared = serialization.load_pem_private_key(private.encode(), None).decapsulate(encapsulated)  # type: ignore[union-attr]
    context = b"\x00" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(shared, b"secret", b"")
    aead = AESGCM(expand(secret, b"key", context, 32))
    assert aead.decrypt(expand(secret, b"base_nonce", context, 12), ciphertext, b"") == bytes(key)
