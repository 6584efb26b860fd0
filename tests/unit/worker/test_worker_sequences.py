"""What a context holds is what its memory holds: cut, shared, made room for, and never more than was computed."""

from __future__ import annotations

from pathlib import Path

import pytest

# In a process of its own: the library's threads and limits are no part of the tests' process.
_ENGINE = """
import os, sys
from llama_cpp import llama_cpp as lib
from govdesk.domain.frames import *
from govdesk.worker import engine as module

e = module.Engine((os.open(sys.argv[1], os.O_RDONLY),),
                  LoadModel(context_tokens=512, threads=1, batch_tokens=128, micro_batch_tokens=128,
                            aside_bytes=int(sys.argv[2])))
held = e._sequences

def never():
    return False

def ask(text, conversation="", stop=never, temperature=0.5):
    order = Generate(turn="t", messages=(ChatMessage(role="user", text=text),), max_tokens=2, seed=1, top_p=1.0,
                     top_k=1, temperature=temperature, repeat_penalty=1.0, conversation=conversation)
    *_, last = e.answer(order, stop)
    return last

def truth():
    memory = lib.llama_get_memory(e._context)
    assert lib.llama_memory_seq_pos_max(memory, 0) + 1 == len(held._now.tokens), held._now
    assert held._now.among_many <= len(held._now.tokens)
    names = [one.conversation for one in (held._now, *held._aside.all) if one.tokens]
    assert len(set(names)) == len(names), names
    return sorted(names)

text = "the user and the system " * 8
whole = ask(text, "a").prompt_tokens
truth()
"""


def _run(isolated, tiny: Path, code: str, aside_bytes: int = 2**26) -> None:
    done = isolated(_ENGINE + code, str(tiny), str(aside_bytes))
    assert done.returncode == 0, done.stderr


def test_a_conversation_goes_on_where_it_was(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
assert ask(text, "a").read_tokens == 1
longer = ask(text + "the user", "a")
assert longer.read_tokens < longer.prompt_tokens / 2
assert truth() == ["a"]
""",
    )


def test_what_begins_alike_is_shared_and_its_owner_keeps_it(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
other = ask(text + "and the user", "b")
assert other.read_tokens < other.prompt_tokens / 2
assert truth() == ["a", "b"]
assert ask(text, "a").read_tokens == 1
held.forget("a")
assert held.of("a") is None and ask(text + "and the user", "b").read_tokens == 1
truth()
""",
    )


def test_the_one_left_longest_ago_makes_room_and_what_fits_alone_is_read(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
one = held.state_bytes(held.of("a"))
held._aside._most_bytes = 3 * one  # and a little more than two of what follows
for name in "bcd":
    assert ask(name + " " + text, name).reason in {"end", "length"}
assert truth() == ["b", "c", "d"] or truth() == ["a", "b", "c", "d"]
before = truth()
ask("e " + text, "e")
assert held.of(before[0]) is None and held.of("d") is not None and held.of("e") is held._now
truth()
assert sum(len(kept.state) for kept in held._aside.all) <= 3 * one
assert ask("user " * 240, "f").prompt_tokens > 480
assert "f" in truth()
""",
    )


def test_without_memory_for_it_nothing_is_set_aside(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
ask("b " + text, "b")
assert truth() == ["b"]
again = ask("b " + text, "b")
assert again.read_tokens == 1
with held.emptied() as nothing:
    assert nothing is None  # what is held is not lost for a try
assert truth() == ["b"]
""",
        aside_bytes=0,
    )


def test_the_longest_beginning_wins_wherever_it_is(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
ask(text + "and the user " * 6, "b")    # begins as a does
ask("user " * 60, "c")                  # in the context: begins with next to nothing of it
assert truth() == ["a", "b", "c"] and held.of("c") is held._now
longest = ask(text + "and the user " * 6 + "more", "d")
assert longest.read_tokens < longest.prompt_tokens - whole, longest
assert truth() == ["a", "b", "c", "d"]
assert ask(text + "and the user " * 6, "b").read_tokens == 1  # its own is untouched
""",
    )


def test_what_stands_whole_in_the_new_prompt_is_not_copied_for_it(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
keep = held._aside.keep
copied = []
held._aside.keep = lambda *given: copied.append(given[0].conversation) or keep(*given)
messages = (ChatMessage(role="user", text=text + "and the user"),)
*_, read = e.read_ahead(ReadAhead(turn="r", conversation="a draft", messages=messages), never)
assert copied == ["a"] and read.read_tokens > 0, (copied, read)  # "a" was answered: more of it was read than stands there
asked = ask(text + "and the user", "b")
assert copied == ["a"] and asked.read_tokens < 20, (copied, asked)
assert truth() == ["a", "b"]
""",
    )


def test_what_is_brought_back_answers_as_if_it_had_stayed(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
def say(text, conversation):
    order = Generate(turn="t", messages=(ChatMessage(role="user", text=text),), max_tokens=30, seed=1, top_p=1.0,
                     top_k=1, temperature=0.0, repeat_penalty=1.0, conversation=conversation)
    return "".join(one.text for one in e.answer(order, never) if isinstance(one, AnswerPiece))

first = say(text, "a")
say("user " * 100, "b")
assert say(text, "a") == first
with held.emptied() as sequence:
    assert sequence is held._now and sequence.tokens == [] and sequence.among_many == 0
    held.read(sequence, [1] * 70, logits=True)
assert held.of("a") is held._now and say(text, "a") == first
truth()
""",
    )


def test_a_state_that_the_library_does_not_take_back_is_not_held(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
ask("user " * 60, "b")
put = lib.llama_state_seq_set_data
lib.llama_state_seq_set_data = lambda *_: 0
again = ask(text, "a")
assert again.read_tokens == again.prompt_tokens == whole
lib.llama_state_seq_set_data = put
assert truth() == ["a", "b"]
get = lib.llama_state_seq_get_data
lib.llama_state_seq_get_data = lambda *_: 1
ask("user " * 70, "c")
lib.llama_state_seq_get_data = get
assert truth() == ["b", "c"]
""",
    )


def test_a_memory_that_cannot_be_cut_is_read_whole(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
held._cuttable = False
again = ask(text, "a")
assert again.read_tokens == again.prompt_tokens == whole
other = ask(text + "more", "b")
assert other.read_tokens == other.prompt_tokens
truth()
""",
    )


@pytest.mark.parametrize("how", ["refuses", "slid on"])
def test_a_library_that_does_not_cut_is_believed(isolated, tiny, how: str) -> None:
    _run(
        isolated,
        tiny,
        f"""
how = {how!r}
remove = lib.llama_memory_seq_rm
if how == "refuses":
    lib.llama_memory_seq_rm = lambda m, s, a, b: remove(m, s, a, b) if a < 0 else False
else:
    first = lib.llama_memory_seq_pos_min
    lib.llama_memory_seq_pos_min = lambda m, s: 3 if first(m, s) == 0 else -1
again = ask(text, "a")
assert again.read_tokens == again.prompt_tokens == whole
truth()
""",
    )


def test_after_a_stop_inside_a_batch_only_what_was_computed_is_held(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
calls = 0
def soon():
    global calls
    calls += 1
    return calls > 3
module_text = "the system and the user " * 20
done = ask(module_text, "b", soon)
assert done.reason == "cancelled"
truth()
sequence = held.of("b")
holds = len(sequence.tokens) if sequence else 0
again = ask(module_text, "b")
assert again.read_tokens == again.prompt_tokens - holds, (again, holds)
truth()
""",
    )


@pytest.mark.parametrize("result", [-1, -2, 2, 1])
def test_a_decode_that_fails_leaves_the_truth(isolated, tiny, result: int) -> None:
    _run(
        isolated,
        tiny,
        f"""
decode = lib.llama_decode
lib.llama_decode = lambda *_: {result}
failed = ask(text + "and more of the user", "a")
lib.llama_decode = decode
assert getattr(failed, "code", "") == "decode.failed" or failed.reason == "cancelled"
truth()
assert ask(text, "a").reason in {{"end", "length"}}
truth()
""",
    )


def test_at_temperature_0_only_what_was_computed_among_many_is_used_again(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
from govdesk.worker.sequences import MANY_TOKENS, stretch
held.forget("a")
first = ask(text * 2, "a", temperature=0.0)
sequence = held.of("a")
assert sequence.among_many == first.prompt_tokens > 2 * MANY_TOKENS
assert len(sequence.tokens) >= first.prompt_tokens
assert ask(text * 2, "a", temperature=0.0).read_tokens == MANY_TOKENS
assert ask(text * 2, "a", temperature=0.5).read_tokens == 1
assert sequence.among_many == first.prompt_tokens - 1  # the last was computed alone
sequence.among_many = 70  # as after a turn whose answer was computed token by token
assert ask(text * 2, "a", temperature=0.0).read_tokens == first.prompt_tokens - 70
for most, limit in ((128, 128), (64, 512), (65, 512), (100, 512), (127, 128), (150, 512), (512, 512)):
    for end in range(1, 700):
        at, steps = 0, []
        while at < end:
            steps.append(stretch(at, end, most, limit))
            at += steps[-1]
        assert at == end and max(steps) <= min(limit, max(most, 2 * MANY_TOKENS - 1)), (end, steps)
        assert min(steps) >= MANY_TOKENS or end < MANY_TOKENS, (end, steps)
""",
    )
