"""A desk's sealed states: a deletion takes them with it, left-overs go at unlocking, the log says so by counts."""

from __future__ import annotations

import os
import time
from pathlib import Path

from govdesk.domain.ids import ConversationId
from govdesk.domain.prompt_state import PromptState
from govdesk.inference.prompt_states import new_memfd
from govdesk.storage.prompt_states import PromptStateFiles
from tests.unit.app.test_app_desk import Bench, bench, with_a_conversation

__all__ = ["bench"]


def _keep(bench: Bench, conversation: ConversationId) -> PromptStateFiles:
    files = PromptStateFiles(bench.desk._database, bench.profile.caches)
    assert files.room() > 0
    descriptor = new_memfd(5000)
    files.keep(conversation, PromptState(descriptor, 600, 5000), b"binding", 1)
    os.close(descriptor)
    return files


def test_a_deletion_takes_key_and_file_with_it(bench: Bench) -> None:
    unlocked, _, conversation = with_a_conversation(bench)
    files = _keep(bench, conversation)
    assert len(list(bench.profile.caches.iterdir())) == 1
    unlocked.history.delete(conversation)
    assert list(bench.profile.caches.iterdir()) == []
    assert files.kept(conversation) is None


def test_turns_and_reading_ahead_go_through_the_cache(bench: Bench) -> None:
    unlocked, _, _ = with_a_conversation(bench)
    cache = bench.desk._cache
    assert cache is not None
    assert unlocked.chat._inference is cache
    assert unlocked.ahead._inference is cache


def test_what_a_crash_left_goes_at_unlocking(bench: Bench) -> None:
    left: Path = bench.profile.caches / ("ab" * 16 + ".state")
    bench.profile.caches.mkdir()
    left.write_bytes(b"left by a crash")
    with_a_conversation(bench)
    until = time.monotonic() + 20
    while left.exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert not left.exists()
