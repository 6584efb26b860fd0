"""What was read is read once for every architecture, windows of attention among them; answers stay the same."""

from __future__ import annotations

import os

import msgspec
import pytest

from govdesk.domain.frames import (
    AnswerDone,
    ForgetState,
    RestoreState,
    SaveState,
    StateRestored,
    StateSize,
    StateWritten,
    WriteState,
)
from govdesk.inference.prompt_states import new_memfd
from tests.tiny_models import KINDS, tiny_bytes
from tests.tiny_worker import SMALL, TinyWorker

ORDER = msgspec.structs.replace(SMALL, aside_bytes=2**24, batch_tokens=128, micro_batch_tokens=128)
FIRST = [("user", "the user and the system " * 7)]
SECOND = [*FIRST, ("assistant", "the system " * 6), ("user", "the user " * 12)]


def _ask(worker: TinyWorker, messages: list[tuple[str, str]], conversation: str) -> tuple[str, AnswerDone]:
    text, done = worker.ask(messages, max_tokens=12, conversation=conversation)
    assert isinstance(done, AnswerDone)
    return text, done


@pytest.mark.parametrize("kind", KINDS)
def test_turns_edits_and_states_answer_as_a_whole_reading_does(kind: str) -> None:
    worker = TinyWorker(tiny_bytes(kind), order=ORDER)
    try:
        whole, done = _ask(worker, SECOND, "whole")
        assert done.read_tokens == done.prompt_tokens
        worker.channel.send(ForgetState(conversation="whole"))
        first, _ = _ask(worker, FIRST, "a")
        again, done = _ask(worker, SECOND, "a")
        assert again == whole and done.read_tokens < done.prompt_tokens
        back, _ = _ask(worker, FIRST, "a")
        assert back == first
        branch, done = _ask(worker, SECOND, "b")
        assert branch == whole and done.read_tokens < done.prompt_tokens

        worker.channel.send(SaveState(conversation="b"))
        size = worker.next()
        assert isinstance(size, StateSize) and size.tokens == done.prompt_tokens
        descriptor = new_memfd(size.state_bytes)
        worker.channel.send(WriteState(conversation="b"), (descriptor,))
        assert worker.next() == StateWritten(conversation="b", state_bytes=size.state_bytes)
        for name in ("a", "b"):
            worker.channel.send(ForgetState(conversation=name))
        worker.channel.send(RestoreState(conversation="c"), (descriptor,))
        assert worker.next() == StateRestored(conversation="c", tokens=size.tokens)
        os.close(descriptor)
        restored, done = _ask(worker, SECOND, "c")
        assert restored == whole
    finally:
        worker.stop()
