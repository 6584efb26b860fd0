"""Where the order's layers go, in the words that llama.cpp takes it in; no device is needed to say it."""

from __future__ import annotations

import ctypes

import pytest
from llama_cpp import llama_cpp as lib

from govdesk.domain.frames import LoadModel
from govdesk.worker import engine

HANDLES = {"CUDA0": 0x7F00_1000_0000, "CUDA1": 0x7F00_2000_0000}


@pytest.fixture(autouse=True)
def handles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two devices, by handles that do not fit into 32 bits."""

    def found(names: tuple[str, ...]) -> tuple[int, ...] | None:
        known = set(names) <= set(HANDLES)
        return tuple(HANDLES[name] for name in names) if known else None

    monkeypatch.setattr(engine.devices, "handles", found)


def placed(
    devices: tuple[str, ...], layers: tuple[int, ...]
) -> tuple[lib.llama_model_params, tuple[object, ...]]:
    parameters = lib.llama_model_default_params()
    order = LoadModel(context_tokens=64, threads=1, devices=devices, device_layers=layers)
    return parameters, engine._place(parameters, order)


def listed(parameters: lib.llama_model_params, count: int) -> list[int | None]:
    return list(ctypes.cast(parameters.devices, ctypes.POINTER(ctypes.c_void_p * count)).contents)


def test_two_devices_get_their_layers_in_the_orders_order() -> None:
    parameters, held = placed(("CUDA1", "CUDA0"), (3, 5))
    assert parameters.n_gpu_layers == 8
    assert listed(parameters, 3) == [HANDLES["CUDA1"], HANDLES["CUDA0"], None], "ended by NULL"
    most = max(lib.llama_max_devices(), 2)  # the library reads so many, whatever is listed
    assert [parameters.tensor_split[at] for at in range(most)] == [3.0, 5.0] + [0.0] * (most - 2)
    assert len(held) == 2, "what the parameters point to lives as long as the loading"


def test_without_devices_the_processor_computes_alone() -> None:
    """An empty list, not no list: without one the library takes every device that it finds."""
    parameters, held = placed((), ())
    assert parameters.n_gpu_layers == 0
    assert parameters.devices
    assert listed(parameters, 1) == [None]
    assert not parameters.tensor_split
    assert held


@pytest.mark.parametrize(
    ("devices", "layers"),
    [(("CUDA0", "CUDA7"), (3, 5)), (("CUDA0",), ()), (("CUDA0",), (3, 5)), ((), (3,))],
)
def test_a_device_that_is_gone_or_an_order_that_does_not_fit_itself_loads_nothing(
    devices: tuple[str, ...], layers: tuple[int, ...]
) -> None:
    with pytest.raises(engine.LoadFailedError) as caught:
        placed(devices, layers)
    assert caught.value.code == "gpu.no-device"
