"""Which layers go to which graphics device: as many as their free memory holds, the rest to the processor.

Pure: sizes and devices in, a placement out. The devices are what an untrusted worker says: whatever it says,
the result is a placement of this model's layers, at worst one that does not load and is replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from govdesk.domain.frames import Device, DeviceKind, LoadModel
from govdesk.inference.gguf import GgufFacts

_MIB = 1024 * 1024
SPARE_BYTES = 256 * _MIB
"""Stays free on every device: the driver's own, and the display's where one device does both."""
SCRATCH_BYTES = 64 * _MIB
"""For what a batch computes with, before the logits are counted."""
_KV_BYTES = {"f16": 2.0, "f32": 4.0, "q8_0": 34 / 32, "q4_0": 18 / 32}
"""Bytes of one value of the context's keys and values."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a model takes on a device, in bytes.

    Args:
        layers: weights of each layer with what the context keeps for it.
        output: the last matrix.
        scratch: for computing, once per device.
    """

    layers: tuple[int, ...]
    output: int
    scratch: int

    @property
    def total(self) -> int:
        """All of it, on one device."""
        return sum(self.layers) + self.output + self.scratch


@dataclass(frozen=True, slots=True)
class Share:
    """How many of the last layers a device takes; the output counts as one."""

    device: Device
    layers: int


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the layers go.

    Args:
        shares: in the devices' order; empty: all to the processor.
        layers: how many layers the model has, without the output.
        needed_bytes: what all of it would take on one device.
    """

    shares: tuple[Share, ...]
    layers: int
    needed_bytes: int

    @property
    def placed(self) -> int:
        """Layers on graphics devices, without the output."""
        return max(sum(share.layers for share in self.shares) - 1, 0)


def sizes(facts: GgufFacts, order: LoadModel) -> Sizes:
    """What the examined model takes, loaded like this.

    Layers are taken as equal: they are, but for a few formats that mix two sizes of weights.
    """
    shape = facts.shape
    matrix = facts.token_table_bytes
    outside = matrix if facts.tied else 2 * matrix
    weights = max(facts.weights_bytes - outside, 0) // shape.layers
    values = shape.heads_kv * (shape.key_length + shape.value_length) * order.context_tokens
    context = int(values * _KV_BYTES.get(order.kv, 4.0))
    logits = order.micro_batch_tokens * (facts.vocabulary + 4 * shape.embedding + shape.feed_forward) * 4
    return Sizes((weights + context,) * shape.layers, matrix, SCRATCH_BYTES + logits)


def place(needs: Sizes, devices: Sequence[Device]) -> Placement:
    """Give each device what fits: cards before the machine's own graphics, those with more free memory first.

    The last layers go to devices, the output with the very last; the first layers stay with the processor. A
    model that fits one device is not split, for every split waits for the other half.

    Args:
        needs: the model's sizes.
        devices: what there is.
    """
    cards = [device for device in devices if device.kind is DeviceKind.GPU]
    usable = sorted(cards or devices, key=lambda device: -_room(device))
    whole = next((device for device in reversed(usable) if _room(device) >= needs.total), None)
    layers = len(needs.layers)
    if whole is not None:
        return Placement((Share(whole, layers + 1),), layers, needs.total)
    # from the last layer to the first, so that what is left over is the beginning
    costs = [needs.output + needs.layers[-1], *reversed(needs.layers[:-1])] if layers else []
    counts: list[int] = []
    at = 0
    for device in usable:
        room, first = _room(device) - needs.scratch, at
        while at < len(costs) and costs[at] <= room:
            room -= costs[at]
            at += 1
        counts.append(at - first)
    filled = [(device, count) for device, count in zip(usable, counts, strict=True) if count]
    if not filled:
        return Placement((), layers, needs.total)
    filled.reverse()  # the library fills devices from the first of the placed layers to the output
    last_device, last_count = filled[-1]
    filled[-1] = (last_device, last_count + 1)
    return Placement(tuple(Share(device, count) for device, count in filled), layers, needs.total)


def _room(device: Device) -> int:
    return max(min(device.free_bytes, device.memory_bytes) - SPARE_BYTES, 0)
