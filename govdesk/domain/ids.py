"""Identifiers, told apart by the type checker and plain strings or integers at run time."""

from __future__ import annotations

from typing import NewType

ConversationId = NewType("ConversationId", str)
TurnId = NewType("TurnId", str)
RecordSeq = NewType("RecordSeq", int)
"""Position of a record in the audit log, from 0."""
ModelDigest = NewType("ModelDigest", str)
"""Lower-case hexadecimal SHA-384 of the whole GGUF file."""
EntityType = NewType("EntityType", str)
"""One of the entity types of the contract, e.g. `US_SSN` or `SECRET.TOKEN`."""
