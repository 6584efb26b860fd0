"""A graphics card is used when policy, machine and a try say so; else the processor is, and it is said why."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from govdesk.domain.frames import (
    WORKER_OUT_OF_MEMORY,
    AnswerPiece,
    Cancel,
    Device,
    DeviceKind,
    Devices,
    GpuBackend,
    Loaded,
    LoadFailed,
    LoadModel,
    Probe,
    WorkerEnded,
)
from govdesk.domain.ids import TurnId
from govdesk.domain.inference import Piece, Stopped
from govdesk.domain.policy import GpuRule
from govdesk.domain.record import Event
from govdesk.domain.turn import Reading
from govdesk.errors import WallError, WorkerError
from govdesk.inference import failures, graphics_look, graphics_words, patience, words
from govdesk.inference.graphics import MAX_KEPT_BYTES, Graphics
from govdesk.inference.graphics_look import Look, look
from govdesk.inference.supervisor import Supervisor
from govdesk.sandbox.graphics import Opening
from tests.unit.inference.test_inference_supervisor import HISTORY, LIMIT, Line, _require_closed
from tests.unit.inference.workers import PROBES, TEMPLATE, Worker, done, good

GIB = 1024**3
NODE = Path("/dev/dri/renderD128")
CARD = Device(
    name="Vulkan0", title="A card", kind=DeviceKind.GPU, backend="Vulkan", memory_bytes=GIB, free_bytes=GIB
)
OPENING = Opening((NODE,), (Path("/usr/share/vulkan/icd.d"),), (ord("d"),))
READY = Look("vulkan", True, (NODE,), (NODE,), (Path("/usr/lib/libvulkan.so.1"),), "stamp 1", OPENING)


def looking(vulkan: Look = READY) -> Callable[[GpuBackend], Look]:
    def look_at(backend: GpuBackend) -> Look:
        return vulkan if backend == "vulkan" else Look("cuda", False, (), (), (), "none")

    return look_at


def never(backend: GpuBackend) -> Devices:
    raise AssertionError(f"{backend} was tried")


def works(_backend: GpuBackend) -> Devices:
    return Devices(devices=(CARD,))


def ids(graphics: Graphics) -> list[tuple[str, bool]]:
    return [(finding.id, finding.ok) for finding in graphics_words.findings(graphics)]


# ── the decision ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("rule", [GpuRule.OFF, GpuRule.CUDA])
def test_what_policy_does_not_allow_is_not_even_tried(rule: GpuRule) -> None:
    assert Graphics(rule, None, looking()).choose(never) == ""


@pytest.mark.parametrize("rule", [GpuRule.AUTO, GpuRule.VULKAN])
def test_what_works_is_used(rule: GpuRule) -> None:
    assert Graphics(rule, None, looking()).choose(works) == "vulkan"


LACKING = {
    "gpu.backend": (replace(READY, installed=False), ["gpu.policy", "gpu.backend"]),
    "gpu.device": (
        replace(READY, nodes=(), usable=()),
        ["gpu.policy", "gpu.backend", "gpu.device"],
    ),
    "gpu.permission": (replace(READY, usable=()), ["gpu.policy", "gpu.backend", "gpu.device"]),
    "gpu.driver": (
        replace(READY, driver=()),
        ["gpu.policy", "gpu.backend", "gpu.device", "gpu.driver"],
    ),
}


@pytest.mark.parametrize("code", LACKING)
def test_what_is_missing_is_not_tried_and_is_explained(code: str) -> None:
    seen, told = LACKING[code]
    graphics = Graphics(GpuRule.AUTO, None, looking(seen))
    assert graphics.choose(never) == ""
    assert graphics.code("vulkan") == code
    assert [name for name, _ in ids(graphics)] == told
    *fine, last = graphics_words.findings(graphics)
    assert all(finding.ok for finding in fine)
    assert not last.ok
    assert last.advice
    assert graphics_words.runs_on(graphics) == "the processor: no graphics card that can be used"
    assert graphics_words.runs_on(graphics, 1).startswith("the processor with 1 thread: no graphics card")
    assert graphics_words.runs_on(graphics, 4).startswith("the processor with 4 threads: ")
    if code == "gpu.permission":
        assert "no permission" in last.found
        assert str(NODE) in last.found


def test_policy_off_says_so() -> None:
    graphics = Graphics(GpuRule.OFF, None, looking())
    graphics.choose(never)
    assert ids(graphics) == [("gpu.policy", False)]
    assert graphics_words.runs_on(graphics) == "the processor: policy allows no graphics card"


ENDS = {
    "worker.crashed": Devices(devices=(), code="worker.crashed"),
    "worker.hung": Devices(devices=(), code="worker.hung"),
    "backend.refused": Devices(devices=(), code="backend.refused"),
    "gpu.probe": Devices(devices=()),
}


@pytest.mark.parametrize("code", [*ENDS, "words of its own"])
def test_a_try_that_fails_is_explained_in_our_words_and_kept(tmp_path: Path, code: str) -> None:
    kept = tmp_path / "graphics.json"
    ended = ENDS.get(code) or Devices(devices=(), code="\x1b[2Jlook here")
    graphics = Graphics(GpuRule.AUTO, kept, looking())
    assert graphics.choose(lambda _: ended) == ""
    assert graphics.code("vulkan") == (code if code in ENDS else "gpu.probe")
    assert ids(graphics)[-1] == ("gpu.probe", False)
    assert "\x1b" not in "".join(finding.found for finding in graphics_words.findings(graphics))
    assert Graphics(GpuRule.AUTO, kept, looking()).choose(never) == "", "the same driver is not tried again"
    newer = looking(replace(READY, stamp="stamp 2"))
    assert Graphics(GpuRule.AUTO, kept, newer).choose(works) == "vulkan", "another driver is"


@pytest.mark.parametrize("code", ["worker.killed", "worker.memory", "backend.missing"])
def test_a_try_that_fails_for_want_of_memory_is_made_again(tmp_path: Path, code: str) -> None:
    kept = tmp_path / "graphics.json"
    graphics = Graphics(GpuRule.AUTO, kept, looking())
    assert graphics.choose(lambda _: Devices(devices=(), code=code)) == ""
    assert graphics.code("vulkan") == code
    last = graphics_words.findings(graphics)[-1]
    assert not last.ok
    assert "the card is tried again" in last.advice
    assert graphics.choose(works) == "vulkan"


KEPT_CODES = {"worker.crashed", "worker.hung", "worker.garbage", "worker.instruction", "worker.walls"}


def failure_codes() -> set[str]:
    """Every code that a worker with a model can end with, from where they are made."""
    ends = [WorkerEnded(exit_code=code, signal=0) for code in range(8)]
    ends += [WorkerEnded(exit_code=0, signal=number) for number in range(1, 65)]
    codes = {failures.ended(end).code for end in (None, *ends)}
    said = [*words._TEMPLATE, "model.no-context", "model.refused", "gpu.no-device", "backend.no-cpu"]
    codes |= {words.load_failed(code, "m.gguf").code for code in said}
    return codes | {"worker.hung", "worker.garbage", "model.template", words.stopped().code}


def test_every_end_is_explained_and_only_the_drivers_own_are_kept(tmp_path: Path) -> None:
    codes = failure_codes()
    assert {"worker.memory", "worker.killed", "template.failed", "model.refused"} | KEPT_CODES <= codes
    for code in sorted(codes | {"a code of the future"}):
        kept = tmp_path / f"{code}.json"
        graphics = Graphics(GpuRule.AUTO, kept, looking())
        assert graphics.choose(works) == "vulkan"
        graphics.failed("vulkan", code)
        *fine, last = graphics_words.findings(graphics)
        assert all(finding.ok for finding in fine), code
        assert not last.ok, code
        assert last.advice
        expected = "gpu.probe" if code in KEPT_CODES | {"worker.killed", "worker.memory"} else "gpu.load"
        assert last.id == ("gpu.memory" if code == "model.no-context" else expected), code
        assert graphics_words.runs_on(graphics).startswith("the processor: "), code
        again = Graphics(GpuRule.AUTO, kept, looking()).choose(never)
        assert again == ("" if code in KEPT_CODES else "vulkan"), code
        assert graphics.choose(never) == again, code


@pytest.mark.parametrize("code", ["model.refused", "template.syntax", "worker.memory", "model.no-context"])
def test_a_verdict_that_should_not_have_been_kept_is_none(tmp_path: Path, code: str) -> None:
    """As an earlier version wrote it: for the fault of one model no card stays off."""
    kept = tmp_path / "graphics.json"
    verdict = {"stamp": READY.stamp, "code": code}
    kept.write_bytes(msgspec.json.encode({"schema": 1, "verdicts": {"vulkan": verdict}}))
    assert Graphics(GpuRule.AUTO, kept, looking()).choose(works) == "vulkan"


def test_a_good_verdict_is_kept_too(tmp_path: Path) -> None:
    kept = tmp_path / "graphics.json"
    assert Graphics(GpuRule.AUTO, kept, looking()).choose(works) == "vulkan"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert Graphics(GpuRule.AUTO, kept, looking()).choose(never) == "vulkan"
    assert Graphics(GpuRule.OFF, kept, looking()).choose(never) == "", "and is no more than a verdict"
    gone = looking(replace(READY, nodes=(), usable=()))
    assert Graphics(GpuRule.AUTO, kept, gone).choose(never) == ""


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"schema":2,"verdicts":{}}', b'{"schema":1,"verdicts":{},"x":1}', b"\xff" * 99999],
)
def test_a_damaged_verdict_is_none(tmp_path: Path, content: bytes) -> None:
    kept = tmp_path / "graphics.json"
    kept.write_bytes(content)
    tried: list[str] = []

    def probe(backend: GpuBackend) -> Devices:
        tried.append(backend)
        return works(backend)

    assert Graphics(GpuRule.AUTO, kept, looking()).choose(probe) == "vulkan"
    assert tried == ["vulkan"]
    assert len(kept.read_bytes()) < MAX_KEPT_BYTES


def test_a_disk_that_takes_nothing_costs_only_another_try(tmp_path: Path) -> None:
    kept = tmp_path / "no such folder" / "graphics.json"
    assert Graphics(GpuRule.AUTO, kept, looking()).choose(works) == "vulkan"


# ── the machine, in made-up trees ────────────────────────────────────────────


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "dev/dri/renderD128", "dev/dri/card0", "dev/nvidia0", "dev/nvidiactl", "lib/libggml-vulkan.so",
        "lib/libggml-cuda.so", "usr/lib/x86_64-linux-gnu/libvulkan.so.1", "usr/lib64/libcuda.so.1",
        "usr/share/vulkan/icd.d/driver.json",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def seen(tree: Path, backend: GpuBackend = "vulkan", **options: object) -> Look:
    return look(backend, tree, tree / "lib", **options)  # type: ignore[arg-type]


def test_a_whole_machine_lacks_nothing(tree: Path) -> None:
    for backend in ("vulkan", "cuda"):
        found = seen(tree, backend)  # type: ignore[arg-type]
        assert found.installed
        assert found.nodes == found.usable != ()
        assert found.driver
    assert tree / "dev/dri/card0" not in seen(tree).nodes


@pytest.mark.parametrize(
    ("backend", "removed", "code"),
    [
        ("vulkan", "lib/libggml-vulkan.so", "gpu.backend"),
        ("cuda", "lib/libggml-cuda.so", "gpu.backend"),
        ("vulkan", "usr/lib/x86_64-linux-gnu/libvulkan.so.1", "gpu.driver"),
        ("vulkan", "usr/share/vulkan/icd.d/driver.json", "gpu.driver"),
        ("cuda", "usr/lib64/libcuda.so.1", "gpu.driver"),
    ],
)
def test_each_missing_part_is_named(tree: Path, backend: GpuBackend, removed: str, code: str) -> None:
    (tree / removed).unlink()
    graphics = Graphics(GpuRule(backend), None, lambda name: seen(tree, name))
    assert graphics.choose(never) == ""
    assert graphics.code(backend) == code


def test_no_device_and_no_permission_are_told_apart(tree: Path) -> None:
    graphics = Graphics(GpuRule.VULKAN, None, lambda name: seen(tree, name, may_use=lambda _: False))
    graphics.choose(never)
    assert graphics.code("vulkan") == "gpu.permission"
    for name in ("dev/dri/renderD128", "dev/nvidia0", "dev/nvidiactl"):
        (tree / name).unlink()
    graphics = Graphics(GpuRule.VULKAN, None, lambda name: seen(tree, name))
    graphics.choose(never)
    assert graphics.code("vulkan") == "gpu.device"


def test_the_stamp_changes_with_the_driver_the_machines_start_and_the_devices(tree: Path) -> None:
    first = seen(tree).stamp
    assert seen(tree).stamp == first
    (tree / "usr/share/vulkan/icd.d/driver.json").write_text("newer")
    second = seen(tree).stamp
    (tree / "proc/sys/kernel/random").mkdir(parents=True)
    (tree / "proc/sys/kernel/random/boot_id").write_text("another start")
    third = seen(tree).stamp
    (tree / "dev/dri/renderD129").touch()
    assert len({first, second, third, seen(tree).stamp}) == 4


@pytest.mark.parametrize("backend", ["vulkan", "cuda"])
def test_a_corrected_package_is_tried_again(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, backend: GpuBackend
) -> None:
    kept, tried = tmp_path / "graphics.json", []

    def crashes(name: GpuBackend) -> Devices:
        tried.append(name)
        return Devices(devices=(), code="worker.crashed")

    def choose() -> None:
        assert Graphics(GpuRule(backend), kept, lambda name: seen(tree, name)).choose(crashes) == ""

    for change in (
        lambda: None,
        lambda: (tree / f"lib/libggml-{backend}.so").write_text("corrected"),
        lambda: (tree / "lib/libggml-base.so").write_text("what it stands on"),
        lambda: monkeypatch.setattr(graphics_look, "__version__", "99.0"),
    ):
        change()
        tried.clear()
        choose()
        choose()
        assert tried == [backend], "once after each change"


# ── the supervisor, with scripted workers ────────────────────────────────────


def devices(*found: Device, code: str = "") -> Callable[[Worker], None]:
    """A worker that tells its devices and then loads and answers like any."""

    def script(worker: Worker) -> None:
        worker.hello()
        assert worker.channel.receive(10) is not None
        worker.send(Devices(devices=found, code=code))
        received = worker.channel.receive(10)
        if received is not None and isinstance(received[0], LoadModel):
            orders.append(received[0])
            worker.send(Loaded(context_tokens=64, template_sha384=TEMPLATE))
            worker.until_closed()

    return script


orders: list[LoadModel] = []


def dies(worker: Worker) -> None:
    worker.hello()
    worker.channel.receive(10)


def dies_while_loading(worker: Worker) -> None:
    worker.hello()
    worker.channel.receive(10)
    worker.send(Devices(devices=(CARD,)))
    worker.channel.receive(10)


def talks_nonsense(worker: Worker) -> None:
    worker.hello()
    worker.channel.receive(10)
    worker.send(Loaded(context_tokens=64, template_sha384=TEMPLATE))
    worker.until_closed()


def hangs(worker: Worker) -> None:
    worker.hello()
    worker.until_closed()


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(patience, "PROBE_SECONDS", 0.5)
    orders.clear()

    def make(*scripts: Callable[[Worker], None], vulkan: Look = READY) -> Line:
        made = Line(tmp_path, *scripts)
        graphics = Graphics(GpuRule.AUTO, tmp_path / "graphics.json", looking(vulkan))
        made.supervisor = Supervisor(
            made.broker, made.find_model, made.record, _require_closed, graphics=graphics
        )
        return made

    return make


def loads(made: Line) -> list[tuple[str, dict[str, object]]]:
    return [(entry.outcome, dict(entry.fields)) for entry in made.records if entry.event is Event.MODEL_LOAD]


def test_a_card_is_tried_apart_then_used_and_recorded(line) -> None:
    made = line(devices(CARD), devices(CARD))
    made.supervisor.model()
    assert made.broker.gpus == ["vulkan", "vulkan"]
    assert made.broker.started == 2, "the try has a worker of its own"
    assert orders[-1].devices == ("Vulkan0",)
    assert sum(orders[-1].device_layers) > 1
    assert made.supervisor.loaded is not None
    assert made.supervisor.loaded[0].devices == ("Vulkan0",), "kept state is bound to the placement"
    outcome, fields = loads(made)[-1]
    assert outcome == "success"
    assert fields["layers"] == {"Vulkan0": orders[-1].device_layers[0]}
    assert fields["backend"] == "vulkan"
    assert fields["nodes"] == {str(NODE): 1}
    assert fields["files"] == {"/usr/share/vulkan/icd.d": 1}
    assert fields["ioctl_types"] == {"100": 1}
    layers = orders[-1].device_layers[0] - 1
    assert graphics_words.runs_on(made.supervisor.graphics) == f"A card ({layers} of {layers} layers)"
    *_, walls = graphics_words.findings(made.supervisor.graphics)
    assert walls.id == "gpu.walls"
    assert all(word in walls.found for word in (str(NODE), "/usr/share/vulkan/icd.d", "type d"))
    assert all(ok for _, ok in ids(made.supervisor.graphics))
    told = {finding.id: finding.found for finding in graphics_words.findings(made.supervisor.graphics)}
    assert told["gpu.memory"].startswith("A card: 1,024 MiB free; the whole model takes ")
    assert told["gpu.memory"].endswith(f" MiB; {layers} of {layers} layers are on it")
    assert "gpu.load" not in told
    made.supervisor.stop()


@pytest.mark.parametrize("probe", [dies, hangs, talks_nonsense, devices(code="backend.refused"), devices()])
def test_a_try_that_fails_costs_only_itself(line, probe: Callable[[Worker], None]) -> None:
    made = line(probe, good)
    made.supervisor.model()
    assert made.broker.gpus == ["vulkan", ""]
    assert (made.supervisor.graphics.code("vulkan") == "worker.hung") == (probe is hangs)
    assert made.ask()
    assert graphics_words.runs_on(made.supervisor.graphics).startswith(
        "the processor: the graphics card failed"
    )
    made.supervisor.stop()
    made.supervisor.model()
    assert made.broker.gpus == ["vulkan", "", ""], "it is not tried again"


@pytest.mark.parametrize("real", [dies, hangs, talks_nonsense, dies_while_loading])
def test_a_card_that_fails_later_is_left_and_the_processor_answers(
    line, real: Callable[[Worker], None]
) -> None:
    made = line(devices(CARD), real, good)
    made.supervisor.model()
    assert made.broker.gpus == ["vulkan", "vulkan", ""]
    assert made.ask()
    (outcome, fields), (then, last) = loads(made)[-2:]
    assert outcome == "failure"
    assert str(fields["code"]).startswith("worker.")
    assert then == "success", "and that the processor got it is on record"
    assert last == {"version": 1, "backend": "processor", "vulkan": fields["code"], "cuda": "gpu.backend"}
    assert made.supervisor.graphics.used is None
    made.supervisor.stop()
    made.supervisor.model()
    assert made.broker.gpus[3:] == [""]


def refuses(code: str) -> Callable[[Worker], None]:
    """A worker that has a card, and says why the model did not load on it."""

    def script(worker: Worker) -> None:
        worker.hello()
        worker.channel.receive(10)
        worker.send(Devices(devices=(CARD,)))
        worker.channel.receive(10)
        worker.send(LoadFailed(code=code))
        worker.until_closed()

    return script


REFUSALS = {
    "model.refused": ("model.refused", "gpu.load", "did not load with Vulkan"),
    "gpu.no-device": ("gpu.no-device", "gpu.load", "did not load with Vulkan"),
    "template.syntax": ("template.syntax", "gpu.load", "did not load with Vulkan"),
    "model.no-context": ("model.no-context", "gpu.memory", "A card: 1,024 MiB free; the whole model takes"),
}


@pytest.mark.parametrize("said", REFUSALS)
def test_a_model_that_does_not_load_on_a_card_leaves_it_to_others(line, said: str) -> None:
    recorded, finding, found = REFUSALS[said]
    made = line(devices(CARD), refuses(said), good, devices(CARD))
    made.supervisor.model()
    assert made.broker.gpus == ["vulkan", "vulkan", ""]
    assert made.ask(), "the processor answers"
    (outcome, fields), (_, then) = loads(made)[-2:]
    assert (outcome, fields["code"]) == ("failure", recorded)
    assert (then["backend"], then["vulkan"]) == ("processor", finding)
    last = graphics_words.findings(made.supervisor.graphics)[-1]
    assert (last.id, last.ok) == (finding, False)
    assert found in last.found
    if said == "model.no-context":
        assert "did not leave room enough" in last.found
        assert "too little free memory" in graphics_words.runs_on(made.supervisor.graphics)
    made.supervisor.stop()
    made.supervisor.model()
    assert made.broker.gpus[3:] == ["vulkan"], "the card is used for the next"
    assert made.supervisor.graphics.used is not None
    made.supervisor.stop()


def test_a_card_that_is_too_small_is_said_and_tried_again(line) -> None:
    tiny = Device(
        name="Vulkan0", title="Small", kind=DeviceKind.GPU, backend="Vulkan", memory_bytes=1, free_bytes=1
    )
    made = line(devices(CARD), devices(tiny), good)
    made.supervisor.model()
    assert made.broker.gpus == ["vulkan", "vulkan", ""]
    assert loads(made)[-2][0] == "failure"
    assert loads(made)[-2][1]["code"] == "gpu.memory"
    assert ids(made.supervisor.graphics)[-1] == ("gpu.memory", False)
    last = graphics_words.findings(made.supervisor.graphics)[-1]
    assert last.found.startswith("Small: 0 MiB free; the whole model takes ")
    assert last.found.endswith("; not one layer fits")
    assert "too little free memory" in graphics_words.runs_on(made.supervisor.graphics)
    made.supervisor.stop()
    made.supervisor.model()
    assert made.broker.gpus[3] == "vulkan", "memory may be free the next time"


def test_a_worker_for_a_card_has_to_prove_its_walls_too(line) -> None:
    def open_wall(worker: Worker) -> None:
        others = (probe for probe in PROBES if probe.channel != "tcp4")
        worker.hello((Probe(channel="tcp4", blocked=False, found="open"), *others))
        worker.until_closed()

    made = line(open_wall)
    with pytest.raises(WallError):
        made.supervisor.model()
    assert made.broker.gpus == ["vulkan"]


def test_what_a_worker_says_of_devices_goes_before_people_in_plain_words(line) -> None:
    rogue = Device(
        name="Vulkan0", title="\x1b]0;owned\x07\u202eevil", kind=DeviceKind.GPU, backend="x",
        memory_bytes=GIB, free_bytes=GIB,
    )  # fmt: skip
    unnamed = Device(
        name="a\nb", title="t", kind=DeviceKind.GPU, backend="x", memory_bytes=GIB, free_bytes=GIB
    )
    made = line(devices(rogue), devices(unnamed, rogue, rogue))
    made.supervisor.model()
    words = graphics_words.runs_on(made.supervisor.graphics)
    assert words.startswith("?]0;owned??evil (")
    assert orders[-1].devices == ("Vulkan0",)
    made.supervisor.stop()


def test_a_default_supervisor_uses_no_card(tmp_path: Path) -> None:
    made = Line(tmp_path, good)
    made.supervisor.model()
    assert made.broker.gpus == [""]
    assert ids(made.supervisor.graphics) == [("gpu.policy", False)]
    made.supervisor.stop()


# ── a card that fails while it answers ───────────────────────────────────────


def answering(then: Callable[[Worker, str], None]) -> Callable[[Worker], None]:
    """A worker on a card that loads, answers a piece and then does this."""

    def script(worker: Worker) -> None:
        worker.hello()
        worker.channel.receive(10)
        worker.send(Devices(devices=(CARD,)))
        worker.load()
        turn = worker.next_order().turn
        worker.read(turn)
        worker.send(AnswerPiece(turn=turn, text="Well", tokens=1))
        then(worker, turn)

    return script


def falls_silent(worker: Worker, _turn: str) -> None:
    worker.until_closed()


def ends(_worker: Worker, _turn: str) -> None:
    pass


def says_nonsense(worker: Worker, _turn: str) -> None:
    worker.send(Devices(devices=()))
    worker.until_closed()


@pytest.mark.parametrize(
    ("then", "end", "code"),
    [
        (ends, WorkerEnded(exit_code=0, signal=11), "worker.crashed"),
        (ends, WorkerEnded(exit_code=0, signal=9), "worker.killed"),
        (ends, WorkerEnded(exit_code=0, signal=31), "worker.walls"),
        (falls_silent, None, "worker.hung"),
        (says_nonsense, None, "worker.garbage"),
    ],
)
def test_a_card_that_fails_while_it_answers_is_left_and_it_is_said(
    line, monkeypatch, then: Callable[[Worker, str], None], end: WorkerEnded | None, code: str
) -> None:
    made = line(devices(CARD), answering(then), good, good)
    made.supervisor.model()
    made.broker.ends = [end]
    monkeypatch.setattr(patience, "SILENCE_SECONDS", 0.3)
    with pytest.raises(WorkerError) as caught:
        made.ask()
    assert caught.value.code == code
    assert "From the next question on the processor is used" in caught.value.todo
    assert ("security officer" in caught.value.todo) == (code == "worker.walls")
    [failure] = [entry.fields for entry in made.records if entry.event is Event.WORKER_FAILURE]
    assert (failure["code"], failure["backend"]) == (code, "vulkan")
    assert made.supervisor.graphics.used is None
    assert isinstance(made.ask()[-1], Stopped)
    assert (loads(made)[-1][1]["backend"], loads(made)[-1][1]["vulkan"]) == ("processor", code)
    made.supervisor.stop()
    assert isinstance(made.ask()[-1], Stopped)
    assert made.broker.gpus == ["vulkan", "vulkan", "", ""], "for the whole session"
    assert graphics_words.runs_on(made.supervisor.graphics).startswith("the processor: ")


def test_a_stop_a_want_of_memory_or_a_template_says_nothing_about_a_card(line) -> None:
    later = [answering(then) for then in (falls_silent, ends, ends, falls_silent)]
    made = line(devices(CARD), *later)
    events = made.supervisor.answer(TurnId("t"), HISTORY, LIMIT)
    assert [type(next(events)) for _ in range(3)] == [Reading, Reading, Piece]
    events.close()  # the person closes the window
    made.broker.ends = [WorkerEnded(exit_code=WORKER_OUT_OF_MEMORY, signal=0)]
    with pytest.raises(WorkerError) as caught:
        made.ask()
    assert caught.value.code == "worker.memory"
    assert "graphics card" not in caught.value.explain()
    made.supervisor.model()
    assert made.broker.gpus == ["vulkan"] * 4
    made.supervisor.stop()


def test_on_the_processor_a_failure_says_nothing_about_a_card(line) -> None:
    def dies_answering(worker: Worker) -> None:
        worker.read(worker.order().turn)

    made = line(devices(), dies_answering)
    with pytest.raises(WorkerError) as caught:
        made.ask()
    assert "graphics card" not in caught.value.explain()
    assert made.supervisor.graphics.code("vulkan") == "gpu.probe"


def slow_to_stop(worker: Worker, turn: str) -> None:
    received = worker.channel.receive(10)
    assert received is not None and isinstance(received[0], Cancel)
    time.sleep(0.5)
    worker.send(done(turn, reason="cancelled"))
    worker.until_closed()


@pytest.mark.parametrize("on_card", [True, False])
def test_a_card_has_longer_to_hear_a_stop(line, monkeypatch, on_card: bool) -> None:
    """Nothing is heard there inside a part."""
    monkeypatch.setattr(patience, "CANCEL_SECONDS", 0.1)

    def on_processor(worker: Worker) -> None:
        turn = worker.order().turn
        worker.read(turn)
        worker.send(AnswerPiece(turn=turn, text="Well", tokens=1))
        slow_to_stop(worker, turn)

    made = line(devices(CARD), answering(slow_to_stop)) if on_card else line(devices(), on_processor)

    def stop_at_once() -> list[object]:
        events: list[object] = []
        for event in made.supervisor.answer(TurnId("t"), HISTORY, LIMIT):
            events.append(event)
            if isinstance(event, Piece):
                made.supervisor.cancel()
        return events

    if on_card:
        last = stop_at_once()[-1]
        assert isinstance(last, Stopped) and last.reason == "cancelled"
        assert made.supervisor.graphics.used is not None
    else:
        with pytest.raises(WorkerError) as caught:
            stop_at_once()
        assert caught.value.code == "worker.hung"
    made.supervisor.stop()
