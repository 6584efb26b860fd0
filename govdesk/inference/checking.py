"""Whether installed files still have the bytes that were signed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from govdesk import crypto
from govdesk.domain.models import Verified, Watch
from govdesk.errors import ModelError
from govdesk.inference.importing import PIECE_BYTES, Progress
from govdesk.inference.manifest import ModelFile
from govdesk.inference.store import Model, open_regular


def check(models: tuple[Model, ...], watch: Watch, stopped: Callable[[], bool]) -> tuple[Verified, ...]:
    """Read every file of these variants, and compare.

    Raises:
        ImportStopped: it was stopped.
    """
    files = [(path, part) for m in models for path, part in zip(m.paths, m.variant.files, strict=True)]
    progress = Progress(watch, stopped, sum(part.bytes for _, part in files), kept="Nothing was changed.")
    return tuple(_verified(path, part, progress) for path, part in files)


def _verified(path: Path, part: ModelFile, progress: Progress) -> Verified:
    try:
        descriptor = open_regular(path, part)
    except ModelError as error:
        return Verified(str(path), sound=False, why=error.what)
    digest = crypto.Sha384()
    with os.fdopen(descriptor, "rb") as file:
        try:
            while piece := file.read(PIECE_BYTES):
                digest.update(piece)
                progress.add("checking", part.file, len(piece))
        except OSError as error:
            return Verified(str(path), sound=False, why=f"It cannot be read: {error.strerror}.")
    if digest.hexdigest() != part.sha384:
        return Verified(str(path), sound=False, why="It does not have the bytes that were signed.")
    return Verified(str(path), sound=True, why="")
