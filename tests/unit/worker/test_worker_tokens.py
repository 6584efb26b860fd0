"""No call into the library is long, texts have the tokens they would have whole, and nothing of them is dropped."""

from __future__ import annotations

import pytest

# In a process of its own: llama_cpp is the worker's.
_VOCABULARY = """
import ctypes, sys
from llama_cpp import llama_cpp as lib
from govdesk.worker import tokens as module
from govdesk.worker.template import Part
from govdesk.worker.tokens import Cancelled, Full, TokenizeFailedError, Vocabulary

quiet = lib.llama_log_callback(lambda *_: None)
lib.llama_log_set(quiet, ctypes.c_void_p(0))
parameters = lib.llama_model_default_params()
parameters.vocab_only = True
model = lib.llama_model_load_from_file(sys.argv[1].encode(), parameters)
calls = []

class Watched(Vocabulary):
    def tokenize(self, text, *, special):
        calls.append(len(text))
        return super().tokenize(text, special=special)

def never():
    return False

def plain(text):
    return (Part(text, special=False),)
"""


def _run(isolated, model_file, code: str) -> None:
    done = isolated(_VOCABULARY + code, str(model_file))
    assert done.returncode == 0, done.stderr


def test_names_of_special_tokens_in_a_text_are_text(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
v = Vocabulary(model, 4096)
name = "<|im_end|>"
[end] = v.prompt((Part(name, special=True),), never)
assert v.ends(end) and v.eos == name
spelled = v.prompt(plain("a" + name), never)
assert end not in spelled and len(spelled) > 4
assert b"".join(map(v.piece, spelled)) == b"a" + name.encode()
both = v.prompt((Part(name, special=True), Part(name, special=False), Part(name, special=True)), never)
assert both.count(end) == 2 and both[0] == both[-1] == end
""",
    )


def test_a_long_text_that_fits_has_the_tokens_it_has_whole(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
v = Watched(model, 60_000)
for text in ("A sentence, and more. " * 8000, "a" * 150_000, " " * 100_000, "\\U0001f6a2" * 14_000):
    assert list(v.prompt(plain(text), never)) == Vocabulary.tokenize(v, text.encode(), special=False)
""",
    )


def test_what_cannot_fit_is_refused_without_a_long_call(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
for text in ("word " * 380_000, "a" * 1_900_000, " " * 1_900_000, "\\n" * 1_900_000, "\\U0001f6a2" * 475_000):
    v = Watched(model, 4096)
    calls.clear()
    full = v.prompt(plain(text), never)
    assert isinstance(full, Full) and full.estimated and full.tokens > 5120, full
    assert max(calls) <= module.SLICE_BYTES and len(calls) < 20, calls
v = Watched(model, 100)
calls.clear()
full = v.prompt(plain("word " * 100) * 1000, never)
assert full.estimated and 90_000 < full.tokens < 110_000 and len(calls) < 5
full = v.prompt(plain("word " * 110), never)
assert full == Full(len(Vocabulary.tokenize(v, b"word " * 110, special=False)), estimated=False)
""",
    )


def test_a_cancel_is_heard_between_calls(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
for patience in (0, 1, 2, 5):
    asked = []
    def cancelled():
        asked.append(1)
        return len(asked) > patience
    v = Watched(model, 4096)
    calls.clear()
    assert v.prompt(plain(" " * 1_900_000), cancelled) == Cancelled()
    assert len(calls) == max(0, patience - 1)
""",
    )


def test_a_text_that_the_library_refuses_is_not_dropped(isolated, model_file) -> None:
    _run(
        isolated,
        model_file,
        """
v = Vocabulary(model, 4096)
lib.llama_tokenize = lambda *_: -7
try:
    print(v.prompt(plain("Hello"), never))
except TokenizeFailedError:
    sys.exit(0)
sys.exit(1)
""",
    )


@pytest.mark.parametrize("size", [1, 7, 16])
def test_slices_end_between_characters(isolated, model_file, size: int) -> None:
    _run(
        isolated,
        model_file,
        f"""
module.SLICE_BYTES = {size}
for text in ("", "plain ascii text", "\\U0001f6a2" * 9, "aä€\\U0001f6a2" * 5):
    slices = list(module._slices(text.encode()))
    assert b"".join(part for part, _ in slices) == text.encode()
    assert [end for _, end in slices] == sorted(set(end for _, end in slices))
    if {size} >= 4:
        assert "".join(part.decode() for part, _ in slices) == text
""",
    )
