"""What the native library is made of, as one digest: what was measured with another one does not count."""

from __future__ import annotations

import contextlib
import sysconfig
from functools import cache
from pathlib import Path

from govdesk import crypto

_BLOCK_BYTES = 1024 * 1024


@cache
def build() -> str:
    """Of the installation's library; its files are read when it is asked for first, and then never again."""
    return digest(Path(sysconfig.get_path("platlib")) / "llama_cpp" / "lib")


def digest(folder: Path) -> str:
    """SHA-384 over a folder's libraries, in order of their names; of a link only where it points."""
    made = crypto.Sha384()
    with contextlib.suppress(OSError):
        for file in sorted(folder.glob("*.so*")):
            if file.is_symlink():
                made.update(f"{file.name} -> {file.readlink()}\n".encode())
            elif file.is_file():
                made.update(f"{file.name} {file.stat().st_size}\n".encode())
                with file.open("rb") as opened:
                    while block := opened.read(_BLOCK_BYTES):
                        made.update(block)
    return made.hexdigest()
