"""One loaded model: read a prompt, decode an answer, stop at once when asked.

The decode loop does per token: one native decode, one native sampling, one table look-up for the
token's bytes, one poll of the channel. Nothing in it grows with the answer. Where one token takes
long, llama.cpp's abort callback looks for the cancel inside it as well.
"""

from __future__ import annotations

import codecs
import ctypes
import hashlib
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from llama_cpp import llama_cpp as lib

from govdesk.domain.frames import (
    MAX_TOKENS,
    AnswerDone,
    AnswerFailed,
    AnswerPiece,
    Generate,
    Loaded,
    LoadModel,
    PromptProgress,
)
from govdesk.worker import limits
from govdesk.worker.template import ChatTemplate, TemplateFailedError
from govdesk.worker.tokens import Cancelled, Full, TokenizeFailedError, Vocabulary

PIECE_SECONDS = 0.05
"""Pieces are sent at most this often: a frame for each token would cost more than it shows."""
POLL_SECONDS = 0.01
"""The abort callback comes hundreds of times per token and looks at the channel this often."""
SLOW_TOKEN_SECONDS = 0.05
"""Below this a look between tokens is often enough, and the callback would cost some percent."""
_ABORTED = 2  # llama_decode's answer when the abort callback said so
_PENALTY_LAST_TOKENS = 64
_ERROR_SILENT = lib.llama_log_callback(lambda _level, _text, _data: None)
_NO_ABORT = lib.ggml_abort_callback()

Events = PromptProgress | AnswerPiece | AnswerDone | AnswerFailed


class LoadFailedError(Exception):
    """The library refused; `code` crosses to the trusted side."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(slots=True)
class _Run:
    """Counters of one answer."""

    prompt_tokens: int = 0
    read_tokens: int = 0
    answer_tokens: int = 0


class Engine:
    """A model and a context over it, from a descriptor that nobody can change any more.

    Args:
        descriptor: sealed memfd, or a file that a rule allows, holding the GGUF.
        order: context size, threads, batch.

    Raises:
        LoadFailedError: `model.refused`, `model.no-context`, or a template's code.
    """

    def __init__(self, descriptor: int, order: LoadModel) -> None:
        lib.llama_log_set(_ERROR_SILENT, ctypes.c_void_p(0))
        lib.llama_backend_init()
        parameters = lib.llama_model_default_params()
        parameters.n_gpu_layers = 0
        self._model = lib.llama_model_load_from_file(f"/proc/self/fd/{descriptor}".encode(), parameters)
        if not self._model:
            raise LoadFailedError("model.refused")
        self.context_tokens = min(order.context_tokens, int(lib.llama_model_n_ctx_train(self._model)))
        self._vocabulary = Vocabulary(self._model, self.context_tokens)
        settings = lib.llama_context_default_params()
        settings.n_ctx = self.context_tokens
        settings.n_batch = order.batch_tokens
        settings.n_ubatch = order.batch_tokens
        settings.n_threads = settings.n_threads_batch = order.threads
        settings.no_perf = True
        self._context = lib.llama_init_from_model(self._model, settings)
        if not self._context:
            raise LoadFailedError("model.no-context")
        self._batch_tokens = order.batch_tokens
        source = lib.llama_model_chat_template(self._model, None)
        if not source:
            raise LoadFailedError("template.missing")
        self.template_sha384 = hashlib.sha384(source).hexdigest()
        limits.bound_memory(order.threads)  # the library has what it needs; the template gets what is left
        try:
            self._template = ChatTemplate(
                source.decode("utf-8", "replace"), self._vocabulary.bos, self._vocabulary.eos
            )
        except TemplateFailedError as error:
            raise LoadFailedError(error.code) from error

    def loaded(self) -> Loaded:
        """What was loaded, as the frame that says so."""
        return Loaded(context_tokens=self.context_tokens, template_sha384=self.template_sha384)

    def answer(self, order: Generate, cancelled: Callable[[], bool]) -> Iterator[Events]:
        """Read the prompt and decode until the model ends, the limit is reached or `cancelled()` says so."""
        messages = tuple((message.role, message.text) for message in order.messages)
        try:
            prompt = self._vocabulary.prompt(self._template.render(messages), cancelled)
        except TemplateFailedError as error:
            yield AnswerFailed(turn=order.turn, code=error.code)
            return
        except TokenizeFailedError:
            yield AnswerFailed(turn=order.turn, code="prompt.tokenize")
            return
        match prompt:
            case Cancelled():
                yield _done(order.turn, "cancelled", _Run())
                return
            case Full(tokens=count, estimated=estimated):
                yield AnswerFailed(
                    turn=order.turn,
                    code="context.full",
                    prompt_tokens=min(count, MAX_TOKENS),
                    context_tokens=self.context_tokens,
                    estimated=estimated,
                )
                return
            case tokens:
                yield from self._run(order, tokens, cancelled)

    def _run(
        self, order: Generate, tokens: tuple[int, ...], cancelled: Callable[[], bool]
    ) -> Iterator[Events]:
        run = _Run(prompt_tokens=len(tokens))
        lib.llama_memory_clear(lib.llama_get_memory(self._context), False)
        sampler = _sampler(order, self._vocabulary.size)
        abort = _abort_callback(cancelled)
        lib.llama_set_abort_callback(self._context, abort, None)
        try:
            for token in tokens[-_PENALTY_LAST_TOKENS:]:
                lib.llama_sampler_accept(sampler, token)
            code = yield from self._read(order.turn, tokens, run, cancelled)
            if code == "ok":
                code = yield from self._decode(order, sampler, run, cancelled, abort)
        finally:
            lib.llama_set_abort_callback(self._context, _NO_ABORT, None)
            lib.llama_sampler_free(sampler)
        if code in {"end", "length", "cancelled"}:
            yield _done(order.turn, code, run)
        else:
            yield AnswerFailed(turn=order.turn, code=code, context_tokens=self.context_tokens)

    def _read(
        self, turn: str, tokens: tuple[int, ...], run: _Run, cancelled: Callable[[], bool]
    ) -> Generator[Events, None, str]:
        yield PromptProgress(turn=turn, done_tokens=0, total_tokens=len(tokens))
        for start in range(0, len(tokens), self._batch_tokens):
            chunk = tokens[start : start + self._batch_tokens]
            array = (lib.llama_token * len(chunk))(*chunk)
            result = lib.llama_decode(self._context, lib.llama_batch_get_one(array, len(chunk)))
            if result == _ABORTED or cancelled():
                return "cancelled"
            if result != 0:
                return "decode.failed"
            run.read_tokens = start + len(chunk)
            yield PromptProgress(turn=turn, done_tokens=run.read_tokens, total_tokens=len(tokens))
        return "ok"

    def _decode(
        self,
        order: Generate,
        sampler: lib.llama_sampler_p,
        run: _Run,
        cancelled: Callable[[], bool],
        abort: object,
    ) -> Generator[Events, None, str]:
        context = self._context
        decode, sample = lib.llama_decode, lib.llama_sampler_sample
        is_end, piece = self._vocabulary.ends, self._vocabulary.piece
        clock = time.perf_counter
        room = min(order.max_tokens, self.context_tokens - run.prompt_tokens)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        array = (lib.llama_token * 1)()
        batch = lib.llama_batch_get_one(array, 1)
        waiting = bytearray()
        waiting_tokens = 0
        watched = True  # while it reads, and until the first token shows how fast this machine is
        last = sent = clock()
        code = "length"
        for count in range(room):
            token = sample(sampler, context, -1)
            if is_end(token):
                code = "end"
                break
            waiting += piece(token)
            waiting_tokens += 1
            run.answer_tokens += 1
            now = clock()
            if count == 0 or now - sent >= PIECE_SECONDS:
                text = decoder.decode(bytes(waiting))
                waiting.clear()
                if text:
                    yield AnswerPiece(turn=order.turn, text=text, tokens=waiting_tokens)
                    waiting_tokens = 0
                sent = now
            if cancelled():
                code = "cancelled"
                break
            if count + 1 == room:
                break
            if count > 0 and watched != (now - last >= SLOW_TOKEN_SECONDS):
                watched = not watched
                lib.llama_set_abort_callback(context, abort if watched else _NO_ABORT, None)
            last = now
            array[0] = token
            result = decode(context, batch)
            if result != 0:
                code = "cancelled" if result == _ABORTED else "decode.failed"
                break
        text = decoder.decode(bytes(waiting), final=True)
        if text:
            yield AnswerPiece(turn=order.turn, text=text, tokens=waiting_tokens)
        return code


def _done(turn: str, reason: str, run: _Run) -> AnswerDone:
    return AnswerDone(
        turn=turn,
        reason=reason,
        prompt_tokens=run.prompt_tokens,
        read_tokens=run.read_tokens,
        answer_tokens=run.answer_tokens,
    )


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


def _sampler(order: Generate, vocabulary_tokens: int) -> lib.llama_sampler_p:
    """The sampler chain, all native; temperature 0 is greedy. Few candidates first: penalties search."""
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    greedy = order.temperature <= 0.0
    if not greedy:
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_k(order.top_k))
    if order.repeat_penalty != 1.0:
        penalties = lib.llama_sampler_init_penalties(
            vocabulary_tokens, _PENALTY_LAST_TOKENS, order.repeat_penalty, 0.0, 0.0
        )
        lib.llama_sampler_chain_add(chain, penalties)
    if greedy:
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_greedy())
        return chain
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_p(order.top_p, 1))
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_temp(order.temperature))
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_dist(order.seed))
    return chain
