"""A channel between two GovDesk processes: bounded, typed frames over one end of a socketpair.

It defends against the other end: what arrives is decoded strictly (`govdesk.wire`), descriptors
that were not expected are closed, a peer that stops in the middle of a frame is an error, and one
that does not read or trickles its bytes holds nobody longer than the time given.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import select
import socket
import threading
import time
from types import UnionType
from typing import Any, Generic, TypeVar

import msgspec

from govdesk import wire
from govdesk.errors import FrameError

_T = TypeVar("_T")
_RECEIVE_BYTES = 256 * 1024
MAX_DESCRIPTORS = 16
"""Most descriptors one frame may carry: the parts of a split model."""
SEND_SECONDS = 10.0
"""Longest the other end may leave a frame unread."""
QUEUE_SECONDS = 0.5
"""Longest a frame waits behind what the other end left unread, and behind another thread's frame: a
cancel must not hang on the prompt that it is to stop."""


class Channel(Generic[_T]):
    """One end of a socketpair. `send` may be called from any thread; `receive` from one at a time.

    Args:
        end: the connected AF_UNIX stream socket.
        incoming: the closed set of frame types the other end may send.
        send_seconds: how long the other end may leave a frame unread; None for a role whose life
            depends on the other end anyway.
    """

    def __init__(
        self,
        end: socket.socket,
        incoming: type[msgspec.Struct] | UnionType,
        *,
        send_seconds: float | None = SEND_SECONDS,
    ) -> None:
        self._socket = end
        self._decoder: wire.FrameDecoder[_T] = wire.FrameDecoder(incoming)
        self._send_seconds = send_seconds
        self._ready: list[tuple[_T, list[int]]] = []
        self._held: list[int] = []  # came with the first part of a frame that is not whole yet
        self._sending = threading.Lock()
        self._cut = False
        end.setblocking(True)

    @classmethod
    def from_descriptor(
        cls,
        descriptor: int,
        incoming: type[msgspec.Struct] | UnionType,
        *,
        send_seconds: float | None = SEND_SECONDS,
    ) -> Channel[_T]:
        """Take over an inherited or received descriptor; it is closed on exec from here on."""
        os.set_inheritable(descriptor, False)
        return cls(socket.socket(fileno=descriptor), incoming, send_seconds=send_seconds)

    def fileno(self) -> int:
        """For polling."""
        return self._socket.fileno()

    def send(self, frame: msgspec.Struct, descriptors: tuple[int, ...] = ()) -> None:
        """Send one frame, with descriptors riding on its first byte (SCM_RIGHTS).

        Raises:
            TimeoutError: the other end did not read in time, or another thread's frame is still on its way.
            OSError: the other end is gone (BrokenPipeError), or the frame could not be sent.
            FrameError: the frame is too large; nothing was sent.
        """
        untransmitted = memoryview(wire.encode(frame))
        ancillary: list[tuple[int, int, Any]] = []
        if descriptors:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        deadline = begun_by = _deadline(self._send_seconds)
        if deadline is not None:
            begun_by = min(deadline, time.monotonic() + 2 * QUEUE_SECONDS)
        if not self._sending.acquire(timeout=QUEUE_SECONDS):
            raise TimeoutError("another message is still on its way")
        try:
            if self._cut:
                raise BrokenPipeError(errno.EPIPE, "an earlier message was cut")
            whole = len(untransmitted)
            while untransmitted:
                self._cut = True  # after half a message the next one would be read as its rest
                try:
                    sent = self._socket.sendmsg(
                        [untransmitted], ancillary, socket.MSG_NOSIGNAL | socket.MSG_DONTWAIT
                    )
                except BlockingIOError:
                    self._cut = len(untransmitted) < whole
                    if not self._poll(select.POLLOUT, deadline if self._cut else begun_by):
                        raise TimeoutError("the other end does not read") from None
                    continue
                untransmitted, ancillary = untransmitted[sent:], []
            self._cut = False
        finally:
            self._sending.release()

    def readable(self, timeout_seconds: float | None = 0.0) -> bool:
        """True when a frame is ready, or bytes (or the end) wait on the socket."""
        return bool(self._ready) or self._poll(select.POLLIN, _deadline(timeout_seconds))

    def receive(self, timeout_seconds: float | None = None) -> tuple[_T, list[int]] | None:
        """The next frame and the descriptors that rode on it (the caller owns them); None at the end.

        Raises:
            TimeoutError: no whole frame arrived in time; what came of it is kept for the next call.
            FrameError: the other end sent something else than a frame; stop it.
            OSError: this end was closed by another thread.
        """
        deadline = _deadline(timeout_seconds)
        while not self._ready:
            if not self._poll(select.POLLIN, deadline):
                raise TimeoutError("nothing whole arrived in time")
            try:
                untrusted_bytes, ancillary, _, _ = self._socket.recvmsg(
                    _RECEIVE_BYTES,
                    socket.CMSG_SPACE(MAX_DESCRIPTORS * array.array("i").itemsize),
                    socket.MSG_CMSG_CLOEXEC,
                )
            except ConnectionResetError:
                untrusted_bytes, ancillary = b"", []
            came = _descriptors(ancillary)
            if not untrusted_bytes:
                close_all(came)
                self._decoder.end()
                return None
            try:
                self._ready = [(frame, []) for frame in self._decoder.feed(untrusted_bytes)]
            except FrameError:
                close_all([*came, *self._held])
                self._held = []
                raise
            self._hand_out(came)
        return self._ready.pop(0)

    def _hand_out(self, came: list[int]) -> None:
        """Descriptors are the frame's whose first byte they rode on: the last one that began in a read.

        A read ends with the message that carries descriptors, and each frame begins a message.
        """
        if self._ready:
            self._ready[0][1].extend(self._held)
            self._held = []
        theirs = self._held if self._decoder.partial or not self._ready else self._ready[-1][1]
        theirs.extend(came)
        if len(theirs) > MAX_DESCRIPTORS:
            close_all(theirs)
            theirs.clear()
            raise FrameError("A part of GovDesk sent too many descriptors.", code="frame.descriptors")

    def _poll(self, events: int, deadline: float | None) -> bool:
        descriptor = self._socket.fileno()
        if descriptor < 0:
            raise OSError(errno.EBADF, "this end was closed")
        poller = select.poll()
        poller.register(descriptor, events)
        left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
        return bool(poller.poll(left))

    def close(self) -> None:
        """Close this end and every descriptor nobody took; threads that wait on it stop waiting."""
        close_all(self._held)
        for _, descriptors in self._ready:
            close_all(descriptors)
        self._held, self._ready = [], []
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self._socket.close()


def _descriptors(ancillary: list[tuple[int, int, bytes]]) -> list[int]:
    received = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received.frombytes(data[: len(data) - len(data) % received.itemsize])
    return list(received)


def _deadline(seconds: float | None) -> float | None:
    return None if seconds is None else time.monotonic() + max(0.0, seconds)


def close_all(descriptors: list[int]) -> None:
    """Close descriptors; one that is closed already is no error."""
    for descriptor in descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends, closed on exec."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
