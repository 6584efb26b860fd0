"""Frames on a channel: a 4-byte big-endian length, then one MessagePack value, decoded strictly and bounded.

Pure: bytes in, values out, no I/O. A length over the limit, an unknown type, an unknown or missing
key or a trailing byte is a `FrameError`; the caller stops the sender.
"""

from __future__ import annotations

import struct
from typing import Generic, TypeVar

import msgspec

from govdesk.errors import FrameError

MAX_FRAME_BYTES = 8 * 1024 * 1024
"""Largest payload either side accepts. A prompt of 2 MB and a history of several fit."""

_LENGTH = struct.Struct(">I")
_T = TypeVar("_T")


def encode(frame: msgspec.Struct) -> bytes:
    """One frame as bytes.

    Raises:
        FrameError: the frame is larger than `MAX_FRAME_BYTES`.
    """
    payload = msgspec.msgpack.encode(frame)
    if len(payload) > MAX_FRAME_BYTES:
        raise FrameError(
            f"A message between two parts would have {len(payload)} bytes; the limit is {MAX_FRAME_BYTES}.",
            code="frame.too-large",
        )
    return _LENGTH.pack(len(payload)) + payload


class FrameDecoder(Generic[_T]):
    """Turns a byte stream into frames of one closed set of types.

    Args:
        frame_type: a Struct, or a union of tagged Structs.
        max_bytes: payload limit for this channel.
    """

    def __init__(self, frame_type: object, max_bytes: int = MAX_FRAME_BYTES) -> None:
        self._decoder: msgspec.msgpack.Decoder[_T] = msgspec.msgpack.Decoder(frame_type)
        self._buffer = bytearray()
        self._max_bytes = max_bytes

    @property
    def partial(self) -> bool:
        """True when bytes of an unfinished frame are held: the end of the stream here is a cut."""
        return bool(self._buffer)

    def feed(self, untrusted_bytes: bytes) -> list[_T]:
        """Take bytes; return the frames they complete, in order.

        Raises:
            FrameError: not a frame of this channel; nothing after it may be believed.
        """
        self._buffer += untrusted_bytes
        frames: list[_T] = []
        offset = 0
        while len(self._buffer) - offset >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer, offset)
            if length > self._max_bytes:
                raise FrameError(
                    f"A part announced a message of {length} bytes; the limit is {self._max_bytes}.",
                    code="frame.too-large",
                )
            end = offset + _LENGTH.size + length
            if len(self._buffer) < end:
                break
            payload = bytes(self._buffer[offset + _LENGTH.size : end])
            offset = end
            try:
                frames.append(self._decoder.decode(payload))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                raise FrameError(
                    "A part of GovDesk sent a message of a wrong shape.", code="frame.wrong-type"
                ) from None
        del self._buffer[:offset]
        return frames

    def end(self) -> None:
        """The stream ended.

        Raises:
            FrameError: it ended inside a frame.
        """
        if self._buffer:
            raise FrameError("A part of GovDesk stopped in the middle of a message.", code="frame.cut")
