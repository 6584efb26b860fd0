"""A prompt is read in parts that take about a second: progress on a slow machine, whole batches on a fast one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_models import tiny_bytes

# In a process of its own: the library's threads and limits are no part of the tests' process.
_ENGINE = """
import os, sys
from llama_cpp import llama_cpp as lib
from govdesk.domain.frames import *
from govdesk.worker import engine as module, reading
from govdesk.worker.decoding import Run
from govdesk.worker.sequences import MANY_TOKENS

e = module.Engine((os.open(sys.argv[1], os.O_RDONLY),), LoadModel(context_tokens=2048, threads=1))
now, speed, looked, parts = 0.0, 1.0, 0, []
native = lib.llama_decode

def decode(context, batch):
    global now
    now += batch.n_tokens / speed
    parts.append(batch.n_tokens)
    return native(context, batch)

lib.llama_decode = decode
e._reader._clock = lambda: now

def look():
    global looked
    looked += 1

e.pace.look = look

def read(text, slower=None, at=0, temperature=0.5):
    # The sizes of the parts, and the seconds from frame to frame until the prompt is read.
    global speed
    del parts[:]
    e._sequences.clear()
    order = Generate(turn="t", messages=(ChatMessage(role="user", text=text),), max_tokens=1, seed=1, top_p=1.0,
                     top_k=1, temperature=temperature, repeat_penalty=1.0)
    seconds, before = [], now
    for event in e.answer(order, lambda: False):
        if isinstance(event, PromptProgress):
            seconds.append(now - before)
            before = now
            if slower and len(parts) == at:
                speed = slower
    return parts[:], seconds[1:]
"""
_LONG = "the user and the system " * 60


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("tiny") / "model.gguf"
    path.write_bytes(tiny_bytes("qwen3"))
    return path


def _run(isolated, model: Path, code: str) -> None:
    done = isolated(f"{_ENGINE}\nLONG = {_LONG!r}\n{code}", str(model), timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_slow_machine_is_never_silent_for_long(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
speed = 3.0
sizes, seconds = read(LONG)
assert sum(sizes) > 600 and len(sizes) == len(seconds) > 5
assert max(seconds) < 45.0, seconds  # of the 120 that the trusted side allows
assert sizes[0] == MANY_TOKENS and min(sizes) >= MANY_TOKENS, sizes
looked = 0
assert looked == 0 and read(LONG)[0] and looked >= len(sizes)  # it is looked after each part
""",
    )


def test_a_part_takes_about_a_second(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
speed = 100.0
sizes, seconds = read(LONG)
assert sizes[:3] == [MANY_TOKENS, 150, 150], sizes
assert max(seconds) <= reading.PART_SECONDS + 0.001, seconds
speed = 60.0
sizes, seconds = read(LONG)
assert sizes[:3] == [150, 90, 90], sizes  # what was found holds for the next prompt
""",
    )


def test_a_fast_machine_reads_whole_batches_from_the_second_part_on(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
speed = 5000.0
text = LONG * 2
sizes, _ = read(text)
assert sizes[:3] == [MANY_TOKENS, 512, 512], sizes
sizes, _ = read("more " + text)
assert sizes[:2] == [512, 512], sizes
sizes, _ = read("and")  # few tokens say nothing of many
assert len(sizes) == 1 and sizes[0] < MANY_TOKENS
sizes, _ = read(text)
assert sizes[:2] == [512, 512], sizes
""",
    )


def test_a_machine_that_gets_busy_in_the_middle_is_noticed_after_one_part(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
speed = 300.0
sizes, seconds = read(LONG * 2, slower=15.0, at=2)
assert sizes[:3] == [MANY_TOKENS, 450, 450] and set(sizes[3:-1]) == {MANY_TOKENS}, sizes
assert [one > 2 * MANY_TOKENS / 15.0 for one in seconds] == [False, False, True] + [False] * (len(seconds) - 3)
speed = 300.0
assert read(LONG)[0][:2] == [MANY_TOKENS, 450]  # and when it is quiet again, too
""",
    )


def test_where_a_device_computes_parts_are_shorter_and_waited_for(isolated, tiny) -> None:
    _run(
        isolated,
        tiny,
        """
waited = []
wait = lib.llama_synchronize
lib.llama_synchronize = lambda context: (waited.append(len(parts)), wait(context))
speed = 400.0
e._reader._on_devices = True
sizes, seconds = read(LONG)
assert sizes[:3] == [MANY_TOKENS, 200, 200], sizes
assert max(seconds) <= reading.DEVICE_PART_SECONDS + 0.001
assert waited[: len(sizes)] == list(range(1, len(sizes) + 1))
speed = 1e6
read(LONG)
del waited[:]
sizes, _ = read(LONG * 2)
assert sizes[0] == 512 and waited[0] > 1, (sizes, waited)  # whole batches: the library may run ahead
""",
    )


def test_the_sizes_of_the_parts_change_no_logit(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
import ctypes
tokens = tuple(range(1000, 1330))
found = set()
for most in (64, 65, 100, 127, 128, 200, 329, 330, 512):
    e._sequences.clear()
    del parts[:]
    sequence = e._sequences.begin("", tokens)
    reader = reading.Reader(e._sequences, 512, on_devices=False, clock=lambda: now)
    reader._most, speed = most, most / reading.PART_SECONDS  # so that it stays
    list(reader.read("t", sequence, tokens, Run(), lambda: False))
    assert sum(parts) == len(tokens) and min(parts) >= MANY_TOKENS, parts
    assert sequence.among_many == len(tokens)
    logits = lib.llama_get_logits_ith(e._context, -1)
    found.add(ctypes.string_at(logits, 4 * e._vocabulary.size))
assert len(found) == 1, len(found)
""",
    )
