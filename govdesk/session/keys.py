"""Keys live in one small holder: never printed, never copied by it, overwritten when wiped.

Non-guarantee: what a library does with a key that it was given (SQLCipher's own state, the wrapping
functions' arguments) is out of reach here; locking ends the process for that reason.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import NoReturn

from govdesk.errors import UnreadableError


class Purpose(Enum):
    """What a data key is for: one random key per purpose, none derived from another."""

    DATABASE = "database"


class KeyHolder:
    """One key in memory.

    Args:
        key: taken over when it is a bytearray (do not keep it); bytes are copied, and the caller's
            copy cannot be overwritten by anyone.
    """

    __slots__ = ("_key", "_wiped")

    def __init__(self, key: bytearray | bytes) -> None:
        self._key = key if isinstance(key, bytearray) else bytearray(key)
        self._wiped = False
        _keep_out_of_swap(self._key)

    @property
    def wiped(self) -> bool:
        """True once the key is gone."""
        return self._wiped

    @contextmanager
    def use(self) -> Iterator[bytearray]:
        """The key itself, for the length of a block; do not copy it out.

        Raises:
            UnreadableError: it was wiped.
        """
        if self._wiped:
            raise UnreadableError(
                "The session is locked.", code="unlock.locked", todo="Unlock GovDesk and try again."
            )
        yield self._key

    def wipe(self) -> None:
        """Overwrite the key with zeros; twice does no harm."""
        self._wiped = True
        for index in range(len(self._key)):
            self._key[index] = 0

    def __repr__(self) -> str:
        return f"<KeyHolder {'wiped' if self._wiped else 'holding'}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is never serialised")

    def __copy__(self) -> NoReturn:
        raise TypeError("a key is never copied")

    def __deepcopy__(self, _memo: object) -> NoReturn:
        raise TypeError("a key is never copied")


class DataKeys:
    """The data keys of an unlocked profile, by purpose."""

    __slots__ = ("_holders",)

    def __init__(self, holders: dict[Purpose, KeyHolder]) -> None:
        self._holders = dict(holders)

    def __getitem__(self, purpose: Purpose) -> KeyHolder:
        return self._holders[purpose]

    @property
    def wiped(self) -> bool:
        """True once all of them are gone."""
        return all(holder.wiped for holder in self._holders.values())

    def wipe(self) -> None:
        """Overwrite all of them."""
        for holder in self._holders.values():
            holder.wipe()

    def __enter__(self) -> DataKeys:
        return self

    def __exit__(self, *_error: object) -> None:
        self.wipe()

    def __repr__(self) -> str:
        return f"<DataKeys {', '.join(purpose.value for purpose in self._holders)}>"


def _keep_out_of_swap(key: bytearray) -> bool:
    # Best effort: the limit (RLIMIT_MEMLOCK) may be 0, and `doctor` reports unencrypted swap. Pages are not
    # unlocked again: locks do not nest, and another key may live on the same page.
    if not key:
        return False
    cell = ctypes.c_char.from_buffer(key)
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.mlock(ctypes.c_void_p(ctypes.addressof(cell)), ctypes.c_size_t(len(key))) == 0)
