"""Sealed states: what was changed in any way is refused whole; the key goes with the conversation; a quota."""

import errno
import os

import pytest

from govdesk import crypto
from govdesk.domain.prompt_state import PromptState
from govdesk.inference.prompt_states import new_memfd
from govdesk.storage import prompt_states
from govdesk.storage.prompt_states import PromptStateFiles

CHUNK = 4096
SEALED = CHUNK + crypto.Sealer.overhead
CONTENT = bytes(at * 7 % 251 for at in range(3 * CHUNK + 100))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    monkeypatch.setattr(prompt_states, "CHUNK_BYTES", CHUNK)


@pytest.fixture
def files(database, tmp_path):
    made = PromptStateFiles(database, tmp_path / "caches", quota_bytes=40 * 1024)
    assert made.room() > 0
    return made


def state(content=CONTENT, tokens=600):
    descriptor = new_memfd(len(content))
    os.pwrite(descriptor, content, 0)
    return PromptState(descriptor, tokens, len(content))


def keep(files, conversation, content=CONTENT, binding=b"b", now=1, late=lambda: False):
    """Keep a state as the cache does; how many others had to go."""
    one = state(content)
    try:
        gone = files.make_room(conversation, one.state_bytes)
        files.keep(conversation, one, binding, now, late)
    finally:
        os.close(one.descriptor)
    return gone


def taken(files, conversation):
    found = files.take(conversation, new_memfd, 9)
    if found is None:
        return None
    content = os.pread(found.descriptor, found.state_bytes, 0)
    os.close(found.descriptor)
    return content


def only_file(tmp_path):
    (file,) = (tmp_path / "caches").iterdir()
    return file


@pytest.mark.parametrize("size", [1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_what_was_kept_is_taken(files, store, tmp_path, size):
    conversation = store.create("c", "", 1)
    keep(files, conversation, CONTENT[:size])
    assert taken(files, conversation) == CONTENT[:size]
    assert files.kept(conversation).state_bytes == size
    file = only_file(tmp_path)
    assert file.stat().st_mode & 0o777 == 0o600
    assert CONTENT[:64] not in file.read_bytes()


def test_nobody_can_change_what_was_taken(files, store):
    conversation = store.create("c", "", 1)
    keep(files, conversation)
    found = files.take(conversation, new_memfd, 9)
    with pytest.raises(PermissionError):
        os.pwrite(found.descriptor, b"x", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(found.descriptor, 1)
    os.close(found.descriptor)


def chunks(content):
    return [content[at : at + SEALED] for at in range(0, len(content), SEALED)]


@pytest.mark.parametrize(
    "change",
    [
        lambda c: b"",
        lambda c: c[:-1],
        lambda c: c + b"\0",
        lambda c: b"".join(chunks(c)[:-1]),
        lambda c: b"".join(chunks(c)[1:]),
        lambda c: b"".join([chunks(c)[1], chunks(c)[0], *chunks(c)[2:]]),
        lambda c: b"".join([chunks(c)[0], chunks(c)[0], *chunks(c)[2:]]),
        lambda c: c + chunks(c)[-1],
        *(lambda c, at=at: c[:at] + bytes([c[at] ^ 1]) + c[at + 1 :] for at in (0, CHUNK, SEALED, -1)),
    ],
    ids=["empty", "cut", "longer", "last chunk gone", "first chunk gone", "reordered", "repeated",
         "a chunk more", "first bit", "first tag", "second chunk", "last bit"],
)  # fmt: skip
def test_a_file_that_was_changed_is_refused_whole(files, store, tmp_path, change):
    conversation = store.create("c", "", 1)
    keep(files, conversation)
    file = only_file(tmp_path)
    file.write_bytes(change(file.read_bytes()))
    assert taken(files, conversation) is None


def test_files_exchanged_between_conversations_are_refused(files, store, database, tmp_path):
    first, second = store.create("a", "", 1), store.create("b", "", 1)
    keep(files, first)
    one = only_file(tmp_path)
    keep(files, second)
    (other,) = set((tmp_path / "caches").iterdir()) - {one}
    swapped = one.read_bytes(), other.read_bytes()
    other.write_bytes(swapped[0])
    assert taken(files, second) is None
    with database.writing() as sql:  # and with the other's key as well: it is bound to its conversation
        sql.execute(
            "UPDATE prompt_states SET key = (SELECT key FROM prompt_states WHERE file = ?) WHERE file = ?",
            (one.name, other.name),
        )
    assert taken(files, second) is None
    assert taken(files, first) == CONTENT


@pytest.mark.parametrize("code", [errno.ENOMEM, errno.EMFILE, errno.ENFILE])
@pytest.mark.parametrize("where", ["memfd", "file"])
def test_what_the_machine_lacks_for_a_moment_says_nothing_of_the_file(
    files, store, tmp_path, monkeypatch, code, where
):
    conversation = store.create("c", "", 1)
    keep(files, conversation)

    def lacking(*_):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        if where == "file":
            patched.setattr(prompt_states.os, "pread", lacking)
        with pytest.raises(OSError, match=os.strerror(code)):
            files.take(conversation, lacking if where == "memfd" else new_memfd, 9)
    assert taken(files, conversation) == CONTENT


def test_no_memory_to_open_a_chunk_says_nothing_of_the_file(files, store, monkeypatch):
    conversation = store.create("c", "", 1)
    keep(files, conversation)
    before = len(os.listdir("/proc/self/fd"))

    def lacking(*_, **__):
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(crypto.Sealer, "open", lacking)
        with pytest.raises(OSError, match="no memory") as caught:
            files.take(conversation, new_memfd, 9)
    assert caught.value.errno == errno.ENOMEM
    assert len(os.listdir("/proc/self/fd")) == before
    assert taken(files, conversation) == CONTENT


def test_another_binding_opens_nothing(files, store, database):
    conversation = store.create("c", "", 1)
    keep(files, conversation, binding=b"this model")
    with database.writing() as sql:
        sql.execute("UPDATE prompt_states SET binding = ?", (b"that model",))
    assert taken(files, conversation) is None


def test_keeping_again_has_another_key_and_leaves_one_file(files, store, database, tmp_path):
    conversation = store.create("c", "", 1)
    seen = set()
    for content in (CONTENT, CONTENT[::-1]):
        keep(files, conversation, content)
        with database.reading() as sql:
            seen.add(sql.execute("SELECT key FROM prompt_states").fetchone()[0])
    assert len(seen) == 2
    assert only_file(tmp_path)
    assert taken(files, conversation) == CONTENT[::-1]


def test_what_was_used_longest_ago_makes_room(files, store, tmp_path):
    first, second, third, fourth = (store.create(name, "", 1) for name in "abcd")
    assert [keep(files, one, now=at) for at, one in enumerate((first, second, third))] == [0, 0, 0]
    assert taken(files, first) == CONTENT  # used now
    assert keep(files, fourth, now=10) == 1
    assert [files.kept(one) is not None for one in (first, second, third, fourth)] == [
        True,
        False,
        True,
        True,
    ]
    assert len(list((tmp_path / "caches").iterdir())) == 3


@pytest.mark.parametrize("size", [1000, 3 * CHUNK + 100, 5 * CHUNK])
def test_no_moment_of_writing_takes_more_than_the_quota(files, store, tmp_path, monkeypatch, size):
    seen, write = [], prompt_states._write_all

    def watched(*arguments):
        written = write(*arguments)
        seen.append(sum(file.stat().st_size for file in (tmp_path / "caches").iterdir()))
        return written

    monkeypatch.setattr(prompt_states, "_write_all", watched)
    conversations = [store.create(name, "", 1) for name in "abcdef"]
    content = (CONTENT * 2)[:size]
    for at, one in enumerate([*conversations, *conversations[3:], conversations[-1]]):
        keep(files, one, content, now=at)
        assert taken(files, one) == content
    assert size < max(seen) <= 40 * 1024


def test_what_is_replaced_stays_until_the_new_one_is_there_where_both_fit(files, store):
    first, second = store.create("a", "", 1), store.create("b", "", 1)
    keep(files, first, now=1)
    keep(files, second, now=2)
    assert files.make_room(second, len(CONTENT)) == 0
    assert taken(files, second) == CONTENT
    assert files.make_room(second, 36 * 1024) == 2
    assert files.kept(first) is None and files.kept(second) is None


def test_what_fits_nowhere_costs_no_other(files, store):
    first = store.create("a", "", 1)
    keep(files, first)
    with pytest.raises(OSError, match="larger than the room") as caught:
        files.make_room(store.create("b", "", 1), 41 * 1024)
    assert caught.value.errno == errno.ENOSPC
    assert taken(files, first) == CONTENT


def test_room_is_a_share_of_what_is_free(database, tmp_path):
    chunk = crypto.Sealer.overhead
    assert PromptStateFiles(database, tmp_path / "c", 1000, lambda _: 500).room() == 50 - chunk
    assert PromptStateFiles(database, tmp_path / "c", 1000, lambda _: 10**9).room() == 1000 - chunk
    assert PromptStateFiles(database, tmp_path / "none" / "c").room() < 0


def test_a_state_of_all_the_room_fits(database, store, tmp_path):
    files = PromptStateFiles(database, tmp_path / "caches", 3 * SEALED + 5)
    assert files.make_room(store.create("a", "", 1), files.room()) == 0


def test_the_share_is_of_all_files_together(database, store, tmp_path):
    """The tenth is of what would be free without them: each saving is not less than the one before."""
    free = [400 * 1024]

    def left(folder):
        return free[0] - sum(file.stat().st_size for file in folder.iterdir())

    files = PromptStateFiles(database, tmp_path / "caches", free_bytes=left)
    conversations = [store.create(name, "", 1) for name in "abcde"]
    assert [keep(files, one, now=at) for at, one in enumerate(conversations)] == [0, 0, 0, 1, 1]
    free[0] = 200 * 1024  # others filled the disk: at the next look there is room for one
    assert files.make_room("", 0) == 2
    assert [files.kept(one) is not None for one in conversations] == [False, False, False, False, True]


def test_a_deleted_conversation_has_no_key_and_its_file_goes(files, store, database, tmp_path):
    conversation = store.create("c", "", 1)
    keep(files, conversation)
    store.delete(conversation)
    with database.reading() as sql:
        assert sql.execute("SELECT count(*) FROM prompt_states").fetchone() == (0,)
    assert taken(files, conversation) is None
    assert files.sweep() == 1
    assert list((tmp_path / "caches").iterdir()) == []


def test_left_over_files_go_and_rows_without_a_file_too(files, store, tmp_path):
    conversation = store.create("c", "", 1)
    keep(files, conversation)
    only_file(tmp_path).unlink()
    folder = tmp_path / "caches"
    (folder / ("ab" * 16 + ".state")).write_bytes(b"left by a crash")
    (folder / ("cd" * 16 + ".state.unfinished")).write_bytes(b"half of one")
    (folder / "something else").write_bytes(b"not ours")
    assert files.sweep() == 2
    assert [file.name for file in folder.iterdir()] == ["something else"]
    assert files.kept(conversation) is None


def test_what_cannot_be_written_in_time_leaves_what_was(files, store, tmp_path):
    conversation = store.create("c", "", 1)
    keep(files, conversation)
    before = only_file(tmp_path)
    with pytest.raises(TimeoutError):
        keep(files, conversation, CONTENT[::-1], late=lambda: True)
    assert only_file(tmp_path) == before
    assert taken(files, conversation) == CONTENT


def test_a_full_disk_leaves_what_was(files, store, tmp_path, monkeypatch):
    conversation = store.create("c", "", 1)
    keep(files, conversation)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(prompt_states.os, "write", full)
        with pytest.raises(OSError, match="No space"):
            keep(files, conversation, CONTENT[::-1])
    assert len(list((tmp_path / "caches").iterdir())) == 1
    assert taken(files, conversation) == CONTENT


def test_a_conversation_that_was_deleted_meanwhile_leaves_no_file(files, store, tmp_path):
    conversation = store.create("c", "", 1)
    store.delete(conversation)
    keep(files, conversation)
    assert list((tmp_path / "caches").iterdir()) == []


def test_clear_forgets_all(files, store, tmp_path):
    for name in "ab":
        keep(files, store.create(name, "", 1))
    assert files.clear() == 2
    assert list((tmp_path / "caches").iterdir()) == []
