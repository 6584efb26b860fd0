"""How long the trusted side waits for a worker, in seconds; who is silent for longer is taken for hung.

Too short, and a slow but honest worker is ended in the middle of its work, again and again; too long, and a
hang is told late. Stop works meanwhile. Looked up at each use.
"""

from __future__ import annotations

from govdesk.domain.frames import GpuBackend

START_SECONDS = 20.0
"""From the start of its process to its first frame."""
PROBE_SECONDS = 60.0
"""For a graphics driver to start, to make its programs and to multiply two small matrices."""
STOP_SECONDS = 3.0
"""The broker's ladder takes less."""
LOAD_SECONDS = 120.0
"""For the smallest model; see `load_seconds`."""
LOAD_BYTES_PER_SECOND = 50 * 2**20
"""A copy that was swapped out comes back from a slow disk like this."""
SILENCE_SECONDS = 120.0
"""Longest between two frames of an answer, for the smallest model; see `silence_seconds`."""
PART_BYTES_PER_SECOND = 100 * 2**20
"""Of a model that is used for the smallest part of a prompt: slower than any machine that is of use."""
CANCEL_SECONDS = 5.0
"""For a cancelled answer to end: the longest that a chat template may take, and as much again and more."""
CANCEL_ON_CARD_SECONDS = 20.0
"""The same where a card computes: nothing is heard inside a part there, and the first part of all waits until
the driver has made its programs."""


def load_seconds(file_bytes: int) -> float:
    """Longest that the loading of a model may take."""
    return LOAD_SECONDS + file_bytes / LOAD_BYTES_PER_SECOND


def silence_seconds(file_bytes: int) -> float:
    """Longest that a worker may say nothing while it works with a model.

    It says how far it is after each part of a prompt; the first part is small and of the same size for every
    model, so what it takes grows with the model.
    """
    return SILENCE_SECONDS + file_bytes / PART_BYTES_PER_SECOND


def cancel_seconds(gpu: GpuBackend) -> float:
    """How long after its cancel a worker may go on."""
    return CANCEL_ON_CARD_SECONDS if gpu else CANCEL_SECONDS
