"""One loaded model: read a prompt, decode an answer, stop at once when asked."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable, Generator, Iterator

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
from govdesk.worker.decoding import ABORTED, Run, Watch, decode
from govdesk.worker.sampling import PENALTY_LAST_TOKENS, sampler
from govdesk.worker.template import ChatTemplate, TemplateFailedError
from govdesk.worker.tokens import Cancelled, Full, TokenizeFailedError, Vocabulary

_ERROR_SILENT = lib.llama_log_callback(lambda _level, _text, _data: None)

Events = PromptProgress | AnswerPiece | AnswerDone | AnswerFailed


class LoadFailedError(Exception):
    """The library refused; `code` crosses to the trusted side."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Engine:
    """A model and a context over it, from descriptors that nobody can change any more.

    Args:
        descriptors: sealed memfds, or files that a rule allows, holding the GGUF or its parts in order.
        order: context size, threads, batch.

    Raises:
        LoadFailedError: `model.refused`, `model.no-context`, or a template's code.
    """

    def __init__(self, descriptors: tuple[int, ...], order: LoadModel) -> None:
        lib.llama_log_set(_ERROR_SILENT, ctypes.c_void_p(0))
        lib.llama_backend_init()
        parameters = lib.llama_model_default_params()
        parameters.n_gpu_layers = 0
        paths = [f"/proc/self/fd/{descriptor}".encode() for descriptor in descriptors]
        array = (ctypes.c_char_p * len(paths))(*paths)
        self._model = lib.llama_model_load_from_splits(array, len(paths), parameters)
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
        if order.kv == "q8_0":
            settings.type_k = settings.type_v = lib.GGML_TYPE_Q8_0
            settings.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED  # values in blocks need it
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
                yield _done(order.turn, "cancelled", Run())
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
        run = Run(prompt_tokens=len(tokens))
        lib.llama_memory_clear(lib.llama_get_memory(self._context), False)
        chosen_by = sampler(order, self._vocabulary.size)
        watch = Watch(self._context, cancelled)
        watch.switch(True)
        try:
            for token in tokens[-PENALTY_LAST_TOKENS:]:
                lib.llama_sampler_accept(chosen_by, token)
            code = yield from self._read(order.turn, tokens, run, cancelled)
            if code == "ok":
                code = yield from decode(
                    self._context,
                    self._vocabulary,
                    chosen_by,
                    watch,
                    cancelled,
                    run,
                    turn=order.turn,
                    room=min(order.max_tokens, self.context_tokens - run.prompt_tokens),
                )
        finally:
            watch.switch(False)
            lib.llama_sampler_free(chosen_by)
        if code in {"end", "length", "cancelled"}:
            yield _done(order.turn, code, run)
        else:
            yield AnswerFailed(turn=order.turn, code=code, context_tokens=self.context_tokens)

    def _read(
        self, turn: str, tokens: tuple[int, ...], run: Run, cancelled: Callable[[], bool]
    ) -> Generator[Events, None, str]:
        yield PromptProgress(turn=turn, done_tokens=0, total_tokens=len(tokens))
        for start in range(0, len(tokens), self._batch_tokens):
            chunk = tokens[start : start + self._batch_tokens]
            array = (lib.llama_token * len(chunk))(*chunk)
            result = lib.llama_decode(self._context, lib.llama_batch_get_one(array, len(chunk)))
            if result == ABORTED or cancelled():
                return "cancelled"
            if result != 0:
                return "decode.failed"
            run.read_tokens = start + len(chunk)
            yield PromptProgress(turn=turn, done_tokens=run.read_tokens, total_tokens=len(tokens))
        return "ok"


def _done(turn: str, reason: str, run: Run) -> AnswerDone:
    return AnswerDone(
        turn=turn,
        reason=reason,
        prompt_tokens=run.prompt_tokens,
        read_tokens=run.read_tokens,
        answer_tokens=run.answer_tokens,
    )
