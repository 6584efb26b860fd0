"""Ctrl-C and a termination are never lost, and mean the same wherever they arrive.

Each case is a process of its own: a thread that a test runner left would take the signals.
"""

import subprocess
import sys

import pytest

_BEGIN = """
import os, signal, threading, time
from govdesk.cli import interrupts

SIGNALS = {signal.SIGINT, signal.SIGTERM}
cancelled = threading.Event()

class Chat:
    cancel = staticmethod(cancelled.set)

def come(number):
    os.kill(os.getpid(), number)

def raised(action):
    try:
        action()
    except (KeyboardInterrupt, SystemExit) as error:
        return error
    raise AssertionError("it went on")

interrupts.hold()
"""

_WAITS = """
come(signal.SIGINT)
come(signal.SIGTERM)
assert signal.sigpending() == SIGNALS
"""

_LEAVES = """
def wait():
    with interrupts.leaving():
        come(number)
        time.sleep(30)

before = [signal.getsignal(each) for each in SIGNALS]
for number, kind in ((signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, SystemExit)):
    come(number)  # earlier
    assert type(raised(interrupts.leave_if_asked)) is kind
    assert type(raised(wait)) is kind
    assert [signal.getsignal(each) for each in SIGNALS] == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == SIGNALS, "held again"
assert raised(wait).code == 143
"""

_STOPS = """
for inside in (signal.SIGINT, None):
    cancelled.clear()
    if inside is None:
        come(signal.SIGINT)  # after the prompt, before the turn
    with interrupts.stopping(Chat):
        if inside is not None:
            come(inside)
        assert cancelled.wait(30)
    interrupts.leave_if_asked()  # it was used up
"""

_TERMINATED = """
ended = []

def turn():
    with interrupts.stopping(Chat):
        come(signal.SIGTERM)
        assert cancelled.wait(30)
        ended.append(True)

assert raised(turn).code == 143
assert ended
"""

_TERMINATED_WITH_AN_ERROR = """
ended = []

def work():
    with interrupts.stopping(Chat):
        come(signal.SIGTERM)
        assert cancelled.wait(30)
        ended.append(True)
        raise ValueError("it was stopped")

assert raised(work).code == 143
assert ended
"""

_INSIDE = """
with interrupts.leaving(), interrupts.stopping(Chat):
    come(signal.SIGINT)
    assert cancelled.wait(30)
"""


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(_WAITS, id="what is held waits"),
        pytest.param(_LEAVES, id="leaving heeds what came before and what comes inside"),
        pytest.param(_STOPS, id="Ctrl-C stops the turn and nothing else, one from just before too"),
        pytest.param(_TERMINATED, id="a termination stops the turn and leaves after it"),
        pytest.param(_TERMINATED_WITH_AN_ERROR, id="also when the stop ends the work with an error"),
        pytest.param(_INSIDE, id="a turn inside leaving is not cut"),
    ],
)
def test_signals(case):
    ran = subprocess.run(
        [sys.executable, "-c", _BEGIN + case], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
