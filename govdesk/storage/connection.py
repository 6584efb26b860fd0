"""One encrypted connection: keyed raw, hardened before the first page is read, reaching no other file.

Defends against a hostile database file (trusted_schema, no extensions, no ATTACH), against deleted
text that stays in free pages (secure_delete) and against keys that linger in freed memory.
"""

from __future__ import annotations

import os
from pathlib import Path

import sqlcipher3.dbapi2 as driver

KEY_BYTES = 32
PAGE_BYTES = 4096
BUSY_SECONDS = 2.0
_HEX = b"0123456789abcdef"

_BEFORE_KEY = ("cipher_log_level = NONE", "cipher_memory_security = ON")
_AFTER_KEY = (
    "cipher_compatibility = 4",
    "secure_delete = ON",
    "trusted_schema = OFF",
    "temp_store = MEMORY",
    "foreign_keys = ON",
    "mmap_size = 0",
    "cell_size_check = ON",
)
_FORBIDDEN_ACTIONS = frozenset({driver.SQLITE_ATTACH, driver.SQLITE_DETACH})


def connect(path: Path, key: bytearray) -> driver.Connection:
    """Open a connection; the file is first read by whoever uses it.

    Args:
        path: the database file.
        key: 32 raw bytes; not kept, not copied into anything that cannot be overwritten.
    """
    if len(key) != KEY_BYTES:
        raise ValueError("a database key has 32 bytes")
    # isolation_level None: transactions are ours alone, the driver opens none behind our back.
    # check_same_thread False: `Database` lets one thread in at a time.
    connection = driver.connect(
        os.fspath(path), timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
    )
    try:
        for pragma in _BEFORE_KEY:
            connection.execute(f"PRAGMA {pragma}")
        _set_raw_key(connection, key)
        for pragma in _AFTER_KEY:
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:  # the driver's errors, and no memory
        connection.close()
        raise
    return connection


def confine(connection: driver.Connection) -> None:
    """Deny ATTACH, DETACH and extension loading from here on (VACUUM, which attaches, goes with them)."""
    connection.set_authorizer(_authorize)


def confine_to_vacuum(connection: driver.Connection) -> None:
    """The same for the connection of maintenance, but VACUUM, which attaches a file without a name."""
    connection.set_authorizer(_authorize_vacuum)


def _authorize(
    action: int, _first: str | None, second: str | None, _database: object, _trigger: object
) -> int:
    if action in _FORBIDDEN_ACTIONS:
        return int(driver.SQLITE_DENY)
    if action == driver.SQLITE_FUNCTION and (second or "").lower() == "load_extension":
        return int(driver.SQLITE_DENY)
    return int(driver.SQLITE_OK)


def _authorize_vacuum(
    action: int, first: str | None, second: str | None, database: object, trigger: object
) -> int:
    # A nameless file lives in memory (temp_store) and is gone with the statement. VACUUM INTO names one.
    if action == driver.SQLITE_ATTACH and not first:
        return int(driver.SQLITE_OK)
    return _authorize(action, first, second, database, trigger)


def _set_raw_key(connection: driver.Connection, key: bytearray) -> None:
    # SQLCipher takes x'<64 hex digits>' as the key itself and anything else as a passphrase, which it
    # would stretch. set_key() rather than PRAGMA key: the key must not pass through an SQL text, and a
    # bytearray can be overwritten afterwards (bytes.hex() would leave an immutable copy).
    literal = bytearray(3 + 2 * KEY_BYTES)
    try:
        literal[0:2] = b"x'"
        for index, byte in enumerate(key):
            literal[2 + 2 * index] = _HEX[byte >> 4]
            literal[3 + 2 * index] = _HEX[byte & 15]
        literal[-1] = ord("'")
        connection.set_key(literal)
    finally:
        for index in range(len(literal)):
            literal[index] = 0
