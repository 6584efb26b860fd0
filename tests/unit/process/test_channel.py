"""Channels: frames and descriptors arrive together, strangers' descriptors are closed."""

from __future__ import annotations

import array
import os
import socket
import threading

import pytest

from govdesk.domain.frames import Cancel, LoadModel, ToWorker
from govdesk.errors import FrameError
from govdesk.process.channel import MAX_DESCRIPTORS, Channel, pair


@pytest.fixture
def ends() -> object:
    left, right = pair()
    a: Channel[ToWorker] = Channel(left, ToWorker)
    b: Channel[ToWorker] = Channel(right, ToWorker)
    yield a, b
    a.close()
    b.close()


def _open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_large_frame_crosses_whole(ends: tuple[Channel[ToWorker], Channel[ToWorker]]) -> None:
    a, b = ends
    frame = Cancel(turn="t" * 4_000_000)
    sender = threading.Thread(target=a.send, args=(frame,))
    sender.start()
    received = b.receive(10)
    sender.join()
    assert received == (frame, [])


def test_a_descriptor_rides_on_its_frame(ends: tuple[Channel[ToWorker], Channel[ToWorker]]) -> None:
    a, b = ends
    memory = os.memfd_create("test")
    os.write(memory, b"hello")
    a.send(LoadModel(context_tokens=1, threads=1), (memory,))
    os.close(memory)
    received = b.receive(10)
    assert received is not None
    _, descriptors = received
    assert len(descriptors) == 1
    assert os.pread(descriptors[0], 5, 0) == b"hello"
    assert not os.get_inheritable(descriptors[0])
    os.close(descriptors[0])


def test_too_many_descriptors_are_closed(ends: tuple[Channel[ToWorker], Channel[ToWorker]]) -> None:
    a, b = ends
    memory = os.memfd_create("test")
    before = _open_descriptors()
    half = b"\x00\x00"  # two messages, both with descriptors, before the frame they belong to is whole
    rights = array.array("i", [memory] * MAX_DESCRIPTORS)
    for _ in range(2):
        a._socket.sendmsg([half], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
    with pytest.raises(FrameError):
        b.receive(1)
    assert _open_descriptors() == before
    os.close(memory)


def test_the_end_is_none_and_silence_is_a_timeout(ends: tuple[Channel[ToWorker], Channel[ToWorker]]) -> None:
    a, b = ends
    with pytest.raises(TimeoutError):
        b.receive(0.01)
    a.close()
    assert b.receive(1) is None


def test_an_end_inside_a_frame_is_an_error(ends: tuple[Channel[ToWorker], Channel[ToWorker]]) -> None:
    a, b = ends
    a._socket.send(b"\x00\x00\x00\x09abc")
    a.close()
    with pytest.raises(FrameError):
        b.receive(1)
