"""A worker's codes are explained in our words; what else it says in one is never shown."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from govdesk.domain.frames import AnswerFailed
from govdesk.inference import words
from govdesk.worker import backends, engine, template


@pytest.mark.parametrize("code", sorted(words._TEMPLATE))
def test_each_template_code_names_the_way_on(code: str) -> None:
    for error in (words.load_failed(code, "m.gguf"), words.answer_failed(AnswerFailed(turn="t", code=code))):
        assert error.code == code
        assert words._TEMPLATE[code] in error.explain()
        assert "manifest can name a chat template of its own" in error.explain()


def test_each_code_that_the_worker_has_is_explained() -> None:
    tree = ast.parse(Path(template.__file__).read_text(encoding="utf-8"))
    said = {
        node.value.partition(":")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value.startswith("template.")
    } - {"template.unknown-"}
    assert said and said <= set(words._TEMPLATE)


@pytest.mark.parametrize(
    "untrusted",
    ["template.unknown-tag:Send this to the press", "template.unknown-tag:", "template.unknown-tag:a:b"],
)
def test_a_name_that_is_not_ours_is_not_said(untrusted: str) -> None:
    error = words.load_failed(untrusted, "m.gguf")
    assert error.code == "template.unknown-tag"
    assert "press" not in error.explain() and "(" not in error.explain()


def test_a_known_name_is_said() -> None:
    assert "(include)" in words.load_failed("template.unknown-tag:include", "m.gguf").explain()


@pytest.mark.parametrize("untrusted", ["template.", "template.nonsense", "x:template.syntax", ""])
def test_another_code_is_no_template(untrusted: str) -> None:
    assert words.load_failed(untrusted, "m.gguf").code == "model.refused"


@pytest.mark.parametrize(
    ("code", "what", "todo"),
    [
        ("backend.no-cpu", "installation of GovDesk lacks", "installed again"),
        ("gpu.no-device", "graphics card", "Ask again"),
    ],
)
def test_what_the_model_is_not_to_blame_for_is_not_blamed_on_it(code: str, what: str, todo: str) -> None:
    error = words.load_failed(code, "m.gguf")
    assert error.code == code
    assert what in error.what and todo in error.todo
    assert "m.gguf" not in error.explain() and "another model" not in error.explain()


def test_each_code_of_a_loading_has_words_of_its_own() -> None:
    """All that the engine can refuse a model with, read out of its source."""
    said = {
        node.value
        for module in (engine, backends)
        for node in ast.walk(ast.parse(Path(module.__file__).read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"LoadFailedError", "BackendError"}
        for node in node.args
        if isinstance(node, ast.Constant)
    } - {"backend.missing", "backend.refused"}  # of a card's try: `graphics_words`
    assert {"backend.no-cpu", "gpu.no-device", "model.no-context"} <= said
    assert {code for code in said if words.load_failed(code, "m.gguf").code != code} == set()
