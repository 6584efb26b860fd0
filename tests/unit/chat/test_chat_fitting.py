"""What is given, what goes first, what is kept for the answer; and that nothing goes which nobody chose."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govdesk.chat import fitting
from govdesk.domain.ids import ModelDigest, TurnId
from govdesk.domain.inference import Count
from govdesk.domain.turn import Cut, Message, ModelInfo, Outcome, Role, Thinking, WhenFull
from govdesk.errors import AuditClosedError, UsageError, WorkerError

CONTEXT = 100


def turn(name: str, asked: str, answered: str = "a", cut: Cut | None = None,
         outcome: Outcome | None = Outcome.COMPLETED, code: str = "end") -> tuple[Message, ...]:  # fmt: skip
    cut = cut or Cut()
    return (
        Message(Role.USER, asked, TurnId(name), 5, cut=cut),
        Message(Role.ASSISTANT, answered, TurnId(name), 6, outcome=outcome, code=code, cut=cut),
    )


def summary(name: str, turns: int, text: str = "s", outcome: Outcome = Outcome.COMPLETED, code: str = "end"):
    return turn(name, "Summarise.", text, Cut(turns, TurnId(name)), outcome, code)


class Worker:
    """A word is a token; a message costs two more."""

    def __init__(self, problem: Exception | None = None, count_problem: Exception | None = None) -> None:
        self.problem, self.count_problem = problem, count_problem
        self.counts = 0

    def model(self) -> ModelInfo:
        if self.problem is not None:
            raise self.problem
        return ModelInfo("M", ModelDigest("d"), CONTEXT)

    def count(self, turn: TurnId, history) -> Count:
        self.counts += 1
        if self.count_problem is not None:
            raise self.count_problem
        return Count(sum(len(text.split()) + 2 for _, text in history))


def fit(messages, prompt, when_full=WhenFull.STOP, worker=None, max_tokens=512):
    made = fitting.Fitter(worker or Worker())
    return made.fit(TurnId("now"), messages, prompt, max_tokens, when_full)


FIVE = sum((turn(f"t{i}", f"{i} " + "w " * 9, "answer") for i in range(5)), ())
"""Five turns of 15 tokens: 12 asked, 3 answered; 25 of 100 are kept for the answer."""


def test_what_fits_is_given_whole_and_not_counted_when_it_surely_fits() -> None:
    worker = Worker()
    found = fit((), "hi", worker=worker)
    assert found.too_long is None and found.cut == Cut()
    assert found.history == ((Role.USER, "hi"),)
    assert worker.counts == 0


def test_at_the_border_it_is_counted() -> None:
    worker = Worker()
    assert fit(FIVE[:6], "w " * 28, worker=worker).too_long is None  # 45 + 30 = 75
    assert worker.counts == 1
    assert fit(FIVE[:6], "w " * 29, worker=worker).too_long is not None


def test_a_short_answer_needs_little_room() -> None:
    assert fit(FIVE[:6], "w " * 50, max_tokens=3).too_long is None  # 45 + 52 = 97


def test_stopped_it_says_what_could_go_and_cuts_nothing() -> None:
    found = fit(FIVE, "w " * 20)  # 75 + 22 = 97: 22 too many
    too_long = found.too_long
    assert too_long is not None
    assert found.cut == Cut()
    assert (too_long.prompt_tokens, too_long.room_tokens, too_long.over_tokens) == (97, 75, 22)
    assert [one.begins for one in too_long.oldest] == ["0 w w w w w w w w w", "1 w w w w w w w w w"]
    assert too_long.freed_tokens == 30
    assert too_long.message_tokens == 22 and too_long.message_over_tokens <= 0


def test_chosen_the_fewest_oldest_go() -> None:
    found = fit(FIVE, "w " * 20, WhenFull.DROP_OLDEST)
    assert found.too_long is None
    assert found.cut == Cut(2)
    assert [text[0] for role, text in found.history if role is Role.USER] == ["2", "3", "4", "w"]


def test_a_message_that_is_too_long_alone_cuts_nothing_even_when_asked() -> None:
    found = fit(FIVE, "w " * 80, WhenFull.DROP_OLDEST)
    assert found.too_long is not None
    assert found.too_long.oldest == () and found.too_long.to_summarise == ()
    assert found.too_long.message_over_tokens == 7
    assert found.cut == Cut()


def test_what_was_left_out_stays_left_out(monkeypatch) -> None:
    later = turn("t5", "five", cut=Cut(2))
    found = fit((*FIVE, *later), "next")
    assert found.cut == Cut(2)
    assert [text[0] for role, text in found.history if role is Role.USER] == ["2", "3", "4", "f", "n"]
    more = fit((*FIVE, *later), "w " * 30, WhenFull.DROP_OLDEST)  # 45 + 6 + 32 = 83
    assert more.cut == Cut(3)


def test_a_summary_stands_in_place_of_what_it_summarises() -> None:
    after = (*FIVE, *summary("s", 3, "short words"))
    found = fit(after, "next")
    assert found.cut == Cut(3, TurnId("s"))
    texts = [text for _, text in found.history]
    assert texts[:2] == ["Summarise.", "short words"]
    assert [text[0] for role, text in found.history if role is Role.USER] == ["S", "3", "4", "n"]


@pytest.mark.parametrize("outcome", [Outcome.CANCELLED, Outcome.FAILED, Outcome.INTERRUPTED])
def test_a_summary_that_was_not_finished_stands_for_nothing(outcome) -> None:
    after = (*FIVE, *summary("s", 3, "half", outcome))
    found = fit(after, "next")
    assert found.cut == Cut()
    assert "half" not in [text for _, text in found.history]


@pytest.mark.parametrize(("code", "stands"), [("length", False), ("loop", False), ("end", True), ("", True)])
def test_only_a_summary_that_came_to_its_end_stands_for_anything(code, stands) -> None:
    after = (*FIVE, *summary("s", 3, "half", code=code))
    found = fit(after, "next")
    assert found.cut == (Cut(3, TurnId("s")) if stands else Cut())
    assert ("half" in [text for _, text in found.history]) is stands


def test_a_choice_of_an_answer_that_was_cut_still_holds() -> None:
    later = turn("t5", "five", cut=Cut(2), code="length")
    assert fit((*FIVE, *later), "next").cut == Cut(2)


def test_the_summary_is_the_oldest_and_goes_first() -> None:
    after = (*FIVE, *summary("s", 2, "w " * 18))  # 3 + 20, then 45
    found = fit(after, "w " * 20, WhenFull.DROP_OLDEST)  # 23 + 45 + 22 = 90: 15 too many
    assert found.cut == Cut(2)
    assert [text[0] for role, text in found.history if role is Role.USER] == ["2", "3", "4", "w"]


def test_a_summary_is_offered_where_it_helps(monkeypatch) -> None:
    monkeypatch.setattr(fitting, "_SUMMARY_ROOM", 10)
    monkeypatch.setattr(fitting, "SUMMARY_TOKENS", 8)
    monkeypatch.setattr(fitting, "SUMMARY_PROMPT", "Summarise.")
    too_long = fit(FIVE, "w " * 20).too_long
    assert too_long is not None
    assert len(too_long.oldest) == 2 and len(too_long.to_summarise) == 3
    monkeypatch.setattr(fitting, "SUMMARY_PROMPT", "w " * 60)  # it would not fit itself
    too_long = fit(FIVE, "w " * 20).too_long
    assert too_long is not None and too_long.to_summarise == ()


def test_a_summary_is_asked_of_what_it_stands_for() -> None:
    made = fitting.Fitter(Worker())
    found = made.summary(TurnId("s2"), (*FIVE, *summary("s", 2)), 2)
    assert [text[0] for role, text in found.history if role is Role.USER] == ["S", "2", "S"]
    assert found.history[-1] == (Role.USER, fitting.SUMMARY_PROMPT)
    assert found.cut == Cut(3, TurnId("s2"))
    for wrong in (0, -1, 9):
        with pytest.raises(UsageError):
            made.summary(TurnId("s2"), FIVE, wrong)


def test_turns_without_an_answer_are_no_burden_but_count_as_turns() -> None:
    failed = turn("bad", "w " * 90, "", outcome=Outcome.FAILED)
    assert fit((*failed, *FIVE[:2]), "next").too_long is None
    found = fit((*failed, *FIVE), "w " * 20, WhenFull.DROP_OLDEST)
    assert found.cut == Cut(3)


def test_a_worker_that_cannot_count_is_asked_to_answer_and_says_why() -> None:
    found = fit(FIVE, "w " * 80, worker=Worker(count_problem=WorkerError("ended")))
    assert found.too_long is None and found.problem is None and len(found.history) == 11
    for closed in ({"problem": AuditClosedError("closed")}, {"count_problem": AuditClosedError("closed")}):
        with pytest.raises(AuditClosedError):
            fit(FIVE, "w " * 80, worker=Worker(**closed))


def test_without_a_model_nothing_is_counted_and_why_is_handed_on() -> None:
    problem = WorkerError("It cannot be loaded.")
    worker = Worker(problem)
    found = fit(FIVE, "w " * 80, worker=worker)
    assert found.problem is problem and found.too_long is None and len(found.history) == 11
    assert worker.counts == 0


def test_what_is_stopped_while_it_is_counted_is_not_counted_on() -> None:
    for most in range(4):
        worker = Worker()
        made = fitting.Fitter(worker)
        found = made.fit(
            TurnId("now"), FIVE, "w " * 20, 512, WhenFull.STOP, lambda w=worker, m=most: w.counts >= m
        )
        assert worker.counts == most
        assert found.too_long is None


def test_a_summary_of_a_model_that_thinks_needs_room_to_think(monkeypatch) -> None:
    monkeypatch.setattr(fitting, "_SUMMARY_ROOM", 10)
    monkeypatch.setattr(fitting, "SUMMARY_TOKENS", 8)
    monkeypatch.setattr(fitting, "SUMMARY_PROMPT", "w " * 35)  # 45 + 37 = 82: 18 are left
    assert (too_long := fit(FIVE, "w " * 20).too_long) is not None
    assert len(too_long.to_summarise) == 3
    thinks = (*FIVE[:-1], replace(FIVE[-1], thinking=Thinking("Hmm.")))
    assert (too_long := fit(thinks, "w " * 20).too_long) is not None
    assert too_long.to_summarise == ()


def test_a_summary_may_be_as_long_as_a_thought_before_it_needs() -> None:
    assert [fitting.summary_limit(tokens) for tokens in (512, 4096, 8192, 100_000)] == [256, 1024, 2048, 4096]


def test_long_first_words_are_cut_at_a_length() -> None:
    (block,) = fitting.blocks(turn("t", "word " * 100), Cut())
    assert len(block.as_old().begins) <= 61
    assert block.as_old().created_utc_ns == 5
    assert "\n" not in fitting.blocks(turn("t", "a\nb"), Cut())[0].as_old().begins


@given(st.lists(st.integers(1, 50), min_size=1, max_size=30), st.integers(0, 500), st.integers(0, 60))
def test_fewest_is_what_trying_each_finds(sizes: list[int], room: int, prompt: int) -> None:
    def without(leave: int) -> int:
        return prompt + sum(sizes[leave:])

    each = [leave for leave in range(1, len(sizes) + 1) if without(leave) <= room]
    assert fitting.fewest(len(sizes), without, room) == (each[0] if each else None)


def test_the_answer_has_room_in_every_context() -> None:
    assert fitting.answer_room(4096, 512) == fitting.MIN_ANSWER_TOKENS
    assert fitting.answer_room(400, 512) == 100
    assert fitting.answer_room(4096, 24) == 24
    assert fitting.answer_room(2, 512) == 1


def test_a_conversation_without_turns_has_nothing_to_leave_out() -> None:
    assert fitting.cut_in_force(()) == Cut()
    assert fitting.blocks((), Cut(3)) == ()
    messages = tuple(replace(one, cut=Cut(9)) for one in turn("t", "x"))
    assert fitting.blocks(messages, Cut(9)) == ()
