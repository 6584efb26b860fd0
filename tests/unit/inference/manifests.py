"""Signed manifests for tests: the embedded model's, changed as told, signed by a key of the tests' own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from govdesk import config, crypto
from govdesk.errors import ModelError
from govdesk.inference.manifest import MANIFEST_CONTEXT, signature_path

ORIGINAL = (config.MODELS / "smollm2-135m-instruct.toml").read_text()
PRIVATE, PUBLIC = crypto.new_signing_key()
TRUST = (PUBLIC,)


def sign(path: Path, private: str = PRIVATE, context: bytes = MANIFEST_CONTEXT) -> None:
    """Sign a manifest as it stands."""
    signature_path(path).write_bytes(crypto.sign(private, path.read_bytes(), context=context))


def write(
    folder: Path,
    name: str = "model",
    *changes: tuple[str, str],
    context: bytes = MANIFEST_CONTEXT,
    text: str = ORIGINAL,
) -> Path:
    """Write a manifest and a signature that checks."""
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    path = folder / f"{name}.toml"
    path.write_text(text)
    sign(path, context=context)
    return path


def refused(act: Callable[[], object]) -> ModelError:
    """What was raised."""
    with pytest.raises(ModelError) as caught:
        act()
    return caught.value
