"""One loaded model: read what is new of a prompt, decode an answer, stop at once when asked."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from llama_cpp import llama_cpp as lib

from govdesk.domain.frames import (
    MAX_TOKENS,
    AnswerDone,
    AnswerFailed,
    AnswerPiece,
    ChatMessage,
    Counted,
    CountTokens,
    Generate,
    Loaded,
    LoadModel,
    PromptProgress,
    ReadAhead,
    ReadDone,
    SetThreads,
    Tune,
    Tuned,
)
from govdesk.worker import backends, computing, devices, limits
from govdesk.worker.aside import Sequence
from govdesk.worker.decoding import Run, Watch, decode
from govdesk.worker.draft_model import DraftModel, DraftModelError
from govdesk.worker.drafters import ByLookup, ByModel, Drafter
from govdesk.worker.pace import Pace
from govdesk.worker.reading import Reader
from govdesk.worker.sampling import GrammarRefusedError, sampler
from govdesk.worker.sequences import Sequences
from govdesk.worker.states import States
from govdesk.worker.steps import DraftedSteps, Steps, Trials
from govdesk.worker.template import ChatTemplate, Part, TemplateFailedError
from govdesk.worker.thinking import detect
from govdesk.worker.tokens import Cancelled, Full, TokenizeFailedError, Vocabulary
from govdesk.worker.tuning import measure

AHEAD_BATCH_TOKENS = 128
"""Reading ahead looks for other orders between so many tokens, as well as inside."""
HELD_BACK_TOKENS = 4
"""The end of a text that grows: a word that goes on is cut into other tokens."""
_LOAD_MODES = {"mapped": lib.LLAMA_LOAD_MODE_MMAP, "own": lib.LLAMA_LOAD_MODE_NONE}
Events = PromptProgress | AnswerPiece | AnswerDone | AnswerFailed


class LoadFailedError(Exception):
    """The library refused; `code` crosses to the trusted side."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True, slots=True)
class Prompt:
    """A history as the model reads it. `certain`: so many first tokens stay when its last text grows."""

    tokens: tuple[int, ...]
    certain: int


class Engine:
    """A model and a context over it, from descriptors that nobody can change any more.

    Args:
        descriptors: sealed memfds, or files that a rule allows, holding the GGUF or its parts in order.
        order: context size, threads, batch.

    Raises:
        LoadFailedError: `backend.no-cpu`, `gpu.no-device`, `model.refused`, `model.no-context`, or the code
            of a template.
    """

    def __init__(self, descriptors: tuple[int, ...], order: LoadModel) -> None:
        computing.silence()
        try:
            self.processor = backends.load_cpu()
        except backends.BackendError as error:
            raise LoadFailedError(error.code) from error
        lib.llama_backend_init()
        parameters = lib.llama_model_default_params()
        parameters.load_mode = _LOAD_MODES[order.weights]
        held = _place(parameters, order)  # the library reads them while it loads
        own = len(descriptors) - order.draft_files
        if not 0 < own <= len(descriptors):
            raise LoadFailedError("model.refused")
        self._model = _load(descriptors[:own], parameters)
        del held
        if not self._model:
            raise LoadFailedError("model.refused")
        self.context_tokens = min(order.context_tokens, int(lib.llama_model_n_ctx_train(self._model)))
        self._vocabulary = Vocabulary(self._model, self.context_tokens)
        settings = lib.llama_context_default_params()
        settings.n_ctx = self.context_tokens
        settings.n_batch = order.batch_tokens
        settings.n_ubatch = min(order.micro_batch_tokens, order.batch_tokens)
        settings.n_seq_max = 1
        batch_threads = order.batch_threads or order.threads
        settings.n_threads, settings.n_threads_batch = order.threads, batch_threads
        settings.no_perf = True
        settings.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_AUTO  # where the layers' devices can do it
        if order.kv == "q8_0":
            settings.type_k = settings.type_v = lib.GGML_TYPE_Q8_0
            settings.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_ENABLED  # values in blocks need it
        with computing.hearing() as heard:
            self._context = lib.llama_init_from_model(self._model, settings)
        self._flash_attention = heard.flash_attention
        if not self._context:
            raise LoadFailedError("model.no-context")
        self._draft, self.draft_code = self._load_draft(descriptors[own:], order)
        self.pace = Pace(self._set_threads, order.threads, batch_threads)
        batch_tokens = min(order.batch_tokens, order.micro_batch_tokens)
        self._sequences = Sequences(self._context, self._model, order.aside_bytes, batch_tokens)
        self._reader = Reader(self._sequences, batch_tokens, on_devices=bool(order.devices))
        self.states = States(self._sequences, self._vocabulary.size, self.context_tokens)
        self._trials = Trials()
        self._most_threads = max(order.threads, batch_threads)
        source = order.template.encode() or lib.llama_model_chat_template(self._model, None)
        if not source:
            raise LoadFailedError("template.missing")
        self.template_sha384 = hashlib.sha384(source).hexdigest()
        # the library has what it needs; the template, and what is set aside, get the rest
        limits.bound_memory(self._most_threads, order.aside_bytes)
        try:
            self._template = ChatTemplate(
                source.decode("utf-8", "replace"), self._vocabulary.bos, self._vocabulary.eos
            )
            self._opening = self._template.opening()
        except TemplateFailedError as error:
            raise LoadFailedError(error.code) from error
        self._vocabulary.keep_for_template(self._template.source)

    def loaded(self) -> Loaded:
        """What was loaded, as the frame that says so."""
        return Loaded(
            context_tokens=self.context_tokens,
            template_sha384=self.template_sha384,
            processor=self.processor,
            features=computing.features(),
            flash_attention=self._flash_attention,
            draft=self.draft_code,
        )

    def _load_draft(self, descriptors: tuple[int, ...], order: LoadModel) -> tuple[DraftModel | None, str]:
        """The small model beside the large one, and what became of it: `used`, or why it is not."""
        if not descriptors:
            return None, ""
        parameters = lib.llama_model_default_params()
        parameters.load_mode = _LOAD_MODES[order.weights]
        parameters.n_gpu_layers = 0
        model = _load(descriptors, parameters)
        if not model:
            return None, "draft.refused"
        try:
            return DraftModel(model, order, self._vocabulary.handle), "used"
        except DraftModelError as error:
            lib.llama_model_free(model)
            return None, error.code

    def set_threads(self, order: SetThreads) -> None:
        """Compute with other numbers of threads, at most as many as memory was bounded for at the loading."""
        most = self._most_threads
        self.pace.allow(max(1, min(order.threads, most)), max(1, min(order.batch_threads, most)))

    def tune(self, order: Tune, stop: Callable[[], bool]) -> Tuned:
        """Measure what numbers of threads give here, until `stop()` says so."""
        most = self._most_threads
        try:
            return measure(order, self._sequences, Watch(self._context, stop), self._set_threads, most, stop)
        finally:
            self.pace.again()

    def answer(self, order: Generate, cancelled: Callable[[], bool]) -> Iterator[Events]:
        """Read the prompt and decode until the model ends, the limit is reached or `cancelled()` says so."""
        match self._prompt(order.messages, cancelled):
            case str(code):
                yield AnswerFailed(turn=order.turn, code=code)
            case Cancelled():
                yield _done(order.turn, "cancelled", Run())
            case Full(tokens=count, estimated=estimated):
                yield AnswerFailed(
                    turn=order.turn,
                    code="context.full",
                    prompt_tokens=min(count, MAX_TOKENS),
                    context_tokens=self.context_tokens,
                    estimated=estimated,
                )
            case Prompt(tokens=tokens):
                yield from self._run(order, tokens, cancelled)

    def read_ahead(self, order: ReadAhead, stop: Callable[[], bool]) -> Iterator[PromptProgress | ReadDone]:
        """Read what is certain of the next prompt until `stop()` says so; what was read stays read.

        Certain is what comes before the end of the last text, but for its last tokens: they may become
        others with the next letter. What the template puts after it moves; it is counted, not read.
        """
        prompt, reused, run, estimated = 0, 0, Run(), False
        match self._prompt(order.messages, stop):
            case str(code):
                pass
            case Cancelled():
                code = "cancelled"
            case Full(tokens=count, estimated=estimated):
                prompt, code = min(count, MAX_TOKENS), "context.full"
            case Prompt(tokens=whole, certain=certain):
                tokens = whole[:certain]
                sequence = self._sequences.begin(order.conversation, tokens)
                prompt, reused = len(whole), len(sequence.tokens)
                watch = Watch(self._context, stop)
                watch.switch(True)
                between = self._paced(stop, run, spare=1)
                try:
                    code = yield from self._reader.read(
                        order.turn, sequence, tokens, run, between, AHEAD_BATCH_TOKENS
                    )
                finally:
                    watch.switch(False)
        yield ReadDone(
            turn=order.turn,
            prompt_tokens=prompt,
            reused_tokens=reused,
            read_tokens=run.read_tokens,
            code="" if code == "ok" else code,
            estimated=estimated,
        )

    def count(self, order: CountTokens, cancelled: Callable[[], bool]) -> Counted:
        """Count a history as a prompt; nothing is computed with it."""
        match self._prompt(order.messages, cancelled):
            case str(code):
                return Counted(turn=order.turn, prompt_tokens=0, code=code)
            case Cancelled():
                return Counted(turn=order.turn, prompt_tokens=0, code="cancelled")
            case Full(tokens=count, estimated=estimated):
                return Counted(turn=order.turn, prompt_tokens=min(count, MAX_TOKENS), estimated=estimated)
            case Prompt(tokens=tokens):
                return Counted(turn=order.turn, prompt_tokens=len(tokens))

    def _prompt(
        self, untold: tuple[ChatMessage, ...], cancelled: Callable[[], bool]
    ) -> Prompt | Full | Cancelled | str:
        """A history as a prompt, or why there is none (a code): whatever fails while it is made is a code.

        Args:
            untold: the history.
            cancelled: asked between stretches of it.
        """
        try:
            parts = self._template.render(tuple((message.role, message.text) for message in untold))
            found = self._vocabulary.prompt(parts, cancelled)
            if isinstance(found, Full | Cancelled):
                return found
            return Prompt(found, self._certain(parts, found)) if found else "prompt.empty"
        except TemplateFailedError as error:
            return error.code
        except TokenizeFailedError:
            return "prompt.tokenize"

    def _certain(self, parts: tuple[Part, ...], tokens: tuple[int, ...]) -> int:
        """How many of a growing prompt's tokens will not change any more; at least one.

        Raises:
            TokenizeFailedError: the library refused what the template puts at the end.
        """
        last = max((at for at, part in enumerate(parts) if not part.special), default=-1)
        tail = sum(
            len(self._vocabulary.tokenize(part.text.encode("utf-8", "replace"), special=part.special))
            for part in parts[last + 1 :]
        )
        return max(1, len(tokens) - tail - HELD_BACK_TOKENS)

    def _run(
        self, order: Generate, tokens: tuple[int, ...], cancelled: Callable[[], bool]
    ) -> Iterator[Events]:
        run = Run(prompt_tokens=len(tokens))
        try:
            chosen_by = sampler(order, self._vocabulary)
        except GrammarRefusedError:
            yield AnswerFailed(turn=order.turn, code="grammar.invalid")
            return
        watch = Watch(self._context, cancelled)
        watch.switch(True)
        between = self._paced(cancelled, run)
        try:
            chosen_by.know(tokens)
            sequence = self._sequences.begin(order.conversation, tokens, exact=order.temperature <= 0.0)
            code = yield from self._reader.read(order.turn, sequence, tokens, run, between)
            if code == "ok":
                exact = order.repeats or order.temperature <= 0.0
                steps = self._steps(sequence, exact=exact, speculate=order.speculate)
                try:
                    code = yield from decode(
                        self._context,
                        steps,
                        self._vocabulary,
                        chosen_by,
                        watch,
                        between,
                        run,
                        turn=order.turn,
                        room=min(order.max_tokens, self.context_tokens - run.prompt_tokens),
                        thinking=detect(self._template.source, self._opening, self._vocabulary.token_of),
                    )
                finally:
                    steps.end()
        finally:
            watch.switch(False)
            chosen_by.free()
        if code in {"end", "length", "cancelled"}:
            yield _done(order.turn, code, run)
        else:
            yield AnswerFailed(turn=order.turn, code=code, context_tokens=self.context_tokens)

    def _steps(self, sequence: Sequence, *, exact: bool, speculate: bool) -> Steps:
        if not speculate or not self._sequences.can_cut(sequence):
            return Steps(self._sequences, sequence)
        return DraftedSteps(
            self._context,
            self._sequences,
            sequence,
            self._vocabulary.size,
            self.context_tokens,
            self._trials,
            lambda: self.pace.threads[0],
            self._drafters(sequence),
            exact=exact,
        )

    def _drafters(self, sequence: Sequence) -> tuple[Drafter, ...]:
        by_lookup = ByLookup(sequence.tokens)
        return (by_lookup,) if self._draft is None else (by_lookup, ByModel(self._draft, sequence.tokens))

    def _paced(self, stop: Callable[[], bool], run: Run, *, spare: int = 0) -> Callable[[], bool]:
        """Work begins; what is asked between its parts: shall it stop? It looks at the machine as well.

        Args:
            stop: says so.
            run: hears with how many threads.
            spare: see `Pace.begin`.
        """
        self.pace.begin(spare)

        def between() -> bool:
            self.pace.look()
            run.spare(self.pace.threads, self.pace.most)
            return stop()

        return between

    def _set_threads(self, decode_with: int, read_with: int) -> None:
        lib.llama_set_n_threads(self._context, decode_with, read_with)
        if self._draft is not None:
            self._draft.set_threads(decode_with, read_with)


def _load(descriptors: tuple[int, ...], parameters: lib.llama_model_params) -> lib.llama_model_p | None:
    """A model from its files, in order; None when the library refuses it."""
    paths = [f"/proc/self/fd/{descriptor}".encode() for descriptor in descriptors]
    array = (ctypes.c_char_p * len(paths))(*paths)
    return lib.llama_model_load_from_splits(array, len(paths), parameters) or None


def _place(parameters: lib.llama_model_params, order: LoadModel) -> tuple[object, ...]:
    """Say where the layers go: to the devices of the order, or all to the processor.

    Returns:
        What the parameters point to.
    """
    chosen = devices.handles(order.devices)
    if chosen is None or len(order.devices) != len(order.device_layers):
        raise LoadFailedError("gpu.no-device")
    listed = (ctypes.c_void_p * (len(chosen) + 1))(*chosen, None)
    split = (ctypes.c_float * max(lib.llama_max_devices(), len(chosen)))(*order.device_layers)
    parameters.n_gpu_layers = sum(order.device_layers)
    parameters.devices = ctypes.cast(listed, ctypes.c_void_p)  # ended at once: the processor alone
    parameters.tensor_split = split if chosen else None
    return listed, split


def _done(turn: str, reason: str, run: Run) -> AnswerDone:
    return AnswerDone(
        turn=turn,
        reason=reason,
        prompt_tokens=run.prompt_tokens,
        read_tokens=run.read_tokens,
        answer_tokens=run.answer_tokens,
        threads=run.threads,
        most_threads=run.most_threads,
    )
