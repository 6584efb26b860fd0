"""The history does what `ConversationStore` says, with any text, from any thread."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from govdesk.domain.ids import ConversationId, EntityType, ModelDigest, RecordSeq, TurnId
from govdesk.domain.redaction import Finding, Operator
from govdesk.domain.turn import Conversation, ModelInfo, Outcome, Role, Thinking, Usage
from govdesk.errors import BugError, UnreadableError, UsageError
from govdesk.storage.conversations import EncryptedConversations, storable
from govdesk.storage.database import Database
from govdesk.storage.search import match_expression

FINDING = Finding(3, 14, EntityType("US_SSN"), 0.99, "us-ssn", Operator.REDACT)
MODEL = ModelInfo("smol", ModelDigest("ab" * 48), 2048)
USAGE = Usage(10, 7, 20, 0.5, 1.5)


def say(store, conversation, turn, prompt, answer, now=1, outcome=Outcome.COMPLETED):
    store.begin_turn(conversation, TurnId(turn), prompt, (FINDING,), "CUI", "dev@0", now)
    store.append_answer(TurnId(turn), answer)
    store.finish_turn(TurnId(turn), outcome, (), MODEL, USAGE, RecordSeq(4), now)


def test_a_turn_is_there_after_reopening(path, key, store, database):
    conversation = store.create("Bridges", "CUI", 5)
    store.begin_turn(conversation, TurnId("t1"), "How long?", (FINDING,), "CUI", "dev@0", 10)
    store.append_answer(TurnId("t1"), "Forty ")
    store.append_answer(TurnId("t1"), "")
    store.append_answer(TurnId("t1"), "metres.")
    store.finish_turn(TurnId("t1"), Outcome.COMPLETED, (FINDING,), MODEL, USAGE, RecordSeq(9), 20)
    database.close()

    again = Database.open(path, key)
    store = EncryptedConversations(again)
    assert store.conversations() == (Conversation(conversation, "Bridges", "CUI", 5, 20),)
    prompt, answer = store.messages(conversation)
    assert (prompt.role, prompt.text, prompt.findings, prompt.outcome) == (
        Role.USER,
        "How long?",
        (FINDING,),
        None,
    )
    assert (answer.role, answer.text, answer.findings) == (Role.ASSISTANT, "Forty metres.", (FINDING,))
    assert answer.outcome is Outcome.COMPLETED
    assert (answer.turn, answer.marking, answer.created_utc_ns) == ("t1", "CUI", 20)
    with again.reading() as sql:
        row = sql.execute(
            "SELECT record, model_name, model_digest, model_context_tokens, policy, answer_tokens FROM turns"
        ).fetchone()
        parts = sql.execute("SELECT count(*) FROM answer_parts").fetchone()
    assert row == (9, "smol", "ab" * 48, 2048, "dev@0", 20)
    assert parts == (0,)
    again.check()
    again.close()


def test_an_answer_that_streams_can_be_read_but_not_yet_found(store):
    conversation = store.create("x", "CUI", 1)
    store.begin_turn(conversation, TurnId("t"), "prompt", (), "CUI", "p", 1)
    assert [m.text for m in store.messages(conversation)] == ["prompt", ""]
    store.append_answer(TurnId("t"), "quag")
    store.append_answer(TurnId("t"), "mire")
    assert [m.text for m in store.messages(conversation)] == ["prompt", "quagmire"]
    assert store.messages(conversation)[1].outcome is None
    assert store.search("quagmire") == ()
    assert store.unfinished_turns() == ("t",)
    store.finish_turn(TurnId("t"), Outcome.INTERRUPTED, (), None, Usage(), RecordSeq(1), 2)
    assert store.unfinished_turns() == ()
    (hit,) = store.search("quagmire")
    assert (hit.turn, hit.role, hit.snippet) == ("t", Role.ASSISTANT, "\u2068quagmire\u2069")


@pytest.mark.parametrize("outcome", Outcome)
def test_every_outcome_is_kept_and_given_once(store, outcome):
    conversation = store.create("x", "CUI", 1)
    say(store, conversation, "t", "a", "b", outcome=outcome)
    assert store.messages(conversation)[1].outcome is outcome
    with pytest.raises(BugError, match="has its outcome"):
        store.finish_turn(TurnId("t"), Outcome.FAILED, (), None, Usage(), RecordSeq(5), 2)
    with pytest.raises(BugError, match="has its outcome"):
        store.append_answer(TurnId("t"), "more")
    assert store.messages(conversation)[1].text == "b"


def test_what_is_not_there_is_said(store):
    nowhere = ConversationId("nowhere")
    for call in (
        lambda: store.messages(nowhere),
        lambda: store.begin_turn(nowhere, TurnId("t"), "a", (), "", "", 1),
        lambda: store.rename(nowhere, "b"),
        lambda: store.delete(nowhere),
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert caught.value.code == "storage.no-conversation"
    with pytest.raises(UsageError) as caught:
        store.append_answer(TurnId("t"), "a")
    assert caught.value.code == "storage.no-turn"


def test_a_conversation_that_is_deleted_while_its_answer_streams_is_said(store):
    conversation = store.create("x", "", 1)
    store.begin_turn(conversation, TurnId("t"), "q", (), "", "", 1)
    store.append_answer(TurnId("t"), "a")
    store.delete(conversation)
    for call in (
        lambda: store.append_answer(TurnId("t"), "b"),
        lambda: store.finish_turn(TurnId("t"), Outcome.COMPLETED, (), None, Usage(), RecordSeq(1), 2),
    ):
        with pytest.raises(UsageError) as caught:
            call()
        assert caught.value.code == "storage.no-turn"


def test_a_turn_id_used_twice_changes_nothing(store):
    conversation = store.create("x", "CUI", 1)
    say(store, conversation, "t", "first", "answer")
    with pytest.raises(BugError) as caught:
        store.begin_turn(conversation, TurnId("t"), "second secretword", (), "CUI", "p", 9)
    assert "secretword" not in caught.value.explain()
    assert caught.value.__cause__ is None
    assert [m.text for m in store.messages(conversation)] == ["first", "answer"]
    assert store.search("second") == ()
    assert store.conversations()[0].updated_utc_ns == 1


def test_the_latest_conversation_is_first(store):
    a, b, c = (store.create(name, "", 1) for name in "abc")
    assert [x.id for x in store.conversations()] == [c, b, a]
    say(store, a, "t", "p", "q", now=7)
    assert [x.id for x in store.conversations()] == [a, c, b]


def test_rename_and_delete_reach_the_index(store, database):
    keep, gone = store.create("harbour plan", "", 1), store.create("anchorage plan", "", 2)
    say(store, keep, "t1", "tide tables", "low at noon")
    say(store, gone, "t2", "tide gauges", "high at noon")
    store.begin_turn(gone, TurnId("t3"), "tide pools", (), "", "", 3)
    store.append_answer(TurnId("t3"), "unfinished noon")
    store.rename(keep, "estuary plan")
    assert [h.snippet for h in store.search("harbour")] == []
    assert [h.conversation.title for h in store.search("estuary")] == ["estuary plan"]
    database.check()
    store.delete(gone)
    assert [c.id for c in store.conversations()] == [keep]
    assert {h.turn for h in store.search("tide")} == {"t1"}
    assert store.search("anchorage") == ()
    assert store.unfinished_turns() == ()
    with database.reading() as sql:
        for table in ("turns", "messages", "answer_parts"):
            expected = {"turns": 1, "messages": 2, "answer_parts": 0}[table]
            assert sql.execute(f"SELECT count(*) FROM {table}").fetchone() == (expected,)
    database.check()


def test_search_finds_words_prefixes_and_accents(store):
    conversation = store.create("Überblick", "", 1)
    say(store, conversation, "t1", "Le café de la gare", "naïve façade")
    assert len(store.search("cafe")) == 1
    assert len(store.search("CAFÉ gare")) == 1
    assert len(store.search("gar")) == 1
    assert store.search("gar ") == ()  # a space ends the word
    assert store.search("cafe facade") == ()  # words are looked for in one message
    assert store.search("uber")[0].turn == ""
    assert len(store.search("facade")) == 1


def test_search_limit_and_order(store):
    conversation = store.create("x", "", 1)
    for number in range(5):
        say(store, conversation, f"t{number}", f"common {number}", "other")
    assert [h.turn for h in store.search("common", 3)] == ["t4", "t3", "t2"]
    assert store.search("common", 0) == ()
    assert store.search("common", -1) == ()


def test_snippet_marks_cannot_be_forged(store):
    conversation = store.create("x", "", 1)
    say(store, conversation, "t", "\u2068fake\u2069 real", "z")
    (hit,) = store.search("real")
    assert hit.snippet == "fake \u2068real\u2069"


HOSTILE = [
    *('"', "'", "*", "AND", "NEAR(", "text:", "a OR", "-", "^a", "(", "\0", "\ud800", "", " ", '""', "a*b"),
    *("{a b}:c", "title : x", '"unclosed', "a" * 5000, "a " * 3000, "🙂", "%", ";--", "\u202e", "a\0b"),
    *("+", "NOT", "x AND NOT"),
]


@pytest.mark.parametrize("query", HOSTILE)
def test_no_query_is_refused(store, query):
    say(store, store.create("x", "", 1), "t", "a b c", "d")
    store.search(query)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.text(st.characters(), max_size=40))
def test_no_query_is_refused_at_random(store, query):
    store.search(query)


def test_operators_are_words():
    assert match_expression('a" OR b') == '"a""" "OR" "b"*'
    assert match_expression("  * ^ ") is None


@pytest.mark.parametrize(
    "text",
    ["", "\0a\0", "🙂" * 1000, "\u202eabc\u2066", "a\r\nb", "\ufeff", "x" * 2_000_000, "Z̵̡͇a̸l̴g̷o"],
    ids=lambda text: repr(text[:8]),
)
def test_any_text_comes_back_as_it_was(store, text):
    conversation = store.create(text[:100], text[:100], 1)
    say(store, conversation, "t", text, text)
    assert [m.text for m in store.messages(conversation)] == [text, text]
    assert store.conversations()[0].title == text[:100]


def test_half_characters_are_replaced_one_for_one(store):
    assert storable("a\ud800b\udfffc🙂") == "a\ufffdb\ufffdc🙂"
    conversation = store.create("\udc00", "", 1)
    say(store, conversation, "t", "a\ud800", "\ud83d")
    store.rename(conversation, "\udfff!")
    assert [m.text for m in store.messages(conversation)] == ["a\ufffd", "\ufffd"]
    store.delete(conversation)


def test_many_threads_lose_nothing(store, database):
    conversation = store.create("x", "", 1)

    def work(number):
        for turn in range(10):
            say(store, conversation, f"{number}-{turn}", f"prompt {number} {turn}", "answer")
            store.search("prompt")
            store.messages(conversation)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert len(store.messages(conversation)) == 80
    assert len(store.search("prompt", 100)) == 40
    database.check()


def test_a_closed_history_says_so(store, database):
    database.close()
    for call in (store.conversations, lambda: store.create("x", "", 1), lambda: store.search("x")):
        with pytest.raises(UnreadableError) as caught:
            call()
        assert caught.value.code == "storage.closed"


def test_which_model_answered_and_how_long_is_stored_with_its_answer(store):
    conversation = store.create("t", "", 1)
    store.begin_turn(conversation, TurnId("a"), "prompt", (), "", "", 1)
    assert [m.model for m in store.messages(conversation)] == [None, None]
    model, usage = ModelInfo("a model", ModelDigest("ab" * 48), 8192), Usage(40, 30, 20, 0.5, 1.5)
    store.finish_turn(TurnId("a"), Outcome.COMPLETED, (), model, usage, RecordSeq(1), 2, "length")
    asked, answer = store.messages(conversation)
    assert (asked.model, asked.usage) == (None, Usage())
    assert (answer.model, answer.usage) == (model, usage)


def test_the_code_of_a_turns_end_is_stored_with_its_answer(store):
    conversation = store.create("t", "", 1)
    store.begin_turn(conversation, TurnId("a"), "prompt", (), "", "", 1)
    store.finish_turn(TurnId("a"), Outcome.FAILED, (), None, Usage(), RecordSeq(1), 2, "context.full")
    asked, answer = store.messages(conversation)
    assert asked.code == ""
    assert answer.code == "context.full"


def test_what_a_model_thought_is_beside_its_answer_and_not_in_the_index(store, database):
    conversation = store.create("c", "", 1)
    store.begin_turn(conversation, TurnId("a"), "q", (), "", "", 1)
    store.append_thinking(TurnId("a"), "quagmire ")
    store.append_thinking(TurnId("a"), "")
    store.append_answer(TurnId("a"), "An answer.")
    store.append_thinking(TurnId("a"), "\0thoughts")
    _, streaming = store.messages(conversation)
    assert (streaming.text, streaming.thinking.text) == ("An answer.", "quagmire \0thoughts")
    thinking = Thinking("what the store was told before", (FINDING,), 12.5)
    store.finish_turn(TurnId("a"), Outcome.COMPLETED, (), None, Usage(), RecordSeq(1), 2, "end", thinking)
    asked, answer = store.messages(conversation)
    assert answer.text == "An answer." and answer.findings == ()
    assert answer.thinking == Thinking("quagmire \0thoughts", (FINDING,), 12.5)
    assert asked.thinking == Thinking()
    assert store.search("quagmire") == () and len(store.search("answer")) == 1
    database.check()


def test_an_answer_without_thinking_has_none(store):
    conversation = store.create("c", "", 1)
    say(store, conversation, "a", "q", "answer")
    assert [message.thinking for message in store.messages(conversation)] == [Thinking(), Thinking()]
