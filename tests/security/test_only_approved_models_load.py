"""Promise: only a model that is signed, approved and unchanged reaches native code, and what was checked is what runs.

Each way to smuggle in another file is tried; each is refused before the worker sees a byte of it, and no
descriptor is left open.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from tomllib import loads

import pytest

from govdesk import config, crypto
from govdesk.app.rules import covers
from govdesk.domain.ids import RecordSeq
from govdesk.domain.models import ImportProgress
from govdesk.domain.record import Entry, Event
from govdesk.errors import GovDeskError, ModelError
from govdesk.inference import catalogue, importing, manifest, store
from govdesk.inference.media import Package
from govdesk.inference.supervisor import Supervisor
from govdesk.sandbox import selftest
from tests import gguf_files, packages
from tests.packages import Medium, shelf
from tests.processes import DirectBroker
from tests.tiny_models import tiny_bytes, tiny_model

NAME = "smollm2-135m-instruct"
PRIVATE, PUBLIC = crypto.new_signing_key()
STRANGER, _ = crypto.new_signing_key()
CONTENT = tiny_bytes("llama-spm")
MIDDLE = 5000


class Folder:
    """A models folder of its own: a tiny model, and a manifest signed by this test's key."""

    def __init__(self, path: Path, content: bytes = CONTENT) -> None:
        self.path = path
        self.manifest = path / f"{NAME}.toml"
        self.signature = path / f"{NAME}.toml.sig"
        self.file = path / f"{NAME}.gguf"
        self.file.write_bytes(content)
        self.digest = hashlib.sha384(content).hexdigest()
        self.trust: tuple[str, ...] = (PUBLIC,)
        self.approved: tuple[str, ...] = (self.digest,)
        self.system_high = "UNCLASSIFIED"
        text = (config.MODELS / f"{NAME}.toml").read_text()
        real = loads(text)
        (file,) = real["variant"][0]["file"]
        text = text.replace(file["sha384"], self.digest).replace(str(file["bytes"]), str(len(content)))
        self.manifest.write_text(text)
        self.sign(PRIVATE)

    def sign(self, private: str, context: bytes = manifest.MANIFEST_CONTEXT) -> None:
        self.signature.write_bytes(crypto.sign(private, self.manifest.read_bytes(), context=context))

    def find(self) -> store.Model:
        return catalogue.approved_model((self.path,), self.trust, self.approved, self.system_high, covers)

    def rewrite(self, old: str, new: str, *, signed: bool) -> None:
        text = self.manifest.read_text()
        assert old in text
        self.manifest.write_text(text.replace(old, new))
        if signed:
            self.sign(PRIVATE)

    def load(self) -> None:
        store.close_all(store.open_verified(self.find()).descriptors)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def _patch(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(content)


def _flip(path: Path, offset: int) -> None:
    with path.open("rb") as file:
        file.seek(offset)
        (byte,) = file.read(1)
    _patch(path, offset, bytes([byte ^ 1]))


def _not_approved(folder: Folder) -> None:
    folder.approved = ("00" * 48,)


def _nothing_approved(folder: Folder) -> None:
    folder.approved = ()


def _unsigned(folder: Folder) -> None:
    folder.signature.unlink()


def _empty_signature(folder: Folder) -> None:
    folder.signature.write_bytes(b"")


def _signed_by_a_stranger(folder: Folder) -> None:
    folder.sign(STRANGER)


def _signed_for_something_else(folder: Folder) -> None:
    folder.sign(PRIVATE, context=b"govdesk policy v1")


def _manifest_changed(folder: Folder) -> None:
    folder.rewrite("UNCLASSIFIED", "SECRET", signed=False)


def _manifest_of_another_shape(folder: Folder) -> None:
    folder.rewrite("version = 2", 'version = "2"', signed=True)


def _manifest_too_large(folder: Folder) -> None:
    folder.manifest.write_bytes(folder.manifest.read_bytes() + b"#" * manifest.MAX_MANIFEST_BYTES)


def _marked_too_low(folder: Folder) -> None:
    folder.system_high = "SECRET//NOFORN"


def _marked_with_nonsense(folder: Folder) -> None:
    folder.rewrite('"UNCLASSIFIED"', '"WHATEVER"', signed=True)


def _missing(folder: Folder) -> None:
    folder.file.unlink()


def _renamed(folder: Folder) -> None:
    folder.file.rename(folder.path / "better.gguf")


def _another_under_its_name(folder: Folder) -> None:
    _patch(folder.file, folder.file.stat().st_size - 64, b"\0" * 64)


def _cut(folder: Folder) -> None:
    os.truncate(folder.file, folder.file.stat().st_size - 1)


def _oversized(folder: Folder) -> None:
    with folder.file.open("ab") as file:
        file.write(b"x")


def _one_bit(folder: Folder) -> None:
    _flip(folder.file, MIDDLE)


def _not_gguf(folder: Folder) -> None:
    folder.file.write_bytes(b"PK\x03\x04" + b"\0" * 100)


def _not_gguf_of_the_right_size(folder: Folder) -> None:
    _patch(folder.file, 0, b"PK\x03\x04")


def _empty(folder: Folder) -> None:
    folder.file.write_bytes(b"")


def _nonsense_header(folder: Folder) -> None:
    _patch(folder.file, 8, b"\xff" * 8)


def _signed_but_malformed(folder: Folder) -> None:
    content = gguf_files.encode(tiny_model("llama-spm").with_keys({"llama.attention.head_count": 0}))
    old = str(folder.file.stat().st_size)
    folder.file.write_bytes(content)
    folder.rewrite(folder.digest, digest := hashlib.sha384(content).hexdigest(), signed=True)
    folder.rewrite(f"bytes = {old}", f"bytes = {len(content)}", signed=True)
    folder.approved = (digest,)


def _signed_for_another_architecture(folder: Folder) -> None:
    folder.rewrite('architecture = "llama"', 'architecture = "qwen3"', signed=True)


def _link(folder: Folder) -> None:
    target = folder.file.rename(folder.path / "elsewhere")
    folder.file.symlink_to(target)


def _pipe(folder: Folder) -> None:
    folder.file.unlink()
    os.mkfifo(folder.file)


def _folder_in_its_place(folder: Folder) -> None:
    folder.file.unlink()
    folder.file.mkdir()


@pytest.mark.parametrize(
    ("smuggle", "code"),
    [
        (_not_approved, "model.none-approved"),
        (_nothing_approved, "model.none-approved"),
        (_unsigned, "model.none-approved"),
        (_empty_signature, "model.none-approved"),
        (_signed_by_a_stranger, "model.none-approved"),
        (_signed_for_something_else, "model.none-approved"),
        (_manifest_changed, "model.none-approved"),
        (_manifest_of_another_shape, "model.none-approved"),
        (_manifest_too_large, "model.none-approved"),
        (_marked_too_low, "model.marking"),
        (_marked_with_nonsense, "model.marking"),
        (_missing, "model.missing"),
        (_renamed, "model.missing"),
        (_another_under_its_name, "model.digest"),
        (_cut, "model.size"),
        (_oversized, "model.size"),
        (_one_bit, "model.digest"),
        (_not_gguf, "model.not-gguf"),
        (_not_gguf_of_the_right_size, "model.not-gguf"),
        (_empty, "model.not-gguf"),
        (_nonsense_header, "model.digest"),
        (_signed_but_malformed, "gguf.hyperparameter"),
        (_signed_for_another_architecture, "model.architecture"),
        (_link, "model.missing"),
        (_pipe, "model.not-a-file"),
        (_folder_in_its_place, "model.not-a-file"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_what_is_smuggled_in_is_refused(folder: Folder, smuggle: Callable[[Folder], None], code: str) -> None:
    smuggle(folder)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ModelError) as caught:
        folder.load()
    assert len(os.listdir("/proc/self/fd")) == before
    assert caught.value.code == code
    assert caught.value.kept
    assert caught.value.todo


def test_the_sound_model_loads(folder: Folder) -> None:
    folder.load()
    folder.rewrite('"UNCLASSIFIED"', '"SECRET//NOFORN"', signed=True)
    folder.system_high = "SECRET//NOFORN"
    folder.load()


def test_a_model_that_may_see_enough_is_taken_before_one_that_may_not(folder: Folder) -> None:
    """The policy's order decides among those that may see what the workstation holds."""
    shutil.copyfile(folder.file, folder.path / "other.gguf")
    _flip(folder.path / "other.gguf", MIDDLE)
    other = hashlib.sha384((folder.path / "other.gguf").read_bytes()).hexdigest()
    text = folder.manifest.read_text().replace(folder.digest, other).replace(folder.file.name, "other.gguf")
    high = folder.path / "other.toml"
    high.write_text(text.replace('"UNCLASSIFIED"', '"SECRET"'))
    high.with_name("other.toml.sig").write_bytes(
        crypto.sign(PRIVATE, high.read_bytes(), context=manifest.MANIFEST_CONTEXT)
    )
    folder.approved = (folder.digest, other)
    assert folder.find().path == folder.file
    folder.system_high = "SECRET"
    assert folder.find().path.name == "other.gguf"


def test_a_file_that_is_swapped_while_it_is_checked_is_refused(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_require_memory", lambda _model: _flip(folder.file, MIDDLE))
    with pytest.raises(ModelError) as caught:
        folder.load()
    assert caught.value.code == "model.digest"


def test_a_file_that_is_swapped_after_it_was_checked_changes_nothing(folder: Folder) -> None:
    (descriptor,) = store.open_verified(folder.find()).descriptors
    try:
        folder.file.write_bytes(b"GGUF, but another one")
        with open(descriptor, "rb", closefd=False) as file:
            file.seek(0)
            assert hashlib.sha384(file.read()).hexdigest() == folder.digest
    finally:
        os.close(descriptor)


def test_what_was_checked_cannot_be_changed_by_anybody(folder: Folder) -> None:
    (descriptor,) = store.open_verified(folder.find()).descriptors
    again = os.open(f"/proc/self/fd/{descriptor}", os.O_RDWR)
    try:
        for number in (descriptor, again):
            with pytest.raises(PermissionError):
                os.pwrite(number, b"x", 0)
            with pytest.raises(PermissionError):
                os.ftruncate(number, 1)
            with pytest.raises(PermissionError):
                os.ftruncate(number, folder.file.stat().st_size + 1)
            with pytest.raises(PermissionError):
                mmap.mmap(number, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    finally:
        os.close(descriptor)
        os.close(again)


def test_a_template_that_is_not_the_manifests_is_refused(tmp_path: Path, model_file: Path) -> None:
    """The real worker says which template the file holds; the manifest says which it must be."""
    folder = Folder(tmp_path, model_file.read_bytes())
    folder.rewrite(folder.find().manifest.template_sha384, "00" * 48, signed=True)
    records: list[Entry] = []

    def record(entry: Entry) -> RecordSeq:
        records.append(entry)
        return RecordSeq(len(records))

    broker = DirectBroker()
    supervisor = Supervisor(broker, folder.find, record, selftest.require_closed)
    with pytest.raises(GovDeskError) as caught:
        supervisor.model()
    assert caught.value.code == "model.template"
    assert [entry.event for entry in records] == [Event.MODEL_LOAD, Event.SELF_TEST, Event.WORKER_FAILURE]
    assert broker.process is not None
    assert broker.process.returncode is not None


class Arrival:
    """A package on a medium, and an empty profile that would take it."""

    def __init__(self, path: Path) -> None:
        self.medium = Medium(path / "medium", version=2).write()
        self.own = path / "models"
        self.approved = [self.medium.digest()]
        self.file = self.medium.file()

    def bring(self, watch: Callable[[ImportProgress], None] = lambda _: None) -> None:
        here = shelf(self.own, *self.approved)
        with Package(self.medium.folder, (packages.PUBLIC,)) as package:
            variants = here.importable(package)
            importing.import_package(package, here.own, variants, watch, lambda: False)

    def visible(self) -> list[Path]:
        return [path for path in self.own.glob("*") if not path.name.startswith(".")]


def _unsigned_package(arrival: Arrival) -> None:
    arrival.medium.signature.unlink()


def _package_of_a_stranger(arrival: Arrival) -> None:
    arrival.medium.private = packages.STRANGER
    arrival.medium.sign()


def _package_signed_as_a_policy(arrival: Arrival) -> None:
    arrival.medium.sign(context=b"govdesk policy v1")


def _changed_manifest(arrival: Arrival) -> None:
    arrival.medium.manifest.write_text(arrival.medium.manifest.read_text().replace("SSIFIED", "SSIFIED "))


def _endless_manifest(arrival: Arrival) -> None:
    os.truncate(arrival.medium.manifest, 2**40)


def _linked_manifest(arrival: Arrival) -> None:
    target = arrival.medium.manifest.rename(arrival.medium.folder / "elsewhere")
    arrival.medium.manifest.symlink_to(target)


def _linked_signature(arrival: Arrival) -> None:
    target = arrival.medium.signature.rename(arrival.medium.folder / "elsewhere")
    arrival.medium.signature.symlink_to(target)


def _linked_file(arrival: Arrival) -> None:
    arrival.file.symlink_to(arrival.file.rename(arrival.medium.folder / "elsewhere"))


def _device_in_its_place(arrival: Arrival) -> None:
    arrival.file.unlink()
    os.mkfifo(arrival.file)


def _folder_for_a_file(arrival: Arrival) -> None:
    arrival.file.unlink()
    arrival.file.mkdir()


def _endless_file(arrival: Arrival) -> None:
    os.truncate(arrival.file, 2**40)


def _cut_file(arrival: Arrival) -> None:
    os.truncate(arrival.file, arrival.file.stat().st_size - 1)


def _one_bit_of_the_file(arrival: Arrival) -> None:
    _flip(arrival.file, MIDDLE)


def _older_version(arrival: Arrival) -> None:
    arrival.own.mkdir()
    (arrival.own / "versions.json").write_text('{"versions":{"tiny":3}}')


def _hostile_gguf(arrival: Arrival) -> None:
    """Signed by mistake, and still not let through: the validator comes before native code."""
    content = arrival.medium.variants["F16"][0]
    arrival.medium.variants = {"F16": (content[:8] + b"\xff" * 16 + content[24:],)}
    arrival.medium.write()


@pytest.mark.parametrize(
    ("smuggle", "code"),
    [
        (_unsigned_package, "model.manifest"),
        (_package_of_a_stranger, "model.manifest-signature"),
        (_package_signed_as_a_policy, "model.manifest-signature"),
        (_changed_manifest, "model.manifest-signature"),
        (_endless_manifest, "model.manifest-size"),
        (_linked_manifest, "model.manifest"),
        (_linked_signature, "model.manifest"),
        (_linked_file, "model.missing"),
        (_device_in_its_place, "model.not-a-file"),
        (_folder_for_a_file, "model.not-a-file"),
        (_endless_file, "model.size"),
        (_cut_file, "model.size"),
        (_one_bit_of_the_file, "model.digest"),
        (_older_version, "model.older"),
        (_hostile_gguf, "gguf.counts"),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_what_is_smuggled_in_on_a_medium_is_refused_and_leaves_nothing(
    tmp_path: Path, smuggle: Callable[[Arrival], None], code: str
) -> None:
    arrival = Arrival(tmp_path)
    smuggle(arrival)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(ModelError) as caught:
        arrival.bring()
    assert caught.value.code == code
    assert caught.value.kept
    assert len(os.listdir("/proc/self/fd")) == before
    assert [path.name for path in arrival.visible()] == (
        ["versions.json"] if smuggle is _older_version else []
    )
    leftovers = [path for path in arrival.own.rglob("*.gguf*") if path.stat().st_size]
    assert leftovers == [], "nothing of what was refused takes room"


def test_an_import_without_tricks_is_taken(tmp_path: Path) -> None:
    arrival = Arrival(tmp_path)
    arrival.bring()
    assert [path.name for path in arrival.visible()] == ["tiny-2"]


@pytest.mark.parametrize("how", ["changed", "cut", "longer", "replaced"])
def test_a_file_that_changes_while_it_is_imported_is_refused(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "PIECE_BYTES", 16 * 1024)
    monkeypatch.setattr(importing, "_TELL_SECONDS", 0.0)
    arrival = Arrival(tmp_path)
    size = arrival.file.stat().st_size

    def change(progress: ImportProgress) -> None:
        if progress.done_bytes > 40_000 and arrival.file.exists():
            if how == "changed":
                _patch(arrival.file, size - 100, b"\x55" * 100)
            elif how == "cut":
                os.truncate(arrival.file, 50_000)
            elif how == "longer":
                with arrival.file.open("ab") as file:
                    file.write(b"x")
            else:  # a new file under the name: the one that was opened is read to its end
                arrival.file.unlink()

    if how == "replaced":
        arrival.bring(change)
        assert [path.name for path in arrival.visible()] == ["tiny-2"]
        return
    with pytest.raises(ModelError) as caught:
        arrival.bring(change)
    assert (
        caught.value.code
        == {"changed": "model.digest", "cut": "model.changed", "longer": "model.changed"}[how]
    )
    assert arrival.visible() == []


def test_a_name_cannot_lead_out_of_the_profile(tmp_path: Path) -> None:
    """Names become folders and files: a signer's mistake does not write elsewhere."""
    for name in ("../../evil", "/tmp/evil", ".hidden", "a/b"):
        arrival = Arrival(tmp_path / str(len(name)))
        text = arrival.medium.manifest.read_text().replace('name = "tiny"', f'name = "{name}"')
        arrival.medium.manifest.write_text(text)
        arrival.medium.sign()
        with pytest.raises(ModelError) as caught:
            arrival.bring()
        assert caught.value.code == "model.manifest-shape"
