"""Every tiny model loads in the real worker and answers: what other tests make of them is real."""

from __future__ import annotations

import msgspec
import pytest

from govdesk.domain.frames import AnswerDone, Loaded, LoadFailed
from tests import gguf_files
from tests.tiny_models import KINDS, tiny_bytes, tiny_model, tiny_parts
from tests.tiny_worker import SMALL, TinyWorker


@pytest.mark.parametrize("kind", KINDS)
def test_it_loads_and_decodes(kind: str) -> None:
    worker = TinyWorker(tiny_bytes(kind))
    try:
        assert isinstance(worker.loaded, Loaded)
        text, done = worker.ask([("user", "the user and the system")], max_tokens=8)
        assert isinstance(done, AnswerDone)
        assert 0 < done.answer_tokens <= 8 or done.reason == "end"
        assert worker.ask([("user", "the user and the system")], max_tokens=8) == (text, done)
    finally:
        worker.stop()


def test_the_same_seed_makes_the_same_file_and_another_seed_another() -> None:
    assert tiny_bytes("qwen3") == tiny_bytes("qwen3")
    assert tiny_bytes("qwen3") != tiny_bytes("qwen3", seed=2)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_tiny(kind: str) -> None:
    for format_ in (gguf_files.TYPE_F32, gguf_files.TYPE_F16, gguf_files.TYPE_Q8_0):
        assert len(gguf_files.encode(tiny_model(kind, format_=format_))) < 500_000


@pytest.mark.parametrize("kind", ["llama-spm", "gpt-oss"])
@pytest.mark.parametrize("parts", [2, 16])
def test_a_split_model_says_what_the_whole_one_says(kind: str, parts: int) -> None:
    answers = []
    for files in ([tiny_bytes(kind)], tiny_parts(kind, parts)):
        worker = TinyWorker(*files)
        try:
            assert isinstance(worker.loaded, Loaded)
            answers.append(worker.ask([("user", "the user and the system")], max_tokens=8))
        finally:
            worker.stop()
    assert answers[0] == answers[1]


def test_parts_that_do_not_belong_together_are_refused_by_the_library_too() -> None:
    first, second = tiny_parts("llama-spm", 2)
    for files in ([second, first], [first], [first, first], [first, tiny_parts("qwen3", 2)[1]]):
        worker = TinyWorker(*files)
        try:
            assert isinstance(worker.loaded, LoadFailed)
            assert worker.signal() == 0
        finally:
            worker.stop()


def test_keys_and_values_that_do_not_fill_blocks_are_refused_without_a_crash() -> None:
    """Heads of 16 cannot be kept as Q8_0: `fit.kv_possible` says so before, and the worker after."""
    order = msgspec.structs.replace(SMALL, kv="q8_0")
    worker = TinyWorker(tiny_bytes("qwen3"), order=order)
    try:
        assert worker.loaded == LoadFailed(code="model.no-context")
        assert worker.signal() == 0
    finally:
        worker.stop()
