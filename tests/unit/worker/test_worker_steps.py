"""Drafts change how often the library computes, and no token of any answer."""

from __future__ import annotations

from govdesk.worker.drafters import ByLookup, ByModel

# In a process of its own: the library's threads and limits are no part of the tests' process.
_ENGINE = r"""
import os, sys
from llama_cpp import llama_cpp as lib
from govdesk.domain.frames import *
from govdesk.worker import engine as module, steps

THREADS = int(sys.argv[2])
e = module.Engine((os.open(sys.argv[1], os.O_RDONLY),), LoadModel(context_tokens=1024, threads=THREADS))
e.pace._others.look = lambda: 0.0  # a machine of our own
e.pace._others.begin = lambda: 0.0
native, decodes = lib.llama_decode, 0

def counted(*arguments):
    global decodes
    decodes += 1
    return native(*arguments)

lib.llama_decode = counted
LIST = "Ada Lovelace, 12 Harbour Road; Grace Hopper, 4 Mill Lane; Alan Turing, 77 Park View; Edsger Dijkstra, 3 Quay."
REPEATING = [
    f"Repeat this text exactly, word for word: {LIST} {LIST}",
    "Say: the sea and the sea and the sea and the sea and the sea and the sea and the sea.",
    "a b c a b c a b d a b c a b e a b c a b f a b c a b",
    "1, 2, 3, 1, 2, 3, 1, 2, 4, 1, 2, 3, 1, 2, 5, 1, 2, 3,",
    "é😀é😀é😀é😀ééé😀é😀 é😀é😀",
    f"Return these names as a list, and then once more: {LIST}",
    "Write a short story about a harbour town.",
    "x" * 200,
]

def ask(text, **changed):
    global decodes
    order = dict(turn="t", messages=(ChatMessage(role="user", text=text),), max_tokens=60, temperature=0.0,
                 top_p=0.95, top_k=40, repeat_penalty=1.0, seed=7)
    e._sequences.clear()
    decodes = 0
    events = list(e.answer(Generate(**{**order, **changed}), lambda: False))
    text = "".join(x.text for x in events if isinstance(x, AnswerPiece))
    return (text, events[-1]), decodes

def both(text, **changed):
    without, many = ask(text, speculate=False, **changed)
    with_drafts, few = ask(text, speculate=True, **changed)
    assert without == with_drafts, (text, without, with_drafts)
    return many, few
"""


def _run(isolated, model_file, code: str, threads: int = 1) -> str:
    done = isolated(_ENGINE + code, str(model_file), str(threads), timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_same_tokens_with_fewer_decodes_where_text_repeats(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
steps.TRIALS = 1
steps.DraftedSteps._judge = lambda self: setattr(self, "_batch_seconds", 0.0)  # whether it pays or not
saved = []
for text in [*REPEATING, f"{LIST} " * 12 + "Repeat the last three lines."]:  # the last: more than 512 tokens
    many, few = both(text)
    saved.append(many - few)
assert e._trials.passed(4) and e._trials.passed(16), e._trials._same
assert saved[0] > 15 and saved[-1] > 15, saved
""",
    )


def test_the_same_tokens_with_a_seed_penalties_and_a_grammar(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        r"""
steps.TRIALS = 1
steps.DraftedSteps._judge = lambda self: setattr(self, "_batch_seconds", 0.0)  # whether it pays or not
kinds = {
    "seed": dict(temperature=0.7, seed=1, min_p=0.05),
    "penalty": dict(repeat_penalty=1.1),
    "grammar": dict(grammar=r'root ::= ("Ada" | "Grace" | ", " | "; " | [a-z0-9 ])+'),
}
for name, kind in kinds.items():
    saved = [many - few for many, few in (both(text, **kind) for text in REPEATING[:3])]
    assert sum(saved) > 0, (name, saved)  # drafts were used, and accepted
""",
    )


def test_pieces_are_sent_together(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
from govdesk.worker import decoding

def pieces():
    order = Generate(turn="t", messages=(ChatMessage(role="user", text=REPEATING[6]),), max_tokens=40,
                     temperature=0.0, top_p=1.0, top_k=1, repeat_penalty=1.0, seed=1)
    *events, done = e.answer(order, lambda: False)
    found = [one for one in events if isinstance(one, AnswerPiece)]
    assert done.answer_tokens == sum(one.tokens for one in found) == 40
    return found, "".join(one.text for one in found)

decoding.PIECE_SECONDS = 1e9
few, text = pieces()
assert len(few) == 2 and few[0].tokens == 1, few  # the first token at once, and the end
decoding.PIECE_SECONDS = 0.0
many, same = pieces()
assert len(many) == 40 and same == text, len(many)
""",
    )


def test_what_was_drafted_and_not_chosen_is_gone(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
steps.TRIALS = 1
for most in range(20, 34, 4):
    (_, done), _ = ask(REPEATING[0], max_tokens=most, conversation="c")
    sequence = e._sequences.of("c")
    # the last token of an answer that reached its limit was chosen and never computed
    assert len(sequence.tokens) == done.prompt_tokens + done.answer_tokens - 1, (most, done)
    assert e._sequences._end() == len(sequence.tokens)
""",
    )


def test_with_several_threads_nothing_is_drafted(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
many, few = both(REPEATING[0])
assert many == few and not e._trials._same
""",
        threads=2,
    )


def test_an_answer_that_need_not_come_again_is_drafted_with_several_threads(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
steps.DraftedSteps._judge = lambda self: setattr(self, "_batch_seconds", 0.0)  # whether it pays or not
drawn = dict(temperature=0.05, max_tokens=100)
(_, done), few = ask(REPEATING[0], repeats=False, **drawn)
assert few < 0.7 * done.answer_tokens and not e._trials._same, (few, done)
(_, done), many = ask(REPEATING[0], repeats=True, **drawn)
assert many >= done.answer_tokens - 1
(_, done), many = ask(REPEATING[0], repeats=False, max_tokens=100)  # temperature 0 always comes again
assert many >= done.answer_tokens - 1
""",
        threads=2,
    )


def test_where_the_library_computes_otherwise_nothing_is_drafted(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
logits = steps.DraftedSteps._logits
steps.DraftedSteps._logits = lambda self, index: logits(self, index) + (b"other" if index == 0 else b"")
for text in REPEATING[:2]:
    both(text)  # each size is tried once, and computed again alone
assert all(e._trials.failed(size) for size in e._trials._same) and e._trials._same
many, few = both(REPEATING[0])
assert many == few
""",
    )


def test_drafts_that_do_not_pay_need_more_to_fit_and_come_back() -> None:
    drafter = ByLookup([1, 2, 3])

    def judged(hits: int, cost: float) -> int:
        drafter.judge(1 + hits - cost, hits)
        return drafter.need

    assert [judged(0, 3.0) for _ in range(5)] == [6, 12, 24, 32, 32]
    assert [judged(16, 5.0) for _ in range(5)] == [16, 8, 4, 3, 3]


class Proposing:
    """A small model that always has something to say."""

    def __init__(self) -> None:
        self.asked = 0

    def begin(self, text: list[int]) -> None:
        pass

    def propose(self, text: list[int], most: int) -> list[int]:
        self.asked += 1
        return [text[-1]] * most


def test_a_small_model_that_does_not_pay_rests_longer_each_time() -> None:
    model = Proposing()
    drafter = ByModel(model, [1, 2, 3])  # type: ignore[arg-type]

    def tokens_until_it_proposes() -> int:
        for count in range(10_000):
            drafter.add(4)
            if drafter.draft(16):
                return count
        raise AssertionError("it never comes back")

    assert tokens_until_it_proposes() == 0
    rests = []
    for _ in range(9):
        drafter.judge(-1.0, 0)
        rests.append(tokens_until_it_proposes())
    assert rests == [8, 16, 32, 64, 128, 256, 512, 512, 512] and model.asked == 10
    for _ in range(7):
        drafter.judge(3.0, 4)
        assert tokens_until_it_proposes() == 0
    drafter.judge(-100.0, 0)
    assert tokens_until_it_proposes() <= 8


def test_no_token_costs_more_calls_than_an_earlier_one(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
import statistics
from govdesk.worker import decoding
decoding.SLOW_TOKEN_SECONDS = 1e9  # looks inside tokens would be counted as tokens
decoding.PIECE_SECONDS = 1e9  # how often a piece is sent is a question of time
calls, seen = 0, []

def profile(_frame, event, _argument):
    global calls
    calls += event in ("call", "c_call")

def between():
    seen.append(calls)
    return False

def most(order):
    seen.clear()
    sys.setprofile(profile)
    list(e.answer(order, between))
    sys.setprofile(None)
    costs = [b - a for a, b in zip(seen, seen[1:])]
    return statistics.median(costs[10:40]), statistics.median(costs[-30:])

for speculate in (False, True):
    order = Generate(turn="t", messages=(ChatMessage(role="user", text=REPEATING[6]),), max_tokens=200,
                     temperature=0.0, top_p=1.0, top_k=1, repeat_penalty=1.1, seed=1, speculate=speculate)
    early, late = most(order)
    more = 15 if speculate else 1  # a draft that is found costs a few calls, wherever it is
    assert late <= early + more and late < 60, (speculate, early, late)
""",
    )
