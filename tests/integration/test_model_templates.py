"""A model whose template cannot be used is explained, and the manifest's own template is the way on."""

from __future__ import annotations

import hashlib
import signal

import msgspec
import pytest

from govdesk.domain.frames import AnswerDone, Loaded, LoadFailed
from govdesk.inference import failures, words
from tests.tiny_models import TEMPLATE, tiny_bytes
from tests.tiny_worker import SMALL, TinyWorker

_OWN = "{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}"


@pytest.mark.parametrize(
    ("template", "code", "said"),
    [
        (None, "template.missing", "has no chat template"),
        (
            "{% trans %}x{% endtrans %}",
            "template.unknown-tag:trans",
            "a tag that GovDesk does not know (trans)",
        ),
        ("{{ 1|pprint }}", "template.unknown-filter:pprint", "a filter that GovDesk does not know (pprint)"),
        ("{% for %}", "template.syntax", "is not valid"),
    ],
    ids=["none", "tag", "filter", "syntax"],
)
def test_it_is_explained_and_another_template_takes_its_place(
    template: str | None, code: str, said: str
) -> None:
    content = tiny_bytes("qwen2", template=template)
    worker = TinyWorker(content)
    try:
        assert worker.loaded == LoadFailed(code=code)
    finally:
        worker.stop()
    error = words.load_failed(code, "tiny.gguf")
    assert said in error.explain() and "manifest can name a chat template" in error.explain()
    worker = TinyWorker(content, order=msgspec.structs.replace(SMALL, template=_OWN))
    try:
        assert isinstance(worker.loaded, Loaded)
        assert worker.loaded.template_sha384 == hashlib.sha384(_OWN.encode()).hexdigest()
        _, done = worker.ask([("user", "Q1?")], max_tokens=2)
        assert isinstance(done, AnswerDone) and done.prompt_tokens == 2 + len("Q1?")
    finally:
        worker.stop()


def test_a_template_that_hears_no_alarm_ends_the_worker_and_is_explained() -> None:
    """Comparing lists that hold each other's copies is one step in native code, of 2 to the power of 60."""
    template = (
        "{% set ns = namespace(x=[1], y=[1]) %}"
        "{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}"
        "{{ ns.x == ns.y }}" + _OWN
    )
    worker = TinyWorker(tiny_bytes("qwen2", template=template))
    try:
        assert worker.loaded is None
        end = worker.broker.worker_end(60.0)
        assert end is not None and end.signal == signal.SIGPROF
    finally:
        worker.stop()
    error = failures.ended(end)
    assert error.code == "worker.template"
    assert "chat template" in error.what and "manifest can name a chat template" in error.todo


def test_the_files_own_template_is_used_and_named_without_another() -> None:
    worker = TinyWorker(tiny_bytes("qwen2", template=TEMPLATE))
    try:
        assert isinstance(worker.loaded, Loaded)
        assert worker.loaded.template_sha384 == hashlib.sha384(TEMPLATE.encode()).hexdigest()
    finally:
        worker.stop()


@pytest.mark.parametrize(
    "bos", ["", "{{ bos_token }}", "{{ bos_token }}{{ bos_token }}", "<|begin_of_text|>"]
)
def test_a_prompt_begins_with_one_bos(bos: str) -> None:
    worker = TinyWorker(tiny_bytes("llama-bpe", template=bos + "{{ messages[0].content }}<|eot_id|>"))
    try:
        _, done = worker.ask([("user", "Q1?")], max_tokens=1)
        assert isinstance(done, AnswerDone) and done.prompt_tokens == 1 + len("Q1?") + 1
    finally:
        worker.stop()
