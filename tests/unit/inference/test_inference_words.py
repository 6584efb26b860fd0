"""A worker's codes are explained in our words; what else it says in one is never shown."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from govdesk.domain.frames import AnswerFailed
from govdesk.inference import words
from govdesk.worker import template


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
