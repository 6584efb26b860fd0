"""One loaded model: read a prompt, decode an answer, stop at once when asked. The only user of llama_cpp.

The decode loop does per token: one native decode, one native sampling, one table look-up for the
token's bytes, one poll of the channel. Nothing in it grows with the answer.
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
    AnswerDone,
    AnswerFailed,
    AnswerPiece,
    Generate,
    Loaded,
    LoadModel,
    PromptProgress,
)
from govdesk.worker.template import ChatTemplate, TemplateFailedError

PIECE_SECONDS = 0.025
"""Pieces are sent at most this often: a frame for each token would cost more than it shows."""
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
    answer_tokens: int = 0
    read_seconds: float = 0.0
    decode_seconds: float = 0.0


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
        self._vocabulary = lib.llama_model_get_vocab(self._model)
        self.trained_context_tokens = int(lib.llama_model_n_ctx_train(self._model))
        self.context_tokens = min(order.context_tokens, self.trained_context_tokens)
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
        try:
            self._template = ChatTemplate(
                source.decode("utf-8", "replace"),
                self._token_text(lib.llama_vocab_bos(self._vocabulary)),
                self._token_text(lib.llama_vocab_eos(self._vocabulary)),
            )
        except TemplateFailedError as error:
            raise LoadFailedError(error.code) from error
        self._pieces: dict[int, bytes] = {}

    def loaded(self) -> Loaded:
        """What was loaded, as the frame that says so."""
        description = ctypes.create_string_buffer(256)
        lib.llama_model_desc(self._model, description, 256)
        return Loaded(
            description=description.value.decode("utf-8", "replace"),
            context_tokens=self.context_tokens,
            trained_context_tokens=self.trained_context_tokens,
            template_sha384=self.template_sha384,
        )

    def answer(self, order: Generate, cancelled: Callable[[], bool]) -> Iterator[Events]:
        """Read the prompt and decode until the model ends, the limit is reached or `cancelled()` says so."""
        try:
            parts = self._template.render(tuple((message.role, message.text) for message in order.messages))
        except TemplateFailedError as error:
            yield AnswerFailed(turn=order.turn, code=error.code)
            return
        tokens = [token for part in parts for token in self._tokenize(part.text, special=part.special)]
        run = _Run(prompt_tokens=len(tokens))
        if len(tokens) >= self.context_tokens:
            yield AnswerFailed(
                turn=order.turn,
                code="context.full",
                prompt_tokens=len(tokens),
                context_tokens=self.context_tokens,
            )
            return
        lib.llama_memory_clear(lib.llama_get_memory(self._context), False)
        sampler = _sampler(order, int(lib.llama_vocab_n_tokens(self._vocabulary)))
        try:
            for token in tokens[-_PENALTY_LAST_TOKENS:]:
                lib.llama_sampler_accept(sampler, token)
            code = yield from self._read(order.turn, tokens, run, cancelled)
            if code == "ok":
                code = yield from self._decode(order, sampler, run, cancelled)
        finally:
            lib.llama_sampler_free(sampler)
        if code in {"end", "length", "cancelled"}:
            yield AnswerDone(
                turn=order.turn,
                reason=code,
                prompt_tokens=run.prompt_tokens,
                read_tokens=run.prompt_tokens,
                answer_tokens=run.answer_tokens,
                read_seconds=run.read_seconds,
                decode_seconds=run.decode_seconds,
            )
        else:
            yield AnswerFailed(turn=order.turn, code=code, context_tokens=self.context_tokens)

    def _read(
        self, turn: str, tokens: list[int], run: _Run, cancelled: Callable[[], bool]
    ) -> Generator[Events, None, str]:
        started = time.perf_counter()
        # between graph nodes, so that a long batch stops within milliseconds; off again while decoding
        abort = lib.ggml_abort_callback(lambda _data: cancelled())
        lib.llama_set_abort_callback(self._context, abort, None)
        code = "ok"
        try:
            yield PromptProgress(turn=turn, done_tokens=0, total_tokens=len(tokens))
            for start in range(0, len(tokens), self._batch_tokens):
                chunk = tokens[start : start + self._batch_tokens]
                array = (lib.llama_token * len(chunk))(*chunk)
                result = lib.llama_decode(self._context, lib.llama_batch_get_one(array, len(chunk)))
                if result == _ABORTED or cancelled():
                    code = "cancelled"
                    break
                if result != 0:
                    code = "decode.failed"
                    break
                yield PromptProgress(turn=turn, done_tokens=start + len(chunk), total_tokens=len(tokens))
        finally:
            lib.llama_set_abort_callback(self._context, _NO_ABORT, None)
            run.read_seconds = time.perf_counter() - started
        return code

    def _decode(
        self, order: Generate, sampler: lib.llama_sampler_p, run: _Run, cancelled: Callable[[], bool]
    ) -> Generator[Events, None, str]:
        context, vocabulary = self._context, self._vocabulary
        decode, sample, is_end = lib.llama_decode, lib.llama_sampler_sample, lib.llama_vocab_is_eog
        clock = time.perf_counter
        room = min(order.max_tokens, self.context_tokens - run.prompt_tokens)
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        array = (lib.llama_token * 1)()
        batch = lib.llama_batch_get_one(array, 1)
        waiting = bytearray()
        waiting_tokens = 0
        started = sent = clock()
        code = "length"
        for count in range(room):
            token = sample(sampler, context, -1)
            if is_end(vocabulary, token):
                code = "end"
                break
            waiting += self._piece(token)
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
            array[0] = token
            if decode(context, batch) != 0:
                code = "decode.failed"
                break
        run.decode_seconds = clock() - started
        text = decoder.decode(bytes(waiting), final=True)
        if text:
            yield AnswerPiece(turn=order.turn, text=text, tokens=waiting_tokens)
        return code

    def _tokenize(self, text: str, *, special: bool) -> list[int]:
        untrusted_bytes = text.encode("utf-8", "replace")
        room = len(untrusted_bytes) + 8
        tokens = (lib.llama_token * room)()
        count = lib.llama_tokenize(
            self._vocabulary, untrusted_bytes, len(untrusted_bytes), tokens, room, False, special
        )
        return list(tokens[: max(count, 0)])

    def _piece(self, token: int) -> bytes:
        piece = self._pieces.get(token)
        if piece is None:
            piece = self._pieces[token] = self._token_bytes(token, special=False)
        return piece

    def _token_bytes(self, token: int, *, special: bool) -> bytes:
        buffer = ctypes.create_string_buffer(512)
        count = lib.llama_token_to_piece(self._vocabulary, token, buffer, len(buffer), 0, special)
        return buffer.raw[:count] if count > 0 else b""

    def _token_text(self, token: int) -> str:
        return self._token_bytes(token, special=True).decode("utf-8", "replace") if token >= 0 else ""


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
