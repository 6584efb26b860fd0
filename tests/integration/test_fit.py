"""What is said of a model's memory before loading is what the worker then takes, within 15 %."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from govdesk import config
from govdesk.domain.frames import LoadModel
from govdesk.inference import fit
from govdesk.inference.formats import repacked_formats, this_cpu
from tests.quantizing import quantized
from tests.worker_memory import facts_of, growth_bytes

WITHIN = 0.15
_REPACKED = repacked_formats(this_cpu())


@pytest.mark.parametrize(
    ("name", "context_tokens", "kv", "batch_tokens"),
    [
        ("smollm2-135m-instruct", 1024, "f16", 512),
        ("smollm2-135m-instruct", 8192, "f16", 512),
        ("smollm2-135m-instruct", 8192, "q8_0", 128),
        ("gemma-3-270m", 1024, "f16", 512),
        ("gemma-3-270m", 16384, "f16", 128),
        ("gemma-3-270m", 16384, "q8_0", 512),
    ],
)
@pytest.mark.parametrize("weights", ["mapped", "own"])
def test_the_memory_that_is_predicted_is_taken(
    name: str, context_tokens: int, kv: fit.Kv, batch_tokens: int, weights: Literal["mapped", "own"]
) -> None:
    path = config.MODELS / f"{name}.gguf"
    if not path.exists():
        pytest.skip(f"{name} is not here: `make gemma` obtains it")
    _compare(path, context_tokens, kv, batch_tokens, weights)


@pytest.fixture(scope="module")
def repacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded model in the format that most processors keep in an order of their own."""
    source = config.MODELS / "smollm2-135m-instruct.gguf"
    return quantized(source, tmp_path_factory.mktemp("repacked"), "Q4_0")


@pytest.mark.parametrize("weights", ["mapped", "own"])
def test_the_memory_of_what_is_repacked_is_taken(repacked: Path, weights: Literal["mapped", "own"]) -> None:
    assert {use.name for use in facts_of(repacked).formats} >= {"Q4_0"}
    _compare(repacked, 1024, "f16", 128, weights)


def _compare(
    path: Path, context_tokens: int, kv: fit.Kv, batch_tokens: int, weights: Literal["mapped", "own"]
) -> None:
    settings = fit.Settings(context_tokens, kv, batch_tokens, own_weights=weights == "own")
    predicted = fit.memory(facts_of(path), settings, _REPACKED).loaded
    order = LoadModel(
        context_tokens=context_tokens,
        threads=2,
        batch_tokens=batch_tokens,
        micro_batch_tokens=batch_tokens,
        weights=weights,
        kv=kv,
    )
    measured = growth_bytes(path, order)
    print(f"{predicted / 2**20:.1f} MiB predicted, {measured / 2**20:.1f} MiB taken")
    assert abs(predicted - measured) <= WITHIN * measured
