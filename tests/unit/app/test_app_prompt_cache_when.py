"""When what the model read is kept, how much of it, how long that may take, and what the log says of it."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from govdesk.app import prompt_cache
from govdesk.app.prompt_cache import CLOSE_SECONDS, QUIET_SECONDS, PromptCache
from govdesk.domain.ids import ConversationId, RecordSeq, TurnId
from govdesk.domain.inference import Piece, Read, Stopped
from govdesk.domain.prompt_state import PromptState
from govdesk.domain.record import Entry, Event
from govdesk.domain.turn import ModelInfo, Reading, Role, Sampling, Usage
from govdesk.errors import AuditClosedError, DiskFullError
from govdesk.inference import words
from govdesk.inference.prompt_states import Left, new_memfd, no_end
from govdesk.storage.conversations import EncryptedConversations
from govdesk.storage.database import Database
from govdesk.storage.prompt_states import PromptStateFiles

T = TurnId("t")
HISTORY = ((Role.USER, "x"),)
STATE_BYTES = 8000


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def utc_ns(self) -> int:
        return int(self.now * 1e9)

    def monotonic(self) -> float:
        return self.now


class Worker:
    """Both the model that answers and what it holds; says what it was asked in `asked`."""

    binding = b"the model"

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.asked: list[tuple[object, ...]] = []
        self.held: dict[str, int] = {}
        self.prompt, self.ahead = 600, Read(700, 0, 0)
        self.seconds = 0.0
        """So long it takes over each question for a state."""
        self.busy = False

    def model(self) -> ModelInfo:
        return ModelInfo("m", "d", 4096)

    def answer(
        self, turn: TurnId, history: object, sampling: Sampling, conversation: str = ""
    ) -> Generator[Reading | Piece | Stopped, None, None]:
        if self.prompt:
            self.held[conversation] = self.prompt
            yield Reading(0, self.prompt)
            yield Reading(self.prompt, self.prompt)
            yield Piece("and much that nobody checked")
        yield Stopped("end" if self.prompt else "cancelled", Usage(prompt_tokens=self.prompt))

    def read_ahead(
        self, turn: TurnId, history: object, conversation: str, wanted: Callable[[], bool]
    ) -> Read | None:
        self.asked.append(("ahead", conversation))
        return self.ahead

    def count(self, *_: object) -> None: ...
    def cancel(self) -> None: ...
    def stop_reading(self) -> None: ...
    def forget(self, conversation: str) -> None: ...

    def tokens(self, conversation: str, *, wait_seconds: float = 0.0, left: Left = no_end) -> int | None:
        return None if self.busy else self.held.get(conversation, 0)

    def save(
        self, conversation: str, most_tokens: int, most_bytes: int, *, wait_seconds: float, left: Left
    ) -> PromptState | None:
        self.asked.append(("save", conversation, most_tokens))
        self.clock.now += self.seconds
        if left() < 0:
            raise words.no_time()
        return PromptState(new_memfd(STATE_BYTES), self.held[conversation], STATE_BYTES)

    def restore(self, conversation: str, state: PromptState, *, wait_seconds: float) -> int:
        self.asked.append(("restore", conversation))
        self.held[conversation] = state.tokens
        return state.tokens


class Session:
    """A cache over a scripted worker and the real sealed files."""

    def __init__(self, folder: Path, *, quota_bytes: int = 2**20, allowed: bool = True) -> None:
        self.clock = Clock()
        self.worker = Worker(self.clock)
        self.database = Database.create(folder / "history.db", bytearray(32))
        self.store = EncryptedConversations(self.database)
        self.folder = folder / "caches"
        self.files = PromptStateFiles(self.database, self.folder, quota_bytes)
        self.records: list[Entry] = []
        self.refuses: Event | None = None
        self.cache = PromptCache(
            inference=self.worker,  # type: ignore[arg-type]
            states=self.worker,  # type: ignore[arg-type]
            files=self.files,
            audit=self,
            clock=self.clock,
            marking="UNCLASSIFIED",
            policy_stamp="p@1",
            allowed=allowed,
        )

    def append(self, entry: Entry) -> RecordSeq:
        if entry.event is self.refuses:
            raise AuditClosedError("closed")
        self.records.append(entry)
        return RecordSeq(len(self.records))

    def require_open(self) -> None: ...

    def new(self) -> ConversationId:
        return self.store.create("c", "", 1)

    def say(self, conversation: ConversationId, prompt: int = 600) -> None:
        self.worker.prompt = prompt
        list(self.cache.answer(T, HISTORY, Sampling(), conversation))

    def open(self, conversation: ConversationId) -> None:
        self.cache.read_ahead(T, HISTORY, conversation, lambda: True)

    def told(self) -> list[tuple[str, str, object]]:
        return [
            (one.event.value, one.outcome, one.fields.get("code", one.fields.get("why", "")))
            for one in self.records
        ]

    def kept(self, *conversations: ConversationId) -> list[int]:
        found = [self.files.kept(one) for one in conversations]
        return [one.tokens if one is not None else 0 for one in found]


SAVED = [("state.save", "intent", ""), ("state.save", "success", "")]


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    made = Session(tmp_path)
    yield made
    made.database.close()


# ── when ─────────────────────────────────────────────────────────────────────


def test_it_is_kept_once_nothing_was_asked_for_twenty_seconds(session: Session) -> None:
    conversation = session.new()
    session.say(conversation)
    session.clock.now += QUIET_SECONDS - 0.125
    session.cache.look()
    assert session.told() == []
    session.say(conversation)  # asked again: the time begins anew
    session.clock.now += QUIET_SECONDS - 0.125
    session.cache.look()
    assert session.told() == []
    session.clock.now += 0.125
    session.cache.look()
    assert session.told() == SAVED
    assert session.kept(conversation) == [600]
    session.clock.now += 100 * QUIET_SECONDS
    session.cache.look()
    assert session.told() == SAVED, "once, not at each look"


def test_a_worker_that_is_busy_is_asked_again_later(session: Session) -> None:
    conversation = session.new()
    session.say(conversation)
    session.worker.busy = True
    session.clock.now += QUIET_SECONDS
    session.cache.look()
    assert session.told() == []
    session.worker.busy = False
    session.cache.look()
    assert session.told() == SAVED


def test_it_is_kept_before_another_conversation_is_opened(session: Session) -> None:
    first, second = session.new(), session.new()
    session.say(first)
    session.open(first)
    assert session.told() == [], "the same one: it goes on"
    session.open(second)
    assert session.told() == SAVED
    assert session.kept(first) == [600]
    assert session.worker.asked[-2:] == [("save", first, 600), ("ahead", second)]


def test_while_unlocked_it_is_looked_at_again_and_again(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_cache, "_LOOK_SECONDS", 0.01)
    left = session.folder / ("ab" * 16 + ".state")
    session.folder.mkdir()
    left.write_bytes(b"left by a crash")
    conversation = session.new()
    session.say(conversation)
    session.cache.begin()
    session.clock.now += QUIET_SECONDS
    _until(lambda: session.told()[-1:] == SAVED[-1:])
    assert session.told() == [("state.forget", "success", "left-over"), *SAVED]
    session.cache.close()
    _until(lambda: not _living())


def test_where_policy_keeps_nothing_it_is_tidied_and_never_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_cache, "_LOOK_SECONDS", 0.01)
    session = Session(tmp_path, allowed=False)
    conversation = session.new()
    session.say(conversation)
    session.clock.now += QUIET_SECONDS
    session.cache.begin()
    _until(lambda: not _living())
    session.cache.look()
    session.cache.close()
    assert session.told() == [] and session.worker.asked == []
    session.database.close()


def test_locking_keeps_it_without_waiting_for_quiet(session: Session) -> None:
    conversation = session.new()
    session.say(conversation)
    session.cache.close()
    assert session.told() == SAVED
    assert session.kept(conversation) == [600]


def test_a_log_that_closed_stops_nothing_but_the_keeping(session: Session) -> None:
    conversation = session.new()
    session.say(conversation)
    session.refuses = Event.STATE_SAVE
    session.cache.close()
    assert session.kept(conversation) == [0]
    with pytest.raises(AuditClosedError):
        session.say(conversation) or session.cache.save()


# ── how much ─────────────────────────────────────────────────────────────────


def test_at_most_the_last_prompt_is_taken(session: Session) -> None:
    conversation = session.new()
    session.say(conversation, 800)
    session.say(conversation, 600)  # an edit: shorter, and so is what may be taken
    session.cache.save()
    assert session.worker.asked[-1] == ("save", conversation, 600)


def test_or_what_was_read_ahead_since_where_that_is_more(session: Session) -> None:
    first, second = session.new(), session.new()
    session.say(first, 600)
    session.worker.ahead = Read(900, 500, 250)
    session.open(first)
    session.worker.ahead = Read(900, 0, 0, cancelled=True)  # stopped before it began: what was read stays
    session.open(first)
    session.cache.save()
    assert session.worker.asked[-1] == ("save", first, 750)
    session.say(first, 600)
    session.worker.ahead = Read(900, 900, 0)
    session.cache.read_ahead(T, HISTORY, "", lambda: True)
    session.say(first, 640)
    session.cache.save()
    assert session.worker.asked[-1] == ("save", first, 640), "another reading's number is not this one's"
    assert session.kept(second) == [0]


def test_a_turn_that_read_nothing_changes_nothing(session: Session) -> None:
    first, second = session.new(), session.new()
    session.say(first, 600)
    session.say(first, 0)
    session.say(second, 0)
    session.cache.save()
    assert session.worker.asked[-1] == ("save", first, 600)


# ── how long ─────────────────────────────────────────────────────────────────


def test_the_end_waits_for_no_lock_longer_than_for_all_of_it(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prompt_cache, "CLOSE_SECONDS", 0.2)
    session.say(session.new())
    with session.cache._one_at_a_time:
        started = time.monotonic()
        session.cache.close()
        assert time.monotonic() - started < 1.0
    assert session.told() == [("state.save", "failure", "time")]


@pytest.mark.parametrize(("seconds", "told"), [(CLOSE_SECONDS - 0.1, SAVED), (CLOSE_SECONDS + 0.1, None)])
def test_what_the_worker_takes_is_part_of_the_time(
    session: Session, seconds: float, told: list[tuple[str, str, object]] | None
) -> None:
    conversation = session.new()
    session.say(conversation)
    session.worker.seconds = seconds
    session.cache.close()
    assert session.told() == (told or [SAVED[0], ("state.save", "failure", "time")])


def test_what_sealing_takes_is_part_of_the_time(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files themselves look at what is left, between two parts."""
    conversation = session.new()
    session.say(conversation)
    make_room = session.files.make_room

    def slow(conversation: ConversationId, size: int) -> int:
        session.clock.now += CLOSE_SECONDS
        return make_room(conversation, size)

    monkeypatch.setattr(session.files, "make_room", slow)
    session.cache.close()
    assert session.told() == [SAVED[0], ("state.save", "failure", "time")]
    assert list(session.folder.iterdir()) == []


# ── what there is room and memory for ────────────────────────────────────────


def test_what_was_used_longest_ago_goes_and_that_is_on_record_before_the_new_one(tmp_path: Path) -> None:
    session = Session(tmp_path, quota_bytes=2 * STATE_BYTES + 500)
    first, second, third = (session.new() for _ in range(3))
    for one in (first, second):
        session.say(one)
        session.cache.save()
        session.clock.now += 1
    session.records.clear()
    session.say(third)
    session.cache.save()
    assert session.told() == [SAVED[0], ("state.forget", "success", "quota"), SAVED[1]]
    assert session.records[1].fields["files"] == 1
    assert session.kept(first, second, third) == [0, 600, 600]
    session.database.close()


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OSError(errno.ENOSPC, "full"), "disk.full"),
        (OSError(errno.EIO, "bad"), "state.not-written"),
        (OSError(errno.EMFILE, "many"), "state.no-memory"),
        (DiskFullError("full"), "disk.full"),
    ],
)
def test_what_went_before_a_saving_that_failed_is_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    session = Session(tmp_path, quota_bytes=STATE_BYTES + 500)
    first, second = session.new(), session.new()
    session.say(first)
    session.cache.save()
    session.records.clear()

    def failing(*_: object) -> None:
        raise error

    monkeypatch.setattr(session.files, "keep", failing)
    session.say(second)
    assert not session.cache.save()
    assert session.told() == [
        SAVED[0],
        ("state.forget", "success", "quota"),
        ("state.save", "failure", code),
    ]
    assert session.kept(first, second) == [0, 0]
    session.cache.save()
    assert len(session.told()) == 3, "what failed is not tried again by itself"
    session.database.close()


def test_at_unlocking_what_there_is_no_room_for_any_more_goes(session: Session) -> None:
    conversation = session.new()
    session.say(conversation)
    session.cache.save()
    session.records.clear()
    session.files._quota_bytes = 100
    session.cache.tidy()
    assert session.told() == [("state.forget", "success", "quota")]
    assert session.kept(conversation) == [0]
    assert list(session.folder.iterdir()) == []


@pytest.mark.parametrize("code", [errno.ENOMEM, errno.EMFILE])
def test_no_memory_for_it_is_no_damage_and_the_file_stays(
    session: Session, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    conversation = session.new()
    session.say(conversation)
    session.cache.save()
    session.records.clear()
    session.worker.held.clear()

    def lacking(_size: int) -> int:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(prompt_cache, "new_memfd", lacking)
        session.open(conversation)
    intent = ("state.restore", "intent", "")
    assert session.told() == [intent, ("state.restore", "failure", "state.no-memory")]
    session.open(conversation)
    assert session.told()[2:] == [intent, ("state.restore", "success", "")]
    assert session.worker.held[conversation] == 600


def _living() -> bool:
    return any(thread.name == "states" for thread in threading.enumerate())


def _until(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.01)
