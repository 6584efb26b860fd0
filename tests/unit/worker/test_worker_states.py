"""A state that leaves the worker ends where the prompt ended: nothing of what the model made goes with it."""

from __future__ import annotations

from pathlib import Path

# In a process of its own: the library's threads and limits are no part of the tests' process.
_ENGINE = """
import array, os, struct, sys
from llama_cpp import llama_cpp as lib
from govdesk.domain.frames import *
from govdesk.worker import engine as module
from govdesk.worker.decoding import Run

e = module.Engine((os.open(sys.argv[1], os.O_RDONLY),),
                  LoadModel(context_tokens=512, threads=1, aside_bytes=int(sys.argv[2])))
held, states = e._sequences, e.states
e._vocabulary.ends = lambda token: False  # its answers have as many tokens as they may
TEXT = "the user and the system " * 6

def never():
    return False

def tokens_of(text):
    return e._prompt((ChatMessage(role="user", text=text),), never).tokens

def ask(text, conversation, stop=never, temperature=0.5):
    order = Generate(turn="t", messages=(ChatMessage(role="user", text=text),), max_tokens=9, seed=1, top_p=1.0,
                     top_k=1, temperature=temperature, repeat_penalty=1.0, conversation=conversation)
    *_, last = e.answer(order, stop)
    assert last.reason in {"length", "cancelled"}, last
    return last

def saved(conversation):
    # What the trusted side gets, and the tokens that its header names; nothing: None.
    size = states.size(conversation)
    if not size.state_bytes:
        assert size.tokens == 0
        return None, ()
    descriptor = os.memfd_create("state")
    os.ftruncate(descriptor, size.state_bytes)
    assert states.write(conversation, descriptor).state_bytes == size.state_bytes
    whole = os.pread(descriptor, size.state_bytes, 0)
    assert struct.unpack_from("<I", whole, 12) == (size.tokens,)
    return descriptor, tuple(array.array("i", whole[20 : 20 + 4 * size.tokens]))

def content(descriptor):
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)

def prompt_alone(text):
    # The state of a prompt that was read and never answered.
    held.clear()
    tokens = tokens_of(text)
    list(e._reader.read("t", held.begin("alone", tokens), tokens, Run(), never))
    state, _ = saved("alone")
    held.forget("alone")
    return content(state)

alone = prompt_alone(TEXT)
prompt = tokens_of(TEXT)
done = ask(TEXT, "a")
assert done.answer_tokens == 9 and len(held.of("a").tokens) == len(prompt) + 8
"""


def _run(isolated, tiny: Path, code: str, aside_bytes: int = 2**26) -> None:
    done = isolated(_ENGINE + code, str(tiny), str(aside_bytes))
    assert done.returncode == 0, done.stderr


def test_it_ends_at_the_prompt_and_the_answer_stays_in_memory(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
state, named = saved("a")
assert named == prompt
assert content(state) == alone  # byte for byte as if no answer had been made
assert held.of("a") is held._now and len(held._now.tokens) == len(prompt) + 8 and not held._aside.all
assert held._now.told == len(prompt)
assert states.restore("b", state).tokens == len(prompt)
assert saved("b")[1] == prompt and ask(TEXT, "b").read_tokens == 1
""",
    )


def test_of_a_conversation_that_was_set_aside_and_of_one_that_came_back(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
other = "system " * 40
ask(other, "b")
assert held.of("a") is not held._now
state, named = saved("a")
assert named == prompt and content(state) == alone
assert held._now.conversation == "b" and len(held._now.tokens) == len(tokens_of(other)) + 8
assert len(held.of("a").tokens) == len(prompt) + 8 and len(held._aside.all) == 1
assert saved("b")[1] == tokens_of(other)
assert saved("a")[1] == prompt
with held.emptied():
    pass
assert saved("b")[1] == tokens_of(other)
held.forget("b")
assert not held._now.tokens and saved("a")[1] == prompt and not held._now.tokens
assert ask(TEXT, "a").read_tokens == 1 and saved("a")[1] == prompt
""",
    )


def test_what_a_stop_discarded_and_what_the_next_prompt_does_not_repeat(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
pieces = 0
def soon():
    global pieces
    pieces += len(held._now.tokens) > len(prompt)
    return pieces > 3
held.forget("a")
assert ask(TEXT, "a", soon).reason == "cancelled" and len(held.of("a").tokens) > len(prompt)
state, named = saved("a")
assert named == prompt and content(state) == alone
*_, read = e.read_ahead(ReadAhead(turn="r", conversation="a", messages=(ChatMessage(role="user", text="the " * 30),)),
                        never)
assert saved("a")[1] == tokens_of("the " * 30)[: len(held.of("a").tokens)]
""",
    )


def test_without_memory_to_set_it_aside_the_answer_is_given_up(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
state, named = saved("a")
assert named == prompt and content(state) == alone
assert tuple(held._now.tokens) == prompt
""",
        aside_bytes=0,
    )


def test_where_there_is_room_for_one_the_one_in_the_context_stays(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
ask("system " * 40, "b")
held._aside._most_bytes = len(held.of("a").state) + 1
descriptor = os.memfd_create("state")
os.ftruncate(descriptor, states.size("a").state_bytes)
assert states.write("a", descriptor).state_bytes == 0 and not any(content(descriptor))
assert held._now.conversation == "b" and held._now.tokens and held.of("a") is not None
""",
    )


def test_a_memory_that_cannot_be_cut_is_not_saved(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
size = states.size("a").state_bytes
first = lib.llama_memory_seq_pos_min
for cannot in ("recurrent", "slid on"):
    if cannot == "recurrent":
        held._cuttable = False
    else:
        held._cuttable = True
        lib.llama_memory_seq_pos_min = lambda memory, number: 3
    descriptor = os.memfd_create("state")
    os.ftruncate(descriptor, size)
    assert saved("a") == (None, ())
    assert states.write("a", descriptor).state_bytes == 0 and not any(content(descriptor))
    assert len(held.of("a").tokens) == len(prompt) + 8
ask("system " * 40, "b")  # it is set aside as it is
lib.llama_memory_seq_pos_min = first
assert saved("a") == (None, ()) and len(held.of("a").tokens) == len(prompt) + 8
""",
    )
