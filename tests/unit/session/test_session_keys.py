"""A key is used in place, overwritten when wiped, and never shown."""

from pathlib import Path

import pytest

from govdesk.errors import UnreadableError
from govdesk.session.keys import DataKeys, KeyHolder, Purpose


def test_the_callers_bytearray_is_taken_over_and_overwritten():
    mine = bytearray(b"k" * 32)
    holder = KeyHolder(mine)
    with holder.use() as key:
        assert key is mine
        assert key == b"k" * 32
    holder.wipe()
    assert mine == bytes(32)
    assert holder.wiped
    holder.wipe()


def test_bytes_are_copied():
    holder = KeyHolder(b"k" * 32)
    with holder.use() as key:
        assert key == b"k" * 32


def test_a_wiped_key_is_refused():
    holder = KeyHolder(b"k" * 32)
    holder.wipe()
    with pytest.raises(UnreadableError) as caught, holder.use():
        pass
    assert caught.value.code == "unlock.locked"


def test_nothing_shows_the_key():
    holder = KeyHolder(b"secretkeysecretkeysecretkeysecre")
    keys = DataKeys({Purpose.DATABASE: holder})
    for shown in (repr(holder), str(holder), f"{holder}", repr(keys), repr(holder.__class__)):
        assert "secretkey" not in shown
    assert not hasattr(holder, "__dict__")


def test_all_keys_are_wiped_together():
    mine = bytearray(b"k" * 32)
    with DataKeys({Purpose.DATABASE: KeyHolder(mine)}) as keys:
        assert not keys.wiped
    assert keys.wiped
    assert not any(mine)


def test_an_empty_key_does_no_harm():
    KeyHolder(bytearray()).wipe()


def test_the_page_is_locked_in_memory_where_the_limit_allows():
    import resource

    def locked_kb():
        status = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in status if line.startswith("VmLck:"))

    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == 0:
        pytest.skip("no memory may be locked here")
    before = locked_kb()
    mine = bytearray(1 << 16)
    holder = KeyHolder(mine)
    assert locked_kb() > before
    holder.wipe()
