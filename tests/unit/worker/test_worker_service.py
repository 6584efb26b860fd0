"""The worker keeps the order of its frames, and ends when the other end breaks it."""

from __future__ import annotations

import pytest

# In a process of its own: the library's threads and limits are no part of the tests' process.
_SERVE = """
import sys, threading
from govdesk import wire
from govdesk.domain.frames import *
from govdesk.process.channel import Channel, pair
from govdesk.worker import service
from govdesk.worker.service import Service

ours, theirs = pair()
trusted = Channel(ours, FromWorker)
model, nothing = open(sys.argv[1], "rb"), open("/dev/null", "rb")
load = LoadModel(context_tokens=256, threads=1)

def generate(turn="t", max_tokens=4, text="Hello", conversation=""):
    return Generate(turn=turn, messages=(ChatMessage(role="user", text=text),), max_tokens=max_tokens,
                    temperature=0.0, top_p=1.0, top_k=1, repeat_penalty=1.0, seed=1, conversation=conversation)

def story(turn="t", conversation=""):
    return generate(turn, 100, "Write a long story.", conversation)

def say():
    print(type(trusted.receive(20)[0]).__name__, flush=True)

def answer():
    while not isinstance(frame := trusted.receive(20)[0], AnswerDone | AnswerFailed):
        pass
    print(frame.reason, flush=True)

def code():
    while not isinstance(frame := trusted.receive(20)[0], ReadDone):
        pass
    print(frame.code or "whole", flush=True)

def script():
    say()
    STEPS

thread = threading.Thread(target=script, daemon=True)
thread.start()
code = Service(Channel(theirs, ToWorker), ()).run()
theirs.shutdown(2)
thread.join(30)
print("rc", code)
"""


def _serve(isolated, model_file, *steps: str) -> str:
    done = isolated(_SERVE.replace("STEPS", "\n    ".join(steps)), str(model_file))
    assert not done.stderr
    return " ".join(done.stdout.split()).removeprefix("WorkerHello ")


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        (["trusted.send(generate())"], "rc 1"),
        (["trusted.send(load)"], "rc 1"),
        (["trusted.send(load, (nothing.fileno(), nothing.fileno()))", "say()", "ours.close()"], "LoadFailed rc 0"),
        (["trusted.send(load, (model.fileno(),))", "say()", "trusted.send(load, (model.fileno(),))"],
         "Loaded rc 1"),
        (["trusted.send(load, (nothing.fileno(),))", "say()", "trusted.send(generate())"], "LoadFailed rc 1"),
        (["ours.sendall(b'\\xff' * 8)"], "rc 1"),
        (["ours.sendall(b'\\0\\0')", "ours.close()"], "rc 1"),
        (["trusted.send(WorkerHello(probes=()))"], "rc 1"),
        (["trusted.send(Cancel(turn='t'))", "trusted.send(Shutdown())"], "rc 0"),
        (["trusted.send(Shutdown())"], "rc 0"),
        (["ours.close()"], "rc 0"),
    ],
    ids=["answer before load", "no model", "two parts of nothing", "loads twice", "answer after no load", "garbage",
         "cut", "a frame of the worker's", "late cancel", "shutdown", "closed"],
)  # fmt: skip
def test_the_order_of_frames(isolated, model_file, steps: list[str], said: str) -> None:
    assert _serve(isolated, model_file, *steps) == said


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("wire.encode(Cancel(turn='t'))", "cancelled length rc 0"),
        ("wire.encode(Cancel(turn='another'))", "length length rc 0"),
        ("wire.encode(Shutdown())", "cancelled rc 0"),
    ],
    ids=["cancel", "another turn's cancel", "shutdown"],
)
def test_what_comes_while_it_answers(isolated, model_file, more: str, said: str) -> None:
    """It comes with the order, so it counts before the first batch is read."""
    steps = [
        "trusted.send(load, (model.fileno(),))",
        "trusted.receive(20)",
        f"ours.sendall(wire.encode(generate()) + {more})",
        "answer()",
    ]
    if "length" in said:
        steps += ["trusted.send(generate('u'))", "answer()", "trusted.send(Shutdown())"]
    assert _serve(isolated, model_file, *steps) == said


@pytest.mark.parametrize("more", ["ours.sendall(b'\\xff' * 8)", "ours.sendall(b'\\0\\0'); ours.shutdown(1)"])
def test_garbage_while_it_answers_ends_it(isolated, model_file, more: str) -> None:
    steps = [
        "trusted.send(load, (model.fileno(),))",
        "trusted.receive(20)",
        "trusted.send(generate(max_tokens=240))",
        "trusted.receive(20)",
        more,
        "answer()",
    ]
    assert _serve(isolated, model_file, *steps) == "cancelled rc 1"


def _ready(*steps: str) -> list[str]:
    return [
        "trusted.send(load, (model.fileno(),))",
        "trusted.receive(20)",
        *steps,
        "trusted.send(Shutdown())",
    ]


_AHEAD = "ReadAhead(turn='r', conversation='c', messages=(ChatMessage(role='user', text='word ' * 150),))"


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ("SaveState(conversation='c')", "StateSize"),
        ("CountTokens(turn='n', messages=(ChatMessage(role='user', text='Hello'),))", "Counted"),
        ("ReadAhead(turn='s', conversation='c', messages=(ChatMessage(role='user', text='Hello'),))",
         "whole"),
    ],
    ids=["state", "count", "another reading"],
)  # fmt: skip
def test_reading_ahead_ends_for_any_other_order_which_is_done_afterwards(
    isolated, model_file, order: str, said: str
) -> None:
    then = "code()" if said == "whole" else "say()"
    steps = _ready(f"ours.sendall(wire.encode({_AHEAD}) + wire.encode({order}))", "code()", then)
    assert _serve(isolated, model_file, *steps) == f"cancelled {said} rc 0"


def test_reading_ahead_is_stopped_by_its_own_cancel_alone(isolated, model_file) -> None:
    steps = _ready(f"ours.sendall(wire.encode({_AHEAD}) + wire.encode(Cancel(turn='r')))", "code()")
    assert _serve(isolated, model_file, *steps) == "cancelled rc 0"
    steps = _ready(f"ours.sendall(wire.encode({_AHEAD}) + wire.encode(Cancel(turn='t')))", "code()")
    assert _serve(isolated, model_file, *steps) == "whole rc 0"


def test_a_cancel_finds_an_order_that_waits(isolated, model_file) -> None:
    orders = "wire.encode(generate('t', 200)) + wire.encode(generate('u')) + wire.encode(Cancel(turn='u'))"
    steps = _ready(f"ours.sendall({orders})", "answer()", "answer()")
    assert _serve(isolated, model_file, *steps).split()[1] == "cancelled"


@pytest.mark.parametrize("order", ["generate(str(number))", "ForgetState(conversation=str(number))"])
def test_more_orders_than_anybody_sends_end_it(isolated, model_file, order: str) -> None:
    many = f"b''.join(wire.encode({order}) for number in range(40))"
    steps = _ready(
        "service.MAX_FORGOTTEN = 8", f"ours.sendall(wire.encode(story()) + {many})", "answer()"
    )[:-1]  # fmt: skip  # it is gone
    assert _serve(isolated, model_file, *steps) == "cancelled rc 1"


def test_any_number_of_conversations_may_be_deleted_during_one_answer(isolated, model_file) -> None:
    """Each deletion is told twice: the conversation, and what was read before it had a name."""
    deleted = (
        "b''.join(wire.encode(ForgetState(conversation=one)) for n in range(40) for one in (f'c{n}', 'new'))"
    )
    steps = _ready(
        "trusted.send(generate('s', 2, 'word ' * 60, 'c7'))",
        "answer()",
        f"ours.sendall(wire.encode(story('t', 'c8')) + {deleted})",
        "answer()",
        *_held("c7"),
        *_held("c8"),
    )
    assert _serve(isolated, model_file, *steps) == "length length 0 0 rc 0"


def test_a_deletion_comes_after_what_waits_for_the_same_conversation(isolated, model_file) -> None:
    forget = "wire.encode(ForgetState(conversation='c'))"
    waits = f"wire.encode(generate('u', 4, conversation='c')) + {forget} * 20"
    steps = _ready(
        f"ours.sendall(wire.encode(story('t')) + {forget} + {waits})", "answer()", "answer()", *_held("c")
    )
    assert _serve(isolated, model_file, *steps) == "length length 0 rc 0"
    steps = _ready(
        f"ours.sendall(wire.encode(story('t')) + {forget} + wire.encode(generate('u', 4, conversation='c')))",
        "answer()",
        "answer()",
        *_held("c"),
    )
    assert _serve(isolated, model_file, *steps).split()[2] != "0"


def _held(conversation: str) -> tuple[str, str]:
    return (
        f"trusted.send(SaveState(conversation={conversation!r}))",
        "print(trusted.receive(20)[0].tokens, flush=True)",
    )


@pytest.mark.parametrize(
    "order",
    [
        "trusted.send(SaveState(conversation='c'), (model.fileno(),))",
        "trusted.send(WriteState(conversation='c'))",
        "trusted.send(RestoreState(conversation='c'))",
        "trusted.send(RestoreState(conversation='c'), (model.fileno(), model.fileno()))",
    ],
)
def test_descriptors_come_where_they_belong_and_nowhere_else(isolated, model_file, order: str) -> None:
    assert _serve(isolated, model_file, *_ready(order)[:-1]) == "rc 1"


def test_what_is_no_state_is_refused_and_it_lives(isolated, model_file) -> None:
    steps = _ready("trusted.send(RestoreState(conversation='c'), (nothing.fileno(),))",
                   "print(trusted.receive(20)[0].tokens, flush=True)",
                   "trusted.send(RestoreState(conversation='c'), (model.fileno(),))",
                   "print(trusted.receive(20)[0].tokens, flush=True)",
                   "trusted.send(WriteState(conversation='c'), (nothing.fileno(),))",
                   "print(trusted.receive(20)[0].state_bytes, flush=True)")  # fmt: skip
    assert _serve(isolated, model_file, *steps) == "0 0 0 rc 0"
