"""What client and daemon need of a channel; `govdesk.process.channel.Channel` has it."""

from __future__ import annotations

from typing import Protocol, TypeVar

import msgspec

from govdesk.domain.frames import FromAudit, ToAudit

_InT_co = TypeVar("_InT_co", covariant=True)


class Channel(Protocol[_InT_co]):
    """One end."""

    def receive(self, timeout_seconds: float | None = None) -> tuple[_InT_co, list[int]] | None:
        """The next frame with the descriptors on it; None when the other end closed.

        Raises:
            TimeoutError: nothing arrived in time.
            FrameError: the other end sent something else than a frame.
        """
        ...

    def readable(self, timeout_seconds: float | None = 0.0) -> bool:
        """True when a frame, or the end, is there to be received."""
        ...

    def send(self, frame: msgspec.Struct, descriptors: tuple[int, ...] = ()) -> None:
        """Send one frame.

        Raises:
            OSError: the other end is gone.
            FrameError: the frame is too large.
        """
        ...


ToWriter = Channel[FromAudit]
"""The session's end."""
ToSession = Channel[ToAudit]
"""The writer's end."""
