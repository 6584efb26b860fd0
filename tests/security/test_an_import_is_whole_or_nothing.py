"""Promise: an import that is killed at any step leaves what was there before, and the next one finishes it.

The import runs in a process of its own that ends without warning before its n-th change of the disk, for
every n. After each, what is visible is either nothing new or the whole model; the same import then ends well.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from govdesk.domain.models import ModelState, Which
from govdesk.inference import importing, installed
from govdesk.inference.media import Package
from govdesk.inference.shelf import Shelf
from tests.packages import PUBLIC, Medium, one, shelf, split

KILLED = 77
CHANGES = frozenset({"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate", "shutil.rmtree"})
"""What the interpreter reports of itself; opening for writing, writing and syncing are counted beside them."""


def bring(medium: Medium, here: Shelf) -> None:
    with Package(medium.folder, (PUBLIC,)) as package:
        variants = here.importable(package)
        importing.import_package(package, here.own, variants, lambda _: None, lambda: False)
        here.accept(package.manifest)


def killed_at(step: int, act: Callable[[], None]) -> bool:
    """Run it in a child that ends before its change number `step`; False when it came to its end first."""
    child = os.fork()
    if child == 0:
        count = 0

        def change() -> None:
            nonlocal count
            count += 1
            if count == step:
                os._exit(KILLED)

        write, sync = os.write, os.fsync

        def counted_write(descriptor: int, data: bytes) -> int:
            change()
            return write(descriptor, data)

        def counted_sync(descriptor: int) -> None:
            change()
            sync(descriptor)

        def hook(event: str, arguments: tuple[object, ...]) -> None:
            if event in CHANGES or (event == "open" and _writes(arguments[2])):
                change()

        os.write, os.fsync = counted_write, counted_sync  # type: ignore[assignment]
        importing.PIECE_BYTES = 64 * 1024
        sys.addaudithook(hook)
        try:
            act()
        except BaseException:  # the child must not become a second test run
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in {0, KILLED}
    return code == KILLED


def _writes(flags: object) -> bool:
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))


def visible(own: Path) -> set[str]:
    """The folders that GovDesk looks into."""
    return {item.name for item in own.glob("*") if not item.name.startswith(".") and item.is_dir()}


@pytest.mark.parametrize("case", ["first", "upgrade", "second-variant"])
def test_killed_at_every_step(tmp_path: Path, case: str) -> None:
    old = Medium(tmp_path / "old", {"F16": one(3)}, version=1)
    new = Medium(tmp_path / "new", {"F16": one(4), "F32": split(2)}, version=2)
    steps = 0
    while True:
        steps += 1
        own = tmp_path / str(steps) / "models"
        here = shelf(own, old.digest() if case == "upgrade" else "", new.digest(), new.digest("F32"))
        before: set[str] = set()
        if case == "upgrade":
            bring(old.write(), here)
            before = {"tiny-1"}
        new.write()
        if case == "second-variant":
            new.file("F32", 1).unlink()
            bring(new, here)
            new.write()
            before = {"tiny-2"}
        if not killed_at(steps, lambda here=here: bring(new, here)):  # type: ignore[misc]
            break
        seen = visible(own)
        assert before <= seen or "tiny-2" in seen, f"step {steps}: what was there is gone"
        for line in here.models().models:
            known = {ModelState.READY, ModelState.MISSING, *([ModelState.OLDER] if line.version == 1 else [])}
            assert line.state in known, f"step {steps}: {line}"
        for model in here._found().models:
            if not model.missing:
                assert all(
                    file.sound
                    for file in here.verify(Which("tiny"), lambda _: None, lambda: False).files
                    if file.file in {str(path) for path in model.paths}
                ), f"step {steps}"
        if before:
            assert here.choose()
        bring(new, here)
        assert [line.state for line in here.models().models] == [ModelState.READY] * 2, f"step {steps}"
        assert visible(own) == {"tiny-2"}, f"step {steps}"
        assert not list(own.glob(".*")), f"step {steps}: something is left"
    assert steps > 20


def test_a_removal_that_is_killed_at_every_step_leaves_the_model_or_nothing(tmp_path: Path) -> None:
    medium = Medium(tmp_path / "medium").write()
    steps = 0
    while True:
        steps += 1
        own = tmp_path / str(steps) / "models"
        here = shelf(own, medium.digest())
        bring(medium, here)
        model = here.removable(Which("tiny"), "")
        if not killed_at(steps, lambda here=here, model=model: installed.remove(model) and None):  # type: ignore[misc]
            break
        lines = here.models().models
        assert not lines or lines[0].state is ModelState.READY, f"step {steps}"
        bring(medium, here)
        assert here.choose().digest == medium.digest()
        assert not list(own.glob(".*")), f"step {steps}: something is left"
    assert steps > 3
