"""A prompt is read in parts that take about a second each on this machine now.

Between two parts the worker says how far it is, and looks at what else the machine does. A part that takes
minutes would be silence, which the trusted side takes for a hang. So the first part that is read with a
model is small, and from then on the speed of the last one says how large the next may be: a fast machine
reads whole batches from the second part on. What was found holds for the next prompt as well.

No part is smaller than what is computed as in any larger batch, so the sizes change no answer
(`govdesk.worker.sequences`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator

from govdesk.domain.frames import PromptProgress
from govdesk.worker.aside import Sequence
from govdesk.worker.decoding import ABORTED, Run
from govdesk.worker.sequences import MANY_TOKENS, OK, Sequences, stretch

PART_SECONDS = 1.5
"""About so long a part may take; a stop is heard inside it."""
DEVICE_PART_SECONDS = 0.5
"""The same where a device computes: nothing is heard inside a part there."""


class Reader:
    """Reads prompts in a context's sequence; knows how fast that goes.

    Args:
        sequences: the context's.
        batch_tokens: most tokens of one part.
        on_devices: a graphics device computes, and the library does not wait for it.
        clock: seconds.
    """

    def __init__(
        self,
        sequences: Sequences,
        batch_tokens: int,
        *,
        on_devices: bool,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._sequences = sequences
        self._batch_tokens = batch_tokens
        self._on_devices = on_devices
        self._clock = clock
        self._most = min(MANY_TOKENS, batch_tokens)

    def read(
        self,
        turn: str,
        sequence: Sequence,
        tokens: tuple[int, ...],
        run: Run,
        stop: Callable[[], bool],
        most: int | None = None,
    ) -> Generator[PromptProgress, None, str]:
        """Read what the sequence does not hold yet of a prompt; `ok`, `cancelled` or `decode.failed`.

        Args:
            turn: whose prompt it is.
            sequence: holds the beginning of it.
            tokens: the whole prompt.
            run: counts what is read.
            stop: asked after each part.
            most: tokens of a part, where less than a batch is wanted.
        """
        yield PromptProgress(turn=turn, done_tokens=len(sequence.tokens), total_tokens=len(tokens))
        limit = min(most or self._batch_tokens, self._batch_tokens)
        while (start := len(sequence.tokens)) < len(tokens):
            part = tokens[start : start + stretch(start, len(tokens), min(self._most, limit), limit)]
            last = start + len(part) == len(tokens)
            result = self._part(sequence, part, last=last)
            self._sequences.was_told(sequence, whole=last)
            run.read_tokens += max(0, len(sequence.tokens) - start)
            if result == ABORTED or (result == OK and stop()):
                return "cancelled"
            if result != OK:
                return "decode.failed"
            yield PromptProgress(
                turn=turn,
                done_tokens=len(sequence.tokens),
                total_tokens=len(tokens),
                threads=run.reading_threads[0],
                most_threads=run.reading_threads[1],
            )
        return "ok"

    def _part(self, sequence: Sequence, part: tuple[int, ...], *, last: bool) -> int:
        """Read one part, and learn from it when it was large enough to say anything."""
        began = self._clock()
        result = self._sequences.read(sequence, part, logits=last)
        if self._on_devices and len(part) < self._batch_tokens:
            self._sequences.wait()  # whole batches are fast enough, and the library may run ahead with them
        if result == OK and len(part) >= MANY_TOKENS:
            target = DEVICE_PART_SECONDS if self._on_devices else PART_SECONDS
            seconds = max(self._clock() - began, 1e-6)
            fitting = round(len(part) * target / seconds)
            self._most = min(self._batch_tokens, max(MANY_TOKENS, fitting))
        return result
