"""What is said of a model's template: whose it is, whether it was looked at, and no more than is bounded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from govdesk.domain import model_text
from govdesk.domain.model_text import template_lines, template_words
from govdesk.domain.models import ModelDetails, ModelState
from tests.fakes import model_line

DETAILS = ModelDetails(model_line(), "42" * 48, None, "a\nb", True, "", ())


@pytest.mark.parametrize(
    ("state", "own", "file", "signed", "problem", "words"),
    [
        (ModelState.READY, None, "f", True, "", "the file's, as signed"),
        (ModelState.READY, None, None, True, "", "none, as signed"),
        (ModelState.READY, None, "f", False, "", "NOT the one that was signed"),
        (ModelState.READY, None, None, False, "", "NOT the one that was signed"),
        (ModelState.MISSING, None, None, None, "", "not looked at: the file is missing"),
        (ModelState.DAMAGED, None, None, None, "Cut.", "not looked at: the file was refused"),
        (ModelState.READY, "m", None, True, "", "the manifest's own; the file has none"),
        (ModelState.MISSING, "m", None, True, "", "the manifest's own; the file was not looked at"),
        (ModelState.READY, "m", "m", True, "", "the manifest's own"),
        (
            ModelState.READY,
            "m",
            "f",
            True,
            "",
            "the manifest's own, in place of the file's; they differ as below",
        ),
    ],
)
def test_whose_template_it_is(
    state: ModelState, own: str | None, file: str | None, signed: bool | None, problem: str, words: str
) -> None:
    details = ModelDetails(model_line(state=state), "42" * 48, own, file, signed, problem, ())
    assert template_words(details) == words


def test_the_template_or_what_differs() -> None:
    assert template_lines(DETAILS) == ["a", "b"]
    assert template_lines(replace(DETAILS, manifest_template="a\nb")) == ["a", "b"]
    assert template_lines(replace(DETAILS, untrusted_file_template=None)) == []
    differ = template_lines(replace(DETAILS, manifest_template="a\nc"))
    assert differ == ["--- the file's", "+++ the manifest's", "@@ -1,2 +1,2 @@", " a", "-b", "+c"]


def test_a_hostile_template_is_bounded_in_lines_in_letters_and_in_what_is_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[int] = []
    real = model_text.difflib.unified_diff

    def noted(a: list[str], b: list[str], *names: str, **rest: str) -> object:
        compared.extend((len(a), len(b)))
        return real(a, b, *names, **rest)

    monkeypatch.setattr(model_text.difflib, "unified_diff", noted)
    many = "\n".join(str(number) for number in range(200_000))
    lines = template_lines(replace(DETAILS, manifest_template="x\n" + many, untrusted_file_template=many))
    assert max(compared) <= model_text.MAX_LINES + 1
    assert len(lines) <= model_text.MAX_LINES + 1
    (more,) = [line for line in lines if line.startswith("-…")]
    assert more == "-… 199,600 more lines, not compared"
    shown = template_lines(replace(DETAILS, untrusted_file_template=many))
    assert shown[-1] == "… 199,600 more lines"
    (long,) = template_lines(replace(DETAILS, untrusted_file_template="y" * 10**6))
    assert long.endswith("… 996,000 more characters")
    wide = template_lines(replace(DETAILS, untrusted_file_template="\n".join(["z" * 10**4] * 300)))
    assert sum(len(line) for line in wide) < 2 * model_text.MAX_CHARACTERS
    assert wide[-1].endswith("more lines")
