"""What a real worker's memory grows by when it loads a model and reads a whole micro-batch."""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path

from govdesk.domain.frames import Loaded, LoadModel
from govdesk.inference import gguf
from govdesk.inference.gguf import GgufFacts
from tests import gguf_files
from tests.tiny_models import TEMPLATE
from tests.tiny_worker import TinyWorker, sealed

WORDS = "one two three four five six seven eight nine ten and so on until there is no more to be said. "


def facts_of(path: Path) -> GgufFacts:
    """What the file says."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return gguf.examine([descriptor], path.name)
    finally:
        os.close(descriptor)


def growth_bytes(path: Path, order: LoadModel) -> int:
    """Private memory that came with the model, and the model's own bytes once.

    The sealed copy and its mapping are the same pages, so the file's size stands for both. A worker with weights
    of its own has them in its private memory, and the sealed copy is gone.
    """
    content = usable_bytes(path)
    worker = TinyWorker(order=None)
    try:
        before = _private(worker)
        descriptor = sealed(content)
        try:
            worker.channel.send(order, (descriptor,))
        finally:
            os.close(descriptor)
        assert isinstance(worker.next(), Loaded)
        repeats = 2 + order.batch_tokens // 16
        worker.ask([("user", WORDS * repeats)], max_tokens=8)
        mapped = len(content) if order.weights == "mapped" else 0
        return _private(worker) - before + mapped
    finally:
        worker.stop()


def usable_bytes(path: Path) -> bytes:
    """The model's bytes; one that has no chat template gets one, as long as a row of the alignment."""
    content = path.read_bytes()
    if facts_of(path).chat_template is not None:
        return content
    key = "tokenizer.chat_template"
    bare = gguf_files.string(key) + gguf_files.encode_value(TEMPLATE)
    template = TEMPLATE + " " * (-len(bare) % gguf_files.ALIGNMENT)
    added = gguf_files.string(key) + gguf_files.encode_value(template)
    (keys,) = struct.unpack_from("<Q", content, 16)
    return content[:16] + struct.pack("<Q", keys + 1) + added + content[24:]


def _private(worker: TinyWorker) -> int:
    """RssAnon of the worker's process in bytes."""
    assert worker.broker.process is not None
    status = Path(f"/proc/{worker.broker.process.pid}/status").read_text(encoding="ascii")
    found = re.search(r"^RssAnon:\s+(\d+) kB$", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
