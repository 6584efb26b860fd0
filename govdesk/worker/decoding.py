"""The decode loop: from a prompt that was read to the end of its answer.

Per token: one native decode, or its part of one (`govdesk.worker.steps`), one native sampling, one table
look-up for the token's bytes, one poll of the channel. Nothing in it grows with the answer. Where one token
takes long, llama.cpp's abort callback looks for the cancel inside it as well.
"""

from __future__ import annotations

import codecs
import itertools
import operator
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from llama_cpp import llama_cpp as lib

from govdesk.domain.frames import AnswerPiece
from govdesk.worker.sampling import STUCK, TOO_SLOW, Sampler
from govdesk.worker.steps import Steps
from govdesk.worker.thinking import Span, Splitter
from govdesk.worker.tokens import Vocabulary

PIECE_SECONDS = 0.05
"""Pieces are sent at most this often: a frame for each token would cost more than it shows."""
POLL_SECONDS = 0.01
"""The abort callback comes hundreds of times per token and looks at the channel this often."""
SLOW_TOKEN_SECONDS = 0.05
"""Below this a look between tokens is often enough, and the callback would cost some percent."""
ABORTED = 2
"""llama_decode's answer when the abort callback said so."""
_FAILED = {STUCK: "grammar.stuck", TOO_SLOW: "grammar.too-slow"}
_NO_ABORT = lib.ggml_abort_callback()


@dataclass(slots=True)
class Run:
    """Counters of one answer."""

    prompt_tokens: int = 0
    read_tokens: int = 0
    answer_tokens: int = 0
    threads: int = 0
    most_threads: int = 0
    """The fewest of how many it is made with, once others need the rest; 0 of 0 before."""
    reading_threads: tuple[int, int] = (0, 0)
    """How many of how many read a prompt now, when others need the rest; else 0 of 0."""

    def spare(self, now: tuple[int, int], most: tuple[int, int]) -> None:
        """It goes on with so many threads to decode and to read, of so many."""
        if now[0] < most[0] and (not self.threads or now[0] < self.threads):
            self.threads, self.most_threads = now[0], most[0]
        self.reading_threads = (now[1], most[1]) if now[1] < most[1] else (0, 0)


class Watch:
    """Llama.cpp's look for a cancel between graph nodes, on a context; switched off where it costs."""

    def __init__(self, context: lib.llama_context_p, cancelled: Callable[[], bool]) -> None:
        self._context = context
        self._callback = _abort_callback(cancelled)
        self.on = False

    def switch(self, on: bool) -> None:
        """Look inside decodes, or not."""
        if on != self.on:
            self.on = on
            lib.llama_set_abort_callback(self._context, self._callback if on else _NO_ABORT, None)


def decode(
    context: lib.llama_context_p,
    steps: Steps,
    vocabulary: Vocabulary,
    sampler: Sampler,
    watch: Watch,
    cancelled: Callable[[], bool],
    run: Run,
    *,
    turn: str,
    room: int,
    thinking: Splitter | None = None,
) -> Generator[AnswerPiece, None, str]:
    """Decode up to `room` tokens.

    Returns `end`, `length`, `cancelled`, or why it failed: `decode.failed`, `grammar.stuck` or
    `grammar.too-slow`.

    Args:
        context: has read the prompt of the answer, logits of its last token included.
        steps: compute each token that was chosen.
        vocabulary: the model's.
        sampler: chooses tokens; knows the prompt's last ones.
        watch: on.
        cancelled: asked between tokens.
        run: counts the answer's tokens.
        turn: whose answer it is.
        room: most tokens.
        thinking: tells this answer's thinking apart; None for a model that does not think.
    """
    choose, go_on = sampler.choose, steps.go_on
    is_end, piece = vocabulary.ends, vocabulary.piece
    clock = time.perf_counter
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    waiting = bytearray()
    waiting_tokens = 0
    markers: frozenset[int] = frozenset() if thinking is None else thinking.tokens
    last = sent = clock()
    code = "length"
    for count in range(room):
        token = choose(context, steps.index)
        if token < 0:
            code = _FAILED[token]
            break
        if is_end(token):
            code = "end"
            break
        marker = token in markers
        if not marker:
            waiting += piece(token)
        waiting_tokens += 1
        run.answer_tokens += 1
        now = clock()
        if marker or count == 0 or now - sent >= PIECE_SECONDS:
            spans = _spans(decoder.decode(bytes(waiting), final=marker), thinking)
            waiting.clear()
            if marker and thinking is not None:
                spans += thinking.meet(token, piece(token).decode("utf-8", "replace"))
            for frame in _frames(turn, spans, waiting_tokens):
                yield frame
                waiting_tokens = 0
            sent = now
        if cancelled():
            code = "cancelled"
            break
        if count + 1 == room:
            break
        if count > 0:  # until the first token showed how fast this machine is, it is watched
            watch.switch(now - last >= SLOW_TOKEN_SECONDS)
        last = now
        result = go_on(token)
        if result != 0:
            code = "cancelled" if result == ABORTED else "decode.failed"
            break
    spans = _spans(decoder.decode(bytes(waiting), final=True), thinking)
    if thinking is not None:
        spans += thinking.end()
    yield from _frames(turn, spans, waiting_tokens)
    return code


def _spans(text: str, thinking: Splitter | None) -> list[Span]:
    """What is certain of the text, told apart."""
    if thinking is not None:
        return thinking.take(text) if text else []
    return [(text, False)] if text else []


def _frames(turn: str, spans: list[Span], tokens: int) -> Iterator[AnswerPiece]:
    """One piece for each kind of text in a row; the tokens are the first one's."""
    for thinking, together in itertools.groupby(spans, key=operator.itemgetter(1)):
        yield AnswerPiece(
            turn=turn, text="".join(text for text, _ in together), tokens=tokens, thinking=thinking
        )
        tokens = 0


def _abort_callback(cancelled: Callable[[], bool]) -> object:
    """What llama.cpp asks between graph nodes: stop? It costs a clock reading, and seldom a poll."""
    clock = time.perf_counter
    next_look = 0.0

    def abort(_data: object) -> bool:
        nonlocal next_look
        now = clock()
        if now < next_look:
            return False
        next_look = now + POLL_SECONDS
        return cancelled()

    return lib.ggml_abort_callback(abort)
