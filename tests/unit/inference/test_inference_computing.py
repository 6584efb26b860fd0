"""What a worker says of its library goes before people in plain words, or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from govdesk.domain.frames import FlashAttention, Loaded, ReadDone
from govdesk.inference import computing
from govdesk.inference.computing import Computing
from tests.unit.inference.test_inference_supervisor import Line
from tests.unit.inference.workers import TEMPLATE, Worker


def loaded(processor: str, *features: str, flash: FlashAttention = "on") -> Loaded:
    return Loaded(
        context_tokens=64,
        template_sha384=TEMPLATE,
        processor=processor,
        features=features,
        flash_attention=flash,
    )


def told(found: Computing) -> dict[str, tuple[bool, str]]:
    return {finding.id: (finding.ok, finding.found) for finding in computing.findings(found)}


def test_the_variant_and_what_it_uses_are_told() -> None:
    words = told(computing.of(loaded("zen4", "AVX2", "AVX512_BF16")))
    assert words["compute.build"] == (
        True,
        "llama.cpp's variant zen4, the fastest that loads here; uses AVX2, AVX512_BF16",
    )
    native = told(computing.of(loaded("native", "AVX2")))["compute.build"][1]
    assert native == "llama.cpp built for this processor; uses AVX2"
    assert "does not say which" in told(computing.of(loaded("")))["compute.build"][1]


@pytest.mark.parametrize(
    ("flash", "ok", "words"),
    [
        ("on", True, "is used"),
        ("off", False, "is not used"),
        ("auto", True, "asked for"),
        ("", True, "not say"),
    ],
)
def test_flash_attention_is_told_with_how_much_is_known(flash: FlashAttention, ok: bool, words: str) -> None:
    found = told(computing.of(loaded("native", flash=flash)))["compute.attention"]
    assert found[0] is ok
    assert words in found[1]


def test_what_is_not_plain_is_left_out() -> None:
    said = computing.of(loaded("\x1b[2J", "AVX2", "avx\n", "\u202eX", "A" * 64))
    assert said == Computing(variant="", features=("AVX2",), flash_attention="on")
    done = ReadDone(turn="t", prompt_tokens=0, reused_tokens=0, read_tokens=0)
    assert computing.of(done) == Computing()


def test_it_is_told_while_a_model_is_loaded_and_no_longer(tmp_path: Path) -> None:
    def script(worker: Worker) -> None:
        worker.hello()
        worker.channel.receive(10)
        worker.send(loaded("haswell", "FMA"))
        worker.until_closed()

    line = Line(tmp_path, script)
    assert line.supervisor.computing is None
    assert computing.findings(None) == ()
    line.supervisor.model()
    assert line.supervisor.computing == Computing("haswell", ("FMA",), "on")
    line.supervisor.stop()
    assert line.supervisor.computing is None
