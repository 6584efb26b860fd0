"""The prompt is read once, with the real worker and model: turns, edits, branches, other conversations, restarts.

Read tokens are the worker's own count, which the trusted side checks against its progress. Answers with
reuse are compared with those of a context that holds nothing: at temperature 0 they are the same.
"""

from __future__ import annotations

import array
import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from govdesk.app.prompt_cache import PromptCache
from govdesk.domain.ids import ConversationId, RecordSeq, TurnId
from govdesk.domain.inference import Piece, Stopped
from govdesk.domain.prompt_state import HEADER, TOKEN_BYTES, PromptState
from govdesk.domain.record import Entry, Event
from govdesk.domain.turn import Reading, Role, Sampling, Usage
from govdesk.inference.prompt_states import PromptStates, new_memfd
from govdesk.storage.conversations import EncryptedConversations
from govdesk.storage.database import Database
from govdesk.storage.prompt_states import PromptStateFiles
from tests import audit_fields
from tests.integration.test_worker import Line

SAID = (
    "The harbour master wrote down each ship that came in: its name, its captain, what it carried and to whom. "
    "In the third year of the drought there were eleven ships from the south, and nine of them carried grain. "
    "The committee asked for a table of them, by month, with what was paid for each, and got it in June. "
)
LATER = (
    "A second letter speaks of the winter: four ships lay in the ice, one was lost, and a diver was paid for. "
    "The widow of the captain had the wheel and the bell; the rest was sold to the yard at the old rate. "
)
WARM = Sampling(max_tokens=12, temperature=0.2, seed=5)
SAME = Sampling(max_tokens=20, temperature=0.0, seed=5)
History = tuple[tuple[Role, str], ...]


def user(text: str) -> tuple[Role, str]:
    return (Role.USER, text)


def answered(text: str) -> tuple[Role, str]:
    return (Role.ASSISTANT, text)


FIRST: History = (user(SAID * 2 + "How many ships carried grain?"),)
SECOND: History = (
    *FIRST,
    answered("Nine of the eleven ships carried grain."),
    user("And what did the rest carry?"),
)
EDITED: History = (user(SAID * 2 + "Who asked for the table, and when did the committee get it?"),)
BRANCH: History = (
    *FIRST,
    answered("Nine of the eleven ships carried grain."),
    user(LATER * 2 + "Sum this up."),
)


class Talk(Line):
    """A line whose turns belong to conversations."""

    def say(
        self, history: History, conversation: str = "", sampling: Sampling = WARM
    ) -> tuple[str, Usage, list[Reading]]:
        text, usage, readings = "", None, []
        for event in self.supervisor.answer(TurnId("t"), history, sampling, conversation):
            match event:
                case Piece(untrusted_text=piece):
                    text += piece
                case Reading():
                    readings.append(event)
                case Stopped():
                    usage = event.usage
        assert usage is not None
        return text, usage, readings


@pytest.fixture(scope="module")
def talk() -> Iterator[Talk]:
    talk = Talk()
    yield talk
    talk.supervisor.stop()


@pytest.fixture(autouse=True)
def nothing_held(talk: Talk) -> None:
    states = PromptStates(talk.supervisor)
    for name in ("a", "b", "c", "d", "e", "f"):
        states.forget(name)


def test_the_next_turn_reads_what_is_new(talk: Talk) -> None:
    _, first, _ = talk.say(FIRST, "a")
    assert first.read_tokens == first.prompt_tokens
    _, second, readings = talk.say(SECOND, "a")
    assert second.prompt_tokens > first.prompt_tokens
    assert 0 < second.read_tokens <= second.prompt_tokens - first.prompt_tokens + 8
    assert readings[0].done_tokens == second.prompt_tokens - second.read_tokens
    assert readings[-1].done_tokens == readings[-1].total_tokens == second.prompt_tokens


def test_an_edit_reads_from_where_it_differs(talk: Talk) -> None:
    _, first, _ = talk.say(FIRST, "a")
    _, edited, _ = talk.say(EDITED, "a")
    assert edited.read_tokens < 40 < first.prompt_tokens


def test_the_same_prompt_again_reads_one_token(talk: Talk) -> None:
    talk.say(FIRST, "a")
    _, again, _ = talk.say(FIRST, "a")
    assert again.read_tokens == 1


def test_another_conversation_shares_what_begins_alike_and_both_go_on(talk: Talk) -> None:
    talk.say(SECOND, "a")
    _, other, _ = talk.say(BRANCH, "b")
    assert other.read_tokens < other.prompt_tokens / 2
    more = (*SECOND, answered("Salt and timber."), user("Thank you."))
    _, first, _ = talk.say(more, "a")
    assert first.read_tokens < 60


@pytest.mark.parametrize(
    ("before", "now"),
    [(FIRST, FIRST), (FIRST, SECOND), (SECOND, FIRST), (FIRST, EDITED), (SECOND, BRANCH), (BRANCH, SECOND)],
    ids=["again", "next turn", "earlier turn", "edit", "branch", "back"],
)
def test_answers_are_the_same_as_without_reuse(talk: Talk, before: History, now: History) -> None:
    without, whole, _ = talk.say(now, "e", SAME)
    PromptStates(talk.supervisor).forget("e")
    talk.say(before, "a", SAME)
    with_reuse, usage, _ = talk.say(now, "a", SAME)
    PromptStates(talk.supervisor).forget("a")
    assert whole.read_tokens == whole.prompt_tokens
    assert usage.read_tokens < usage.prompt_tokens
    assert with_reuse == without


def test_conversations_keep_what_was_read_of_them_and_each_may_fill_the_context(talk: Talk) -> None:
    names = ("a", "b", "c", "d", "e")
    for name in names:
        _, usage, _ = talk.say((user(f"{name} speaks. " + LATER * 20),), name, Sampling(max_tokens=2))
        assert usage.read_tokens > 900
    context = talk.supervisor.model().context_tokens
    talk.say((user("word " * (context - 200)),), "f", Sampling(max_tokens=2))
    states = PromptStates(talk.supervisor)
    assert (states.tokens("f") or 0) > context - 200
    assert all((states.tokens(name) or 0) > 900 for name in names)
    _, usage, _ = talk.say((user("a speaks. " + LATER * 20),), "a", Sampling(max_tokens=2))
    assert usage.read_tokens == 1


def test_after_a_cancel_the_worker_knows_what_it_holds(talk: Talk) -> None:
    long = (user(SAID * 20),)
    for event in talk.supervisor.answer(TurnId("t"), long, WARM, "a"):
        if isinstance(event, Reading) and 0 < event.done_tokens < event.total_tokens:
            talk.supervisor.cancel()
    held = PromptStates(talk.supervisor).tokens("a")
    assert held is not None and held > 0
    _, usage, readings = talk.say(long, "a")
    assert readings[0].done_tokens == held
    assert usage.read_tokens == usage.prompt_tokens - held


def test_forgotten_is_read_again(talk: Talk) -> None:
    talk.say(FIRST, "a")
    PromptStates(talk.supervisor).forget("a")
    assert PromptStates(talk.supervisor).tokens("a") == 0
    _, usage, _ = talk.say(FIRST, "b")
    assert usage.read_tokens == usage.prompt_tokens


def test_a_state_moves_to_a_fresh_worker_and_answers_go_on_the_same(talk: Talk) -> None:
    states = PromptStates(talk.supervisor)
    talk.say(FIRST, "a", SAME)
    state = states.save("a", 4096, 2**30)
    assert state is not None and state.tokens > 100
    without, _, _ = talk.say(SECOND, "a", SAME)
    talk.supervisor.stop()
    talk.supervisor.model()
    assert states.tokens("a") == 0
    assert states.restore("a", state) == state.tokens
    restored, usage, _ = talk.say(SECOND, "a", SAME)
    os.close(state.descriptor)
    assert restored == without
    assert usage.read_tokens < usage.prompt_tokens


def tokens_of(state: PromptState) -> list[int]:
    """What a state's header names."""
    _, _, count, _ = HEADER.unpack(os.pread(state.descriptor, HEADER.size, 0))
    return array.array("i", os.pread(state.descriptor, count * TOKEN_BYTES, HEADER.size)).tolist()


def test_a_state_ends_with_the_prompt_and_holds_nothing_that_was_answered(talk: Talk) -> None:
    states = PromptStates(talk.supervisor)
    text, usage, _ = talk.say(FIRST, "a", SAME)
    assert usage.answer_tokens > 1 and text
    state = states.save("a", usage.prompt_tokens, 2**30)
    assert state is not None and state.tokens == usage.prompt_tokens
    named = tokens_of(state)
    os.close(state.descriptor)
    assert len(named) == usage.prompt_tokens
    talk.say((user("What else?"),), "b")  # the same when it is set aside
    state = states.save("a", usage.prompt_tokens, 2**30)
    assert state is not None and tokens_of(state) == named
    os.close(state.descriptor)
    answer: History = (*FIRST, answered(text))
    read = talk.supervisor.read_ahead(TurnId("r"), (*answer, user("")), "a", lambda: True)
    assert read is not None
    sent = read.reused_tokens + read.read_tokens
    assert sent > usage.prompt_tokens
    state = states.save("a", sent, 2**30)
    assert state is not None and len(tokens_of(state)) == sent
    os.close(state.descriptor)


def spoiled(state: PromptState, at: int, content: bytes, size: int | None = None) -> PromptState:
    whole = bytearray(os.pread(state.descriptor, state.state_bytes, 0))
    whole[at : at + len(content)] = content
    whole = whole[: size if size is not None else len(whole)].ljust(size or 0, b"\0")
    descriptor = new_memfd(len(whole))
    os.pwrite(descriptor, whole, 0)
    return PromptState(descriptor, state.tokens, len(whole))


def test_a_state_that_is_odd_in_anything_is_refused_and_the_worker_is_well(talk: Talk) -> None:
    states = PromptStates(talk.supervisor)
    talk.say(FIRST, "a")
    state = states.save("a", 4096, 2**30)
    assert state is not None
    huge = struct.pack("<I", 2**31)
    odd = {
        "another format": spoiled(state, 0, b"X"),
        "another version": spoiled(state, 8, struct.pack("<I", 99)),
        "no tokens": spoiled(state, 12, struct.pack("<I", 0)),
        "more tokens than fit": spoiled(state, 12, huge),
        "fewer tokens than the state has": spoiled(state, 12, struct.pack("<I", state.tokens - 1)),
        "computed more than there is": spoiled(state, 16, huge),
        "a token beyond the vocabulary": spoiled(state, 20, struct.pack("<i", 2**30)),
        "a negative token": spoiled(state, 20, struct.pack("<i", -1)),
        "cut": spoiled(state, 0, b"", state.state_bytes - 4096),
        "a header alone": spoiled(state, 0, b"", 20 + 4 * state.tokens),
        "a few bytes": spoiled(state, 0, b"", 7),
        "longer": spoiled(state, 0, b"", state.state_bytes + 1),
    }
    for name, one in odd.items():
        assert states.restore("a", one) == 0, name
        assert states.tokens("a") == 0, name
        os.close(one.descriptor)
    assert states.restore("a", state) == state.tokens
    os.close(state.descriptor)
    assert talk.say(FIRST, "a")[0]


class Clock:
    now = 0.0

    def utc_ns(self) -> int:
        return time.time_ns()

    def monotonic(self) -> float:
        return self.now


class Session:
    """A cache over a worker of its own and a history that is there already."""

    def __init__(self, folder: Path, marking: str = "UNCLASSIFIED", *, allowed: bool = True) -> None:
        self.line = Talk()
        self.database = Database.open(folder / "history.db", bytearray(32))
        self.files = PromptStateFiles(self.database, folder / "caches")
        self.cache = PromptCache(
            inference=self.line.supervisor,
            states=PromptStates(self.line.supervisor),
            files=self.files,
            audit=self,
            clock=Clock(),
            marking=marking,
            policy_stamp="p@1",
            allowed=allowed,
        )

    def append(self, entry: Entry) -> RecordSeq:
        audit_fields.check(entry)
        return self.line.record(entry)

    def require_open(self) -> None:
        pass

    def say(self, history: History, conversation: ConversationId) -> Usage:
        events = list(self.cache.answer(TurnId("t"), history, WARM, conversation))
        return events[-1].usage

    def told(self) -> list[tuple[Event, str]]:
        events = {Event.STATE_SAVE, Event.STATE_RESTORE, Event.STATE_FORGET}
        return [(one.event, one.outcome) for one in self.line.records if one.event in events]

    def end(self) -> None:
        self.cache.close()
        self.line.supervisor.stop()
        self.database.close()


LONG: History = (user(SAID * 9 + "How many ships carried grain?"),)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Database.create(tmp_path / "history.db", bytearray(32)).close()
    return tmp_path


@pytest.fixture
def conversation(folder: Path) -> ConversationId:
    database = Database.open(folder / "history.db", bytearray(32))
    identity = EncryptedConversations(database).create("harbour", "", 1)
    database.close()
    return identity


def test_a_long_conversation_is_not_read_again_after_a_restart(
    folder: Path, conversation: ConversationId
) -> None:
    first = Session(folder)
    usage = first.say(LONG, conversation)
    assert usage.read_tokens == usage.prompt_tokens > 512
    first.end()
    assert first.told() == [(Event.STATE_SAVE, "intent"), (Event.STATE_SAVE, "success")]
    (file,) = (folder / "caches").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600

    second = Session(folder)
    usage = second.say(LONG, conversation)
    assert usage.read_tokens == 1 and usage.prompt_tokens > 512
    assert second.told() == [(Event.STATE_RESTORE, "intent"), (Event.STATE_RESTORE, "success")]
    assert second.line.records[-1].fields["tokens"] > 512
    second.end()


def test_nothing_is_given_back_across_markings(folder: Path, conversation: ConversationId) -> None:
    first = Session(folder)
    first.say(LONG, conversation)
    first.end()
    second = Session(folder, marking="SECRET")
    usage = second.say(LONG, conversation)
    assert usage.read_tokens == usage.prompt_tokens
    assert second.told() == [(Event.STATE_FORGET, "success")]
    assert second.line.records[-1].fields["why"] == "other"
    assert list((folder / "caches").iterdir()) == []
    second.end()


def test_a_damaged_file_costs_only_the_reading(folder: Path, conversation: ConversationId) -> None:
    first = Session(folder)
    first.say(LONG, conversation)
    first.end()
    (file,) = (folder / "caches").iterdir()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    second = Session(folder)
    usage = second.say(LONG, conversation)
    assert usage.read_tokens == usage.prompt_tokens
    assert second.told() == [
        (Event.STATE_RESTORE, "intent"),
        (Event.STATE_RESTORE, "failure"),
        (Event.STATE_FORGET, "success"),
    ]
    second.end()


def test_policy_off_keeps_nothing_and_removes_what_was_kept(
    folder: Path, conversation: ConversationId
) -> None:
    first = Session(folder)
    first.say(LONG, conversation)
    first.end()
    second = Session(folder, allowed=False)
    second.cache.tidy()
    assert list((folder / "caches").iterdir()) == []
    assert second.files.kept(conversation) is None
    usage = second.say(LONG, conversation)
    assert usage.read_tokens == usage.prompt_tokens
    second.end()
    assert list((folder / "caches").iterdir()) == []


def test_a_deleted_conversation_takes_its_state_with_it(folder: Path, conversation: ConversationId) -> None:
    session = Session(folder)
    session.say(LONG, conversation)
    assert session.cache.save()
    EncryptedConversations(session.database).delete(conversation)
    session.cache.deleted(conversation)
    assert list((folder / "caches").iterdir()) == []
    assert PromptStates(session.line.supervisor).tokens(conversation) == 0
    assert session.told()[-1] == (Event.STATE_FORGET, "success")
    session.end()
    assert list((folder / "caches").iterdir()) == []


def test_a_full_disk_is_in_nobodys_way(folder: Path, conversation: ConversationId) -> None:
    session = Session(folder)
    session.files._free_bytes = lambda _: 4096
    session.say(LONG, conversation)
    session.end()
    assert session.told() == [(Event.STATE_SAVE, "intent"), (Event.STATE_SAVE, "failure")]
    assert list((folder / "caches").iterdir()) == []


def test_a_short_conversation_is_not_worth_a_file(folder: Path, conversation: ConversationId) -> None:
    session = Session(folder)
    session.say((user("Hello."),), conversation)
    session.end()
    assert session.told() == []


def test_reading_ahead_gives_back_what_was_kept_first(folder: Path, conversation: ConversationId) -> None:
    first = Session(folder)
    first.say(LONG, conversation)
    first.end()
    second = Session(folder)
    read = second.cache.read_ahead(
        TurnId("r"), (*LONG, answered("Nine."), user("And")), conversation, lambda: True
    )
    assert read is not None and read.reused_tokens > 512
    assert second.told()[-1] == (Event.STATE_RESTORE, "success")
    second.end()
