"""How long the trusted side waits for a worker, in seconds; who is silent for longer is taken for hung.

Looked up where they are used, at each use.
"""

from __future__ import annotations

START_SECONDS = 20.0
"""From the start of its process to its first frame."""
LOAD_SECONDS = 120.0
PROBE_SECONDS = 30.0
"""Longest a graphics driver may take to start and to multiply two small matrices."""
STOP_SECONDS = 3.0
"""The broker's ladder takes less."""
SILENCE_SECONDS = 120.0
"""Longest the worker may say nothing while it answers: one batch of a prompt on a slow machine."""
CANCEL_SECONDS = 2.0
"""A cancelled worker that still has not ended its answer after this is stopped."""
