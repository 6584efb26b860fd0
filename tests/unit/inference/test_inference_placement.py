"""Layers go where there is room: one card before two, the end of the model before its beginning, or nowhere."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from govdesk.domain.frames import Device, DeviceKind, LoadModel
from govdesk.inference import gguf
from govdesk.inference.placement import SPARE_BYTES, Sizes, place, sizes
from tests.tiny_models import tiny_bytes

MIB = 1024 * 1024
NEEDS = Sizes(layers=(100 * MIB,) * 10, output=50 * MIB, scratch=20 * MIB)


def card(name: str, free: int, kind: DeviceKind = DeviceKind.GPU) -> Device:
    """A device with so many free bytes beyond what stays spare."""
    total = free + SPARE_BYTES
    return Device(name=name, title=name, kind=kind, backend="test", memory_bytes=total, free_bytes=total)


def shares(*devices: Device) -> list[tuple[str, int]]:
    return [(share.device.name, share.layers) for share in place(NEEDS, devices).shares]


def test_a_model_that_fits_goes_whole_to_one_card() -> None:
    assert shares(card("a", NEEDS.total)) == [("a", 11)]
    assert shares(card("a", 2 * NEEDS.total), card("b", NEEDS.total)) == [("b", 11)], "the smaller that fits"
    placed = place(NEEDS, (card("a", NEEDS.total),))
    assert (placed.placed, placed.layers) == (10, 10)


def test_the_last_layers_and_the_output_go_first() -> None:
    assert shares(card("a", NEEDS.total - 1)) == [("a", 10)]
    assert shares(card("a", 20 * MIB + 150 * MIB)) == [("a", 2)]
    assert place(NEEDS, (card("a", 170 * MIB),)).placed == 1, "the output is no layer"
    assert shares(card("a", 170 * MIB - 1)) == []


def test_several_cards_share_by_their_free_memory() -> None:
    found = shares(card("small", 320 * MIB), card("large", 770 * MIB))
    assert found == [("small", 3), ("large", 8)], "the output is with the last layers, on the last device"
    assert sum(count for _, count in found) == 11


def test_a_card_is_used_before_the_machines_own_graphics() -> None:
    own = card("own", 10 * NEEDS.total, DeviceKind.INTEGRATED)
    assert shares(own, card("card", NEEDS.total)) == [("card", 11)]
    assert shares(own) == [("own", 11)]


@pytest.mark.parametrize("devices", [(), (card("full", 0),), (card("a", 60 * MIB), card("b", 60 * MIB))])
def test_too_little_memory_places_nothing(devices: tuple[Device, ...]) -> None:
    placed = place(NEEDS, devices)
    assert placed.shares == ()
    assert placed.placed == 0
    assert placed.needed_bytes == NEEDS.total


@given(
    layers=st.lists(st.integers(0, 500 * MIB), min_size=1, max_size=40),
    output=st.integers(0, 500 * MIB),
    free=st.lists(st.integers(0, 2**36), max_size=16),
)
def test_no_device_gets_more_than_it_holds(layers: list[int], output: int, free: list[int]) -> None:
    needs = Sizes(tuple(layers), output, 20 * MIB)
    placed = place(needs, tuple(card(str(at), room) for at, room in enumerate(free)))
    count = sum(share.layers for share in placed.shares)
    assert count <= len(layers) + 1
    costs = [*layers, output][len(layers) + 1 - count :]
    for share in placed.shares:
        assert share.layers > 0
        taken, costs = costs[: share.layers], costs[share.layers :]
        assert sum(taken) + needs.scratch + SPARE_BYTES <= share.device.free_bytes
    assert costs == []


def test_a_device_that_lies_about_its_memory_gets_no_more_than_it_has() -> None:
    liar = replace_free(card("liar", 0), 2**47)
    assert shares(liar) == []


def replace_free(device: Device, free: int) -> Device:
    return Device(
        name=device.name, title=device.title, kind=device.kind, backend=device.backend,
        memory_bytes=device.memory_bytes, free_bytes=free,
    )  # fmt: skip


def test_sizes_are_those_of_the_examined_file() -> None:
    content = tiny_bytes("llama-spm")
    descriptor = os.memfd_create("tiny")
    os.write(descriptor, content)
    facts = gguf.examine((descriptor,), "tiny")
    os.close(descriptor)
    order = LoadModel(context_tokens=64, threads=1)
    found = sizes(facts, order)
    assert len(found.layers) == facts.shape.layers
    outside = facts.token_table_bytes if facts.tied else 2 * facts.token_table_bytes
    kv = facts.shape.heads_kv * (facts.shape.key_length + facts.shape.value_length) * 64 * 2
    assert sum(found.layers) == pytest.approx(
        facts.weights_bytes - outside + facts.shape.layers * kv, abs=facts.shape.layers
    )
    assert found.output == facts.token_table_bytes
    larger = sizes(facts, LoadModel(context_tokens=128, threads=1))
    assert sum(larger.layers) - sum(found.layers) == facts.shape.layers * kv
    small = sizes(facts, LoadModel(context_tokens=64, threads=1, kv="q8_0"))
    assert sum(small.layers) < sum(found.layers)
    untied = sizes(replace(facts, tied=not facts.tied), order)
    assert sum(untied.layers) != sum(found.layers)
