"""How a worker comes to hold a model: found, opened, its walls proved, on a graphics card or the processor.

A card is tried in a worker of its own first, and left with a record of why when it fails.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from govdesk.domain.frames import (
    Devices,
    FromWorker,
    GpuBackend,
    ListDevices,
    Loaded,
    LoadFailed,
    LoadModel,
    Probe,
    SetThreads,
    WorkerEnded,
    WorkerHello,
)
from govdesk.domain.ids import ModelDigest, RecordSeq
from govdesk.domain.record import Entry
from govdesk.domain.turn import ModelInfo
from govdesk.errors import GovDeskError, ModelError, WallError, WorkerError
from govdesk.inference import computing, failures, patience, records, store, words
from govdesk.inference.draft import Draft, Drafts, with_draft
from govdesk.inference.gguf import GgufFacts
from govdesk.inference.graphics import Graphics
from govdesk.inference.manifest import Manifest
from govdesk.inference.store import Model
from govdesk.inference.worker_line import LoadedModel, WorkerLine
from govdesk.inference.worker_ports import Broker

_EXIT_WALLS = 5
"""How a worker ends whose walls cannot be had; it says nothing before they stand."""
_NOT_THE_CARDS = frozenset({"worker.memory", "worker.template"})
"""Ends that say nothing about a card: its own memory ran out, or the model's template did not end."""


class WorkerStart:
    """Starts workers, one after the other. One thread starts; any may stop.

    Args:
        broker: starts and stops workers.
        find_model: the approved model; raises ModelError.
        record: makes an audit record durable before the action.
        require_closed: raises WallError when a probe found an open channel, or one was not tried.
        plan: how a model is to be loaded on this machine now.
        tuned: what was measured to suit a model on this machine, if it was.
        graphics: whether it may compute on a graphics card.
        find_draft: the approved model that drafts for another; see `Drafts`.
    """

    def __init__(
        self,
        broker: Broker,
        find_model: Callable[[], Model],
        record: Callable[[Entry], RecordSeq],
        require_closed: Callable[[tuple[Probe, ...]], None],
        plan: Callable[[Manifest, GgufFacts], LoadModel],
        tuned: Callable[[ModelDigest], SetThreads | None],
        graphics: Graphics,
        find_draft: Callable[[Model], Model | None],
    ) -> None:
        self._broker = broker
        self._find_model = find_model
        self._record = record
        self._require_closed = require_closed
        self._plan = plan
        self._tuned = tuned
        self._graphics = graphics
        self._drafts = Drafts(find_draft, record)
        self.line: WorkerLine | None = None
        """To the worker that was started last."""
        self.probes: tuple[Probe, ...] = ()
        """What the self-test of the worker that was started last found."""
        self._card_failed = False
        """A worker failed while it answered on a card: this session uses no card any more."""

    def start(self) -> LoadedModel:
        """Start a worker and let it load the model.

        Raises:
            GovDeskError: it failed; nothing that is half started stays.
        """
        model = self._find_model()
        try:
            opened = store.open_verified(model)
        except ModelError as error:
            self._record(records.load(model, "failure", {"code": error.code}))
            raise
        draft: Draft | None = None
        try:
            order = self._plan(model.manifest, opened.facts)
            self._record(records.load(model, "success", records.loaded_as(model, order)))
            draft = self._drafts.open(model, opened.facts, order)
            gpu: GpuBackend = "" if self._card_failed else self._graphics.choose(self._probe)
            done = self._load_on_graphics(model, opened, order, gpu, draft) if gpu else None
            if done is None:
                if why := self._graphics.why_not():
                    self._record(records.load(model, "success", {"backend": "processor", **why}))
                line = self._new_line()
                done = line, self._load(line, model, opened, order, draft)
            line, loaded = done
            line.ready(loaded, partial(self._failed_on, line.gpu))
            threads = None if loaded.order.devices else self._tuned(loaded.info.digest)
            if threads is not None:  # measured on the processor, for the processor
                line.send(threads)
        except BaseException:
            self.stop()
            raise
        finally:
            store.close_all(opened.descriptors)
            if draft is not None:
                store.close_all(draft.opened.descriptors)
        return loaded

    def stop(self) -> None:
        """Stop the worker that was started last; from any thread."""
        if (line := self.line) is not None:
            line.stop()

    def _new_line(self, gpu: GpuBackend = "") -> WorkerLine:
        """A worker whose walls hold."""
        self.line = line = WorkerLine(self._broker, self._record, gpu)
        self._prove_walls(line)
        return line

    def _load(
        self, line: WorkerLine, model: Model, opened: store.Opened, order: LoadModel, draft: Draft | None
    ) -> LoadedModel:
        """Have a worker load the model, and the one that drafts for it."""
        beside = () if draft is None else draft.opened.descriptors
        line.send(with_draft(order, draft), (*opened.descriptors, *beside))
        both = opened.facts.file_bytes + (0 if draft is None else draft.opened.facts.file_bytes)
        answer = line.next(patience.load_seconds(both))
        info = _loaded(line, model, answer, order.context_tokens)
        if isinstance(answer, Loaded) and not self._drafts.loaded(draft, model, answer.draft):
            raise line.broken("said of a draft model what cannot be", "worker.garbage")
        # as it was loaded: what is kept of a prompt is bound to where it was computed
        template = model.manifest.template_sha384
        return LoadedModel(info, order, template, opened.facts, computing.of(answer))

    def _load_on_graphics(
        self, model: Model, opened: store.Opened, order: LoadModel, gpu: GpuBackend, draft: Draft | None
    ) -> tuple[WorkerLine, LoadedModel] | None:
        """Load it on a graphics card; None when that failed, which is recorded and explained."""
        try:
            line, devices = self._devices(gpu, compute=False)
            placed = self._graphics.place(gpu, devices, opened.facts, order)
            code = self._graphics.code(gpu)
            if placed.devices:
                layers = {device: placed.device_layers[at] for at, device in enumerate(placed.devices)}
                self._record(records.load(model, "success", {**self._graphics.opened(gpu), "layers": layers}))
                return line, self._load(line, model, opened, placed, draft)
        except (WorkerError, ModelError) as error:
            if error.code == words.stopped().code:
                raise
            code = error.code
            self._graphics.failed(gpu, code)
        self.stop()
        self._record(records.load(model, "failure", {"backend": gpu, "code": code}))
        return None

    def _failed_on(self, gpu: GpuBackend, error: WorkerError) -> None:
        """A worker failed with a model loaded. Where that was on a card, the next one uses the processor.

        Whether the card is tried again in another session is for `graphics` to judge.
        """
        if gpu and error.code not in _NOT_THE_CARDS:
            self._card_failed = True
            self._graphics.failed(gpu, error.code)
            failures.on_card(error)

    def _probe(self, gpu: GpuBackend) -> Devices:
        """Try a graphics backend in a worker of its own: what hangs or crashes there costs only that."""
        try:
            return self._devices(gpu, compute=True)[1]
        except WorkerError as error:
            if error.code == words.stopped().code:
                raise
            return Devices(devices=(), code=error.code)
        finally:
            self.stop()

    def _devices(self, gpu: GpuBackend, *, compute: bool) -> tuple[WorkerLine, Devices]:
        """Start a worker that may use this backend, and ask it what is there."""
        line = self._new_line(gpu)
        line.send(ListDevices(compute=compute))
        found = line.next(patience.PROBE_SECONDS)
        if not isinstance(found, Devices):
            raise line.broken("answered a question for devices otherwise", "worker.garbage")
        return line, found

    def _prove_walls(self, line: WorkerLine) -> None:
        """The worker's first frame: every wall was tried, and holds. Recorded either way."""
        hello = line.next(patience.START_SECONDS, partial(self._ended_before_hello, line))
        if not isinstance(hello, WorkerHello):
            raise line.broken("did not introduce itself", "worker.garbage")
        if not records.plain(hello.probes):
            raise line.broken("reported a self-test that is none", "worker.garbage")
        try:
            self._require_closed(hello.probes)
        except WallError as error:
            self._record(records.self_test("failure", hello.probes, error.code))
            raise
        self.probes = hello.probes
        self._record(records.self_test("success", hello.probes, None))

    def _ended_before_hello(self, line: WorkerLine, end: WorkerEnded | None) -> GovDeskError:
        """A worker that cannot have its walls ends before it says anything."""
        if end is None or end.exit_code != _EXIT_WALLS:
            return line.failed(end)
        error = words.walls_missing()
        self._record(records.self_test("failure", (), error.code))
        return error


def _loaded(line: WorkerLine, model: Model, answer: FromWorker, context: int) -> ModelInfo:
    match answer:
        case Loaded(context_tokens=tokens) if tokens <= context:
            if answer.template_sha384 != model.manifest.template_sha384:
                raise line.broken("found another chat template than the manifest names", "model.template")
            return ModelInfo(model.manifest.title, model.info.digest, tokens)
        case LoadFailed():
            raise words.load_failed(answer.code, model.path.name)
        case _:
            raise line.broken("answered the loading of a model with something else", "worker.garbage")
