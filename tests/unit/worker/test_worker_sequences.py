"""What a context holds is what its memory holds: cut, shared, made room for, and never more than was computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_models import tiny_bytes

# In a process of its own: the library's threads and limits are no part of the tests' process.
_ENGINE = """
import os, sys
from llama_cpp import llama_cpp as lib
from govdesk.domain.frames import *
from govdesk.worker import engine as module

e = module.Engine((os.open(sys.argv[1], os.O_RDONLY),),
                  LoadModel(context_tokens=512, threads=1, batch_tokens=128, micro_batch_tokens=128))
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
    for one in held._all:
        assert lib.llama_memory_seq_pos_max(memory, one.number) + 1 == len(one.tokens), one

text = "the user and the system " * 8
whole = ask(text, "a").prompt_tokens
truth()
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "model.gguf"
    path.write_bytes(tiny_bytes("qwen3"))
    return path


def _run(isolated, tiny: Path, code: str) -> None:
    done = isolated(_ENGINE + code, str(tiny))
    assert done.returncode == 0, done.stderr


def test_a_conversation_goes_on_where_it_was(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
assert ask(text, "a").read_tokens == 1
longer = ask(text + "the user", "a")
assert longer.read_tokens < longer.prompt_tokens / 2
assert [one.conversation for one in held._all if one.tokens] == ["a"]
truth()
""",
    )


def test_what_begins_alike_is_shared_and_its_owner_keeps_it(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
other = ask(text + "and the user", "b")
assert other.read_tokens < other.prompt_tokens / 2
assert sorted(one.conversation for one in held._all if one.tokens) == ["a", "b"]
assert ask(text, "a").read_tokens == 1
held.forget("a")
assert held.of("a") is None and ask(text + "and the user", "b").read_tokens == 1
truth()
""",
    )


def test_the_oldest_makes_room_and_what_fits_alone_is_read(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
for name in "bcd":
    assert ask(name + " " + text, name).reason in {"end", "length"}
ask("e " + text, "e")
assert held.of("a") is None and held.of("b") is not None  # four sequences: the oldest gave its own
truth()
assert ask("user " * 240, "f").prompt_tokens > 480
truth()
assert [one.conversation for one in held._all if one.tokens] == ["f"]
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
for end in range(1, 700):
    at, steps = 0, []
    while at < end:
        steps.append(stretch(at, end, 128))
        at += steps[-1]
    assert at == end and max(steps) <= 128
    assert min(steps) >= MANY_TOKENS or end < MANY_TOKENS, (end, steps)
""",
    )
