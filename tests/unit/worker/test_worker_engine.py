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
module.Pace.begin = lambda self, spare=0: None  # the next look is now
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


def test_answers_and_reading_ahead_follow_the_machine(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
from govdesk.worker import pace
lib.llama_decode = decode
e = module.Engine((os.open(sys.argv[1], os.O_RDONLY),), LoadModel(context_tokens=1024, threads=4))
e.pace._others.begin = lambda: None
e.pace._others._cpus = range(8)
used, found = 0.0, []
e.pace._others.look = lambda: used
pace.LOOK_SECONDS = 0.0  # each time it could be looked
native = lib.llama_set_n_threads
lib.llama_set_n_threads = lambda context, one, many: (found.append((one, many)), native(context, one, many))

def at(events, what, count, now_used):
    # Others use so much from the count-th event of a kind on.
    global used
    for event in events:
        count -= isinstance(event, what)
        if count == 0:
            used = now_used
    return event

assert isinstance(at(e.answer(generate("word " * 200), never), PromptProgress, 2, 6.0), AnswerDone)
assert found == [(2, 2)], found  # eight processors, six taken: noticed while the prompt is read
used, found[:] = 6.0, []
assert at(e.answer(generate(), never), AnswerPiece, 1, 7.0).reason == "length"
assert found == [(1, 1)], found  # and while it is answered

def ahead(text):
    messages = (ChatMessage(role="user", text=text),)
    return e.read_ahead(ReadAhead(turn="r", conversation="c", messages=messages), never)

e.pace._looked, used, found[:] = -1e9, 0.0, []
assert at(ahead("harbour " * 400), PromptProgress, 2, 6.0).code == ""
assert found == [(4, 4), (1, 1)], found  # two are free, and reading ahead leaves one of them
found.clear()
list(e.answer(generate("Hello"), never))
assert found[0] == (2, 2), found  # an answer takes both at once
e.pace._others._cpus, e.pace._looked, used = range(4), -1e9, 0.0
found.clear()
list(ahead("Hello, and good morning. " * 4))
assert found == [(3, 3)], found  # although all are free
""",
    )


def test_reading_ahead_renders_once_and_what_fails_there_is_its_answer(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
from govdesk.worker.template import TemplateFailedError
render, tokenize, called = e._template.render, lib.llama_tokenize, 0

def ahead():
    messages = (ChatMessage(role="user", text="Where does the rain come from, and where does it go?"),)
    *_, done = e.read_ahead(ReadAhead(turn="r", conversation="c", messages=messages), never)
    return done

def once(history):
    global called
    called += 1
    if called > 1:
        raise TemplateFailedError("template.slow")
    return render(history)

e._template.render = once
whole = ahead()
assert whole.code == "" and called == 1 and 5 < whole.read_tokens < whole.prompt_tokens - 4, whole
assert ahead().code == "template.slow"
e._template.render, called = render, 0

def counted(*arguments):
    global called
    called += 1
    return -7 if called == fails else tokenize(*arguments)

fails, lib.llama_tokenize = 0, counted
assert ahead().code == ""
for fails in range(1, called + 1):  # whichever text it is
    called = 0
    assert ahead().code == "prompt.tokenize", fails
called, fails = 0, 0
assert ahead().code == ""
""",
    )
