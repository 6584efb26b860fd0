"""A small model proposes, the large one decides: the same answer with fewer decodes of the large one."""

from __future__ import annotations

from pathlib import Path

from govdesk.domain.frames import Loaded
from tests.tiny_models import tiny_bytes
from tests.tiny_worker import SMALL, TinyWorker

_ENGINE = """
import os, sys
from llama_cpp import llama_cpp as lib
from govdesk.domain.frames import *
from govdesk.worker import engine as module, steps, draft_model

model, small = (os.open(path, os.O_RDONLY) for path in sys.argv[1:3])
e = module.Engine((model, small), LoadModel(context_tokens=2048, threads=1, draft_files=1))
steps.TRIALS = 1
decode, large = lib.llama_decode, 0

def counted(context, batch):
    global large
    large += context == e._context
    return decode(context, batch)

lib.llama_decode = counted

def ask(text, **changed):
    global large
    order = dict(turn="t", messages=(ChatMessage(role="user", text=text),), max_tokens=60, temperature=0.0,
                 top_p=0.95, top_k=40, repeat_penalty=1.0, seed=7)
    e._sequences.clear()
    large = 0
    events = list(e.answer(Generate(**{**order, **changed}), lambda: False))
    return "".join(x.text for x in events if isinstance(x, AnswerPiece)), events[-1].answer_tokens, large

story = "Write a short story about a harbour town."
"""


def _run(isolated, code: str, model: Path, small: Path) -> None:
    done = isolated(_ENGINE + code, str(model), str(small), timeout=300)
    assert done.returncode == 0, done.stderr


def test_the_same_answer_with_fewer_decodes(isolated, model_file) -> None:
    _run(
        isolated,
        """
assert e.loaded().draft == "used"
from govdesk.worker.drafters import ByModel
ByModel.judge = lambda self, won, hits: None  # a model as large as the other does not pay
plain, tokens, many = ask(story, speculate=False)
drafted, again, few = ask(story)
assert drafted == plain and again == tokens == 60, (plain, drafted)
assert few < 0.6 * many, (few, many)
penalised = [ask(story, speculate=on, repeat_penalty=1.3)[0] for on in (False, True)]
assert penalised[0] == penalised[1]
drawn = [ask(story, speculate=on, temperature=0.8, seed=3)[0] for on in (False, True)]
assert drawn[0] == drawn[1]
""",
        model_file,
        model_file,
    )


def test_it_catches_up_in_parts_and_follows_the_text(isolated, model_file) -> None:
    _run(
        isolated,
        """
draft = e._draft
text = [100 + at % 900 for at in range(400)]
draft.begin(text)
before = []
while not (proposed := draft.propose(text, 4)):
    before.append(len(draft._held))
assert before == [128, 256, 384] and len(proposed) == 4, before
held = lambda: int(lib.llama_memory_seq_pos_max(draft._memory, 0)) + 1
assert held() == len(draft._held) == 403
text += [proposed[0], 5]  # the first was chosen, the second was not
draft.propose(text, 4)  # what garbage goes on with may be its end
assert draft._held[:402] == text and held() == len(draft._held) >= 402
other = text[:50] + [7] * 20
draft.begin(other)
assert draft._agreed == 50
draft.propose(other, 4)
assert draft._held[:70] == other and held() == len(draft._held) >= 70
assert draft.propose([1] * 2045, 4) == []  # no room in its context
lib.llama_decode = lambda *_: 1
assert draft.propose(other + [9], 4) == [] and draft._held == [] and held() == 0
lib.llama_decode = counted
draft.propose(other + [9], 4)
assert draft._held[:71] == other + [9] and held() == len(draft._held)
""",
        model_file,
        model_file,
    )


def test_a_model_with_other_tokens_is_not_used_and_the_large_one_is() -> None:
    worker = TinyWorker(tiny_bytes("qwen3"), tiny_bytes("llama-spm"), order=_with_draft())
    try:
        assert isinstance(worker.loaded, Loaded) and worker.loaded.draft == "draft.vocabulary"
        assert worker.ask([("user", "the user")])[1] is not None
    finally:
        worker.stop()


def test_a_model_of_its_own_kind_is_used() -> None:
    worker = TinyWorker(tiny_bytes("qwen3"), tiny_bytes("qwen3", seed=2), order=_with_draft())
    plain = TinyWorker(tiny_bytes("qwen3"))
    try:
        assert isinstance(worker.loaded, Loaded) and worker.loaded.draft == "used"
        asked = [("user", "the user and the system")]
        assert worker.ask(asked, max_tokens=40)[0] == plain.ask(asked, max_tokens=40)[0]
    finally:
        worker.stop()
        plain.stop()


def _with_draft():
    import msgspec

    return msgspec.structs.replace(SMALL, draft_files=1)
