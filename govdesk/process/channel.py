"""A channel between two GovDesk processes: bounded, typed frames over one end of a socketpair.

It defends against the other end: what arrives is decoded strictly (`govdesk.wire`), descriptors
that were not expected are closed, and a peer that stops in the middle of a frame is an error.
"""

from __future__ import annotations

import array
import contextlib
import os
import select
import socket
import threading
from types import UnionType
from typing import Any, Generic, TypeVar

import msgspec

from govdesk import wire
from govdesk.errors import FrameError

_T = TypeVar("_T")
_RECEIVE_BYTES = 256 * 1024
MAX_DESCRIPTORS = 2
"""Most descriptors one frame may carry."""


class Channel(Generic[_T]):
    """One end of a socketpair. `send` may be called from any thread; `receive` from one at a time.

    Args:
        end: the connected AF_UNIX stream socket.
        incoming: the closed set of frame types the other end may send.
    """

    def __init__(self, end: socket.socket, incoming: type[msgspec.Struct] | UnionType) -> None:
        self._socket = end
        self._decoder: wire.FrameDecoder[_T] = wire.FrameDecoder(incoming)
        self._ready: list[_T] = []
        self._descriptors: list[int] = []
        self._sending = threading.Lock()
        end.setblocking(True)

    @classmethod
    def from_descriptor(cls, descriptor: int, incoming: type[msgspec.Struct] | UnionType) -> Channel[_T]:
        """Take over an inherited or received descriptor; it is closed on exec from here on."""
        os.set_inheritable(descriptor, False)
        return cls(socket.socket(fileno=descriptor), incoming)

    def fileno(self) -> int:
        """For polling."""
        return self._socket.fileno()

    def send(self, frame: msgspec.Struct, descriptors: tuple[int, ...] = ()) -> None:
        """Send one frame, with descriptors riding on its first byte (SCM_RIGHTS).

        Raises:
            OSError: the other end is gone (BrokenPipeError), or the frame could not be sent.
            FrameError: the frame is too large; nothing was sent.
        """
        untransmitted = memoryview(wire.encode(frame))
        ancillary: list[tuple[int, int, Any]] = []
        if descriptors:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        with self._sending:
            sent = self._socket.sendmsg([untransmitted], ancillary, socket.MSG_NOSIGNAL)
            while sent < len(untransmitted):
                untransmitted = untransmitted[sent:]
                sent = self._socket.send(untransmitted, socket.MSG_NOSIGNAL)

    def readable(self, timeout_seconds: float | None = 0.0) -> bool:
        """True when a frame is ready, or bytes (or the end) wait on the socket."""
        if self._ready:
            return True
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        return bool(poller.poll(None if timeout_seconds is None else max(0.0, timeout_seconds) * 1000))

    def receive(self, timeout_seconds: float | None = None) -> tuple[_T, list[int]] | None:
        """The next frame and the descriptors that rode on it (the caller owns them); None at the end.

        Raises:
            TimeoutError: nothing arrived in time.
            FrameError: the other end sent something else than a frame; stop it.
        """
        while not self._ready:
            if not self.readable(timeout_seconds):
                raise TimeoutError("nothing arrived in time")
            try:
                untrusted_bytes, ancillary, _, _ = self._socket.recvmsg(
                    _RECEIVE_BYTES,
                    socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize),
                    socket.MSG_CMSG_CLOEXEC,
                )
            except ConnectionResetError:
                untrusted_bytes, ancillary = b"", []
            self._take_descriptors(ancillary)
            if not untrusted_bytes:
                self._decoder.end()
                return None
            self._ready = self._decoder.feed(untrusted_bytes)
        frame = self._ready.pop(0)
        descriptors, self._descriptors = self._descriptors, []
        return frame, descriptors

    def _take_descriptors(self, ancillary: list[tuple[int, int, bytes]]) -> None:
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received = array.array("i")
                received.frombytes(data[: len(data) - len(data) % received.itemsize])
                self._descriptors.extend(received)
        if len(self._descriptors) > MAX_DESCRIPTORS:
            close_all(self._descriptors)
            self._descriptors = []
            raise FrameError("A part of GovDesk sent too many descriptors.", code="frame.descriptors")

    def close(self) -> None:
        """Close this end and every descriptor nobody took."""
        close_all(self._descriptors)
        self._descriptors = []
        with contextlib.suppress(OSError):
            self._socket.close()


def close_all(descriptors: list[int]) -> None:
    """Close descriptors; one that is closed already is no error."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends, closed on exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
