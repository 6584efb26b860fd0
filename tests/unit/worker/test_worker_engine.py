"""An answer stops inside a token where tokens are slow, and between tokens where they are fast."""

from __future__ import annotations

# In a process of its own: the library's threads and limits are no part of the tests' process.
_ENGINE = """
import os, resource, sys
from llama_cpp import llama_cpp as lib
from govdesk.domain.frames import *
from govdesk.worker import decoding, engine as module

def generate(text="Write a long story.", max_tokens=12):
    return Generate(turn="t", messages=(ChatMessage(role="user", text=text),), max_tokens=max_tokens,
                    temperature=0.0, top_p=1.0, top_k=1, repeat_penalty=1.0, seed=1)

e = module.Engine((os.open(sys.argv[1], os.O_RDONLY),), LoadModel(context_tokens=512, threads=1))
inside, asked_inside, decodes = False, 0, 0
decode = lib.llama_decode

def watched(*arguments):
    global inside, decodes
    inside = True
    decodes += 1
    try:
        return decode(*arguments)
    finally:
        inside = False

lib.llama_decode = watched

def never():
    global asked_inside
    asked_inside += inside
    return False

decoding.POLL_SECONDS = 0.0
"""


def _run(isolated, model_file, code: str) -> str:
    done = isolated(_ENGINE + code, str(model_file))
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_slow_token_is_stopped_inside(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
decoding.SLOW_TOKEN_SECONDS = 0.0
def in_the_sixth_decode():
    return inside and decodes == 6
*_, last = e.answer(generate(), in_the_sixth_decode)
assert last.reason == "cancelled" and last.answer_tokens == 5 and decodes == 6, (last, decodes)
*_, last = e.answer(generate(), never)
assert last.reason == "length" and last.answer_tokens == 12, last
""",
    )


def test_fast_tokens_are_not_slowed_by_looking_inside(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
decoding.SLOW_TOKEN_SECONDS = 1e9
counts = []
for event in e.answer(generate(), never):
    if isinstance(event, AnswerPiece):
        counts.append(asked_inside)
assert counts[0] > 0 and asked_inside > counts[0]  # while reading, and in the first token
before, decodes = asked_inside, 0
list(e.answer(generate(max_tokens=2), never))
two = asked_inside - before
before = asked_inside
list(e.answer(generate(max_tokens=12), never))
assert asked_inside - before == two, (asked_inside - before, two)
""",
    )


def test_a_cancel_before_the_first_batch_reads_nothing(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
[done] = e.answer(generate(), lambda: True)
assert done == AnswerDone(turn="t", reason="cancelled", prompt_tokens=0, read_tokens=0, answer_tokens=0)
assert decodes == 0
*_, done = e.answer(generate(text="word " * 300), lambda: inside)
assert done.reason == "cancelled" and done.read_tokens == 0 and done.prompt_tokens > 300
""",
    )


def test_a_text_that_cannot_be_tokenised_fails_the_answer(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
lib.llama_tokenize = lambda *_: -7
assert list(e.answer(generate(), never)) == [AnswerFailed(turn="t", code="prompt.tokenize")]
assert decodes == 0
""",
    )


def test_memory_is_bounded_once_the_model_is_loaded(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
limit, hard = resource.getrlimit(resource.RLIMIT_DATA)
assert limit == hard < 4 * 2**30
try:
    bytearray(2 * 2**30)
except MemoryError:
    pass
else:
    sys.exit("two GiB were had")
*_, last = e.answer(generate(), never)
assert last.reason == "length"
""",
    )


def test_a_fast_token_is_stopped_after(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
decoding.SLOW_TOKEN_SECONDS = 1e9
*_, last = e.answer(generate(), lambda: not inside and decodes == 6)
assert last.reason == "cancelled" and last.answer_tokens == 6 and decodes == 6, (last, decodes)
""",
    )


def test_fewer_threads_than_there_are_places_for_are_told(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
class Others:
    cpus, used = 2, 1.0
    def begin(self): pass
    def look(self): return self.used
e.pace._others = Others()
e.pace.allow(2, 2)
e.pace._apply(2)
e.pace._next = 0.0
module.Pace.begin = lambda self: None  # the next look is now
*events, done = e.answer(generate(text="word " * 300), never)
progress = [one for one in events if type(one).__name__ == "PromptProgress"]
assert (done.threads, done.most_threads) == (1, 2), done
assert (progress[0].threads, progress[0].most_threads) == (0, 0), progress
assert (progress[-1].threads, progress[-1].most_threads) == (1, 2), progress
Others.used = 0.0
e.pace._apply(2)
*_, done = e.answer(generate(text="another"), never)
assert (done.threads, done.most_threads) == (0, 0), done
""",
    )
