"""What copies, reads or removes models is on record before it begins, and nothing begins without."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec import structs

from govdesk import config
from govdesk.app import models
from govdesk.app.preferences import Preferences
from govdesk.app.rules import load_policy
from govdesk.audit import record
from govdesk.config import Profile
from govdesk.domain.frames import LoadModel, Timing, Tuned
from govdesk.domain.ids import ModelDigest, RecordSeq
from govdesk.domain.models import Answers, Checked, Which
from govdesk.domain.record import Entry, Event
from govdesk.domain.turn import ModelInfo
from govdesk.errors import AuditClosedError, GovDeskError, ModelError, UsageError
from govdesk.inference import fit, machine_memory, plan, processor
from govdesk.inference.gguf import GgufFacts
from govdesk.inference.machine_memory import MachineMemory
from govdesk.inference.tuning import Tunings
from govdesk.inference.worker_line import LoadedModel
from tests import audit_fields
from tests.packages import Medium, one, split
from tests.worker_memory import facts_of

DEVELOPMENT = (config.CHECKOUT / "installer" / "development" / "signing.key").read_text()


class Log:
    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.closed = False

    def append(self, entry: Entry) -> RecordSeq:
        audit_fields.check(entry)
        if self.closed:
            raise AuditClosedError("closed")
        record.check(entry)
        self.entries.append(entry)
        return RecordSeq(len(self.entries))

    def require_open(self) -> None:
        if self.closed:
            raise AuditClosedError("closed")

    @property
    def said(self) -> list[tuple[str, str, str, object]]:
        return [(e.event.value, e.outcome, e.object, e.fields.get("code")) for e in self.entries]


class Bench:
    def __init__(self, folder: Path) -> None:
        self.log, self.policy = Log(), load_policy()[0]
        self.profile = Profile(folder / "home")
        self.used = ""
        self.preferences = Preferences(self.profile.preferences)
        self.held: LoadedModel | None = None
        self.shelf = models.shelf(self.profile, self.policy, lambda: self.held)
        self.models = models.RecordedModels(
            self.shelf, self.log, self.policy, lambda: self.used, self.preferences
        )  # type: ignore[arg-type]
        self.medium = Medium(folder / "medium", private=DEVELOPMENT).write()

    def bring(self) -> None:
        self.models.import_model(str(self.medium.folder), lambda _: None, lambda: False)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_an_import_has_two_records_and_says_whether_policy_approves(bench: Bench) -> None:
    done = bench.models.import_model(str(bench.medium.manifest), lambda _: None, lambda: False)
    assert bench.log.said == [
        ("model.import", "intent", "tiny", None),
        ("model.import", "success", "tiny", None),
    ]
    entry = bench.log.entries[0]
    assert entry.model == bench.medium.digest()
    assert entry.policy == bench.policy.stamp
    assert entry.fields == {
        "version": 1,
        "bytes": len(bench.medium.variants["F16"][0]),
        "variants": 1,
        "approved": False,
        "digest.1": bench.medium.digest(),
        "approved_digests": {"1": 0},
    }
    assert [line.state.value for line in done.lines] == ["not approved by policy"]


def test_without_a_log_nothing_is_copied_read_or_removed(bench: Bench) -> None:
    bench.bring()
    own = bench.profile.models / "tiny-1"
    other = Medium(bench.medium.folder.with_name("other"), {"F16": one(4)}, name="other", private=DEVELOPMENT)
    other.write()
    bench.log.closed = True
    with pytest.raises(AuditClosedError):
        bench.models.import_model(str(other.folder), lambda _: None, lambda: False)
    with pytest.raises(AuditClosedError):
        bench.models.verify_model(Which("tiny"), lambda _: None, lambda: False)
    with pytest.raises(AuditClosedError):
        bench.models.remove_model(Which("tiny"))
    assert sorted(path.name for path in bench.profile.models.iterdir()) == ["tiny-1"]
    assert own.exists()


def test_a_refusal_before_the_copying_is_on_record(bench: Bench) -> None:
    bench.medium.signature.write_bytes(b"")
    with pytest.raises(ModelError):
        bench.bring()
    assert bench.log.said == [("model.refuse", "failure", "", "model.manifest-signature")]
    bench.medium.marking = "NONSENSE"
    bench.medium.write()
    with pytest.raises(ModelError):
        bench.bring()
    assert bench.log.said[1:] == [("model.refuse", "failure", "tiny", "model.marking")]


def test_a_failure_in_the_middle_has_its_outcome(bench: Bench) -> None:
    content = bytearray(bench.medium.file().read_bytes())
    content[-1] ^= 1
    bench.medium.file().write_bytes(content)
    with pytest.raises(ModelError):
        bench.bring()
    assert bench.log.said == [
        ("model.import", "intent", "tiny", None),
        ("model.import", "failure", "tiny", "model.digest"),
    ]
    bench.medium.write()
    with pytest.raises(GovDeskError):
        bench.models.import_model(str(bench.medium.folder), lambda _: None, lambda: True)
    assert bench.log.said[3] == ("model.import", "failure", "tiny", "model.import-stopped")


def test_what_is_in_use_is_not_removed_and_the_rest_is(bench: Bench) -> None:
    bench.bring()
    bench.used = bench.medium.digest()
    with pytest.raises(ModelError) as caught:
        bench.models.remove_model(Which("tiny"))
    assert caught.value.code == "model.in-use"
    bench.used = ""
    removed = bench.models.remove_model(Which("tiny"))
    assert removed.size_bytes > len(bench.medium.variants["F16"][0])
    assert [event for event, *_ in bench.log.said[2:]] == ["model.refuse", "model.remove", "model.remove"]
    with pytest.raises(UsageError):
        bench.models.remove_model(Which("tiny"))


def test_a_check_is_on_record_with_what_it_found(bench: Bench) -> None:
    bench.medium.variants = {"F16": one(1), "F32": one(2), "BF16": one(3)}
    bench.medium.write()
    bench.medium.file("BF16").unlink()
    bench.bring()

    def check() -> tuple[Checked, Entry]:
        checked = bench.models.verify_model(Which("tiny"), lambda _: None, lambda: False)
        intent, end = bench.log.entries[-2:]
        assert (intent.event, intent.outcome, end.event) == (Event.MODEL_VERIFY, "intent", Event.MODEL_VERIFY)
        assert intent.fields == {"version": 1}
        return checked, end

    checked, end = check()
    assert (checked.unsound, checked.not_imported) == (0, ("BF16",))
    assert (end.outcome, end.fields) == ("success", {"version": 1, "files": 2, "unsound": 0})
    file = bench.profile.models / "tiny-1" / bench.medium.file("F32").name
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    checked, end = check()
    assert [one.sound for one in checked.files] == [True, False]
    assert end.outcome == "failure"
    assert end.fields == {"version": 1, "files": 2, "unsound": 1, "code": "model.digest"}


def test_the_list_says_whether_it_fits_this_machine(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.bring()
    (line,) = [line for line in bench.models.models().models if line.imported]
    assert line.fit_words == "fits"

    class Small:
        total_bytes, free_bytes = 2**20, 2**20

    monkeypatch.setattr(machine_memory, "read", Small)
    (line,) = [line for line in bench.models.models().models if line.imported]
    assert line.fit_words.startswith("will not fit: needs ")


def test_of_two_versions_the_one_that_is_meant_is_checked_and_removed_and_on_record(bench: Bench) -> None:
    """As texts, version 10 comes before version 9."""
    bench.medium.version = 9
    bench.medium.write()
    bench.bring()
    newer = Medium(
        bench.medium.folder.with_name("newer"), {"F16": one(5)}, version=10, private=DEVELOPMENT
    ).write()
    bench.models.import_model(str(newer.folder), lambda _: None, lambda: False)
    bench.log.entries.clear()
    with pytest.raises(UsageError):
        bench.models.verify_model(Which("tiny"), lambda _: None, lambda: False)
    with pytest.raises(UsageError):
        bench.models.remove_model(Which("tiny"))
    assert bench.log.entries == [], "nothing was begun, and what was typed is not for the log"
    for version, digest in ((9, bench.medium.digest()), (10, newer.digest())):
        checked = bench.models.verify_model(Which("tiny", version), lambda _: None, lambda: False)
        assert checked.version == version
        assert f"tiny-{version}/" in checked.files[0].file
        assert bench.log.entries[-1].model == digest
        assert bench.log.entries[-1].fields["version"] == version
    bench.used = bench.medium.digest()
    removed = bench.models.remove_model(Which("tiny", 10, imported=True))
    assert removed.version == 10
    assert [(e.fields["version"], e.model) for e in bench.log.entries[-2:]] == [(10, newer.digest())] * 2
    assert [path.name for path in bench.profile.models.iterdir()] == ["tiny-9"]


EMBEDDED = "smollm2-135m-instruct"


def _said(bench: Bench) -> str:
    (line,) = [line for line in bench.models.models().models if line.name == EMBEDDED]
    return line.fit_words


def _embedded() -> tuple[ModelInfo, GgufFacts]:
    """As it is loaded."""
    (path,) = config.MODELS.glob(f"{EMBEDDED}.gguf")
    (line,) = [line for line in models.shelf(Profile(path.parent), load_policy()[0]).models().models
               if line.name == EMBEDDED]  # fmt: skip
    return ModelInfo("m", ModelDigest(line.digest), 4096), facts_of(path)


def test_a_model_is_called_slow_by_what_was_measured_of_another_one_here(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine_memory, "read", lambda: MachineMemory(64 * 2**30, 32 * 2**30))
    assert _said(bench) == "fits"
    work = fit.work_per_token(_embedded()[1])
    bench.profile.create()
    tunings = Tunings(bench.profile.tuning, processor.read())
    order = tunings.order("t")
    slow = 1_000_000 // 9  # microseconds for a token of a model three times as large
    timings = tuple(
        Timing(reading=reading, threads=order.threads[0], token_microseconds=slow)
        for reading in (False, True)
    )
    tuned = Tuned(turn="t", timings=timings, complete=True, others_percent=0)
    assert tunings.keep(ModelDigest("ee" * 48), tuned, order, work / 3, 1)
    assert _said(bench) == "slow: about 3 tokens/s"
    info, facts = _embedded()
    bench.held = LoadedModel(info, LoadModel(context_tokens=4096, threads=1), "", facts)
    assert _said(bench) == "loaded; slow: about 3 tokens/s"


def test_what_is_loaded_is_called_so_and_others_get_what_it_gives_back(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    info, facts = _embedded()
    order = LoadModel(context_tokens=4096, threads=1)
    gives = fit.memory(facts, plan.loaded_as(order), plan.machine().repacked).loaded
    monkeypatch.setattr(machine_memory, "read", lambda: MachineMemory(64 * 2**30, gives // 2))
    assert _said(bench).startswith("will not fit now: needs ")
    bench.held = LoadedModel(info, order, "", facts)
    assert _said(bench) == "loaded"
    bench.held = LoadedModel(ModelInfo("another", ModelDigest("ee" * 48), 4096), order, "", facts)
    assert _said(bench) == "fits"
    on_card = LoadModel(context_tokens=4096, threads=1, devices=("card",), device_layers=(30,))
    bench.held = LoadedModel(ModelInfo("another", ModelDigest("ee" * 48), 4096), on_card, "", facts)
    assert _said(bench).startswith("will not fit now: needs ")


def test_each_digest_that_comes_is_on_record_with_its_approval(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.medium.variants = {"F16": one(1), "BF16": one(2), "F32": split(2)}
    bench.medium.write()
    bench.medium.file("BF16").unlink()
    policy = bench.policy
    approving = structs.replace(policy.policy.models, approved=(bench.medium.digest("F32"),))
    bench.policy = structs.replace(policy, policy=structs.replace(policy.policy, models=approving))
    bench.shelf = models.shelf(bench.profile, bench.policy)
    bench.models = models.RecordedModels(bench.shelf, bench.log, bench.policy, lambda: "ab" * 48)  # type: ignore[arg-type]
    done = bench.models.import_model(str(bench.medium.folder), lambda _: None, lambda: False)
    for entry in bench.log.entries:
        assert entry.fields["digest.1"] == bench.medium.digest("F16")
        assert entry.fields["digest.2"] == bench.medium.digest("F32")
        assert entry.fields["approved_digests"] == {"1": 0, "2": 1}
        assert "digest.3" not in entry.fields
    assert {line.quantization: line.answers for line in done.lines} == {
        "F16": Answers.NO,
        "F32": Answers.NEXT,
    }
    assert {x.answers for x in bench.models.models().models if x.chosen} == {Answers.NEXT}
    assert bench.models.model_details(Which("tiny")).line.answers is Answers.NEXT


def test_a_record_has_room_for_as_many_formats_as_a_manifest_may_have(bench: Bench) -> None:
    bench.medium.variants = {f"Q{number}": one(number) for number in range(16)}
    bench.medium.write()
    bench.bring()
    assert len([name for name in bench.log.entries[-1].fields if name.startswith("digest.")]) == 16


def test_half_the_memory_is_offered_only_where_the_model_that_answers_can(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.profile.create()
    now = bench.models.context_memory()
    assert (now.halved, now.possible, now.note, now.words) == (False, True, fit.QUALITY_NOTE, "whole")
    assert bench.models.halve_context(halve=True).words == "halved"
    assert bench.preferences.kv == "q8_0"
    monkeypatch.setattr(fit, "kv_possible", lambda _facts, kv: kv == "f16")
    now = bench.models.context_memory()
    assert (now.halved, now.possible) == (True, False)
    assert now.words.endswith("which this model cannot: whole")
