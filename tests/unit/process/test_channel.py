"""Channels: frames and descriptors arrive together, strangers' descriptors are closed."""

from __future__ import annotations

import array
import os
import socket
import threading

import pytest

from govdesk import wire
from govdesk.domain.frames import Cancel, LoadModel, ToWorker
from govdesk.errors import FrameError
from govdesk.process.channel import MAX_DESCRIPTORS, Channel, close_all, pair


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


def test_each_descriptor_stays_with_its_frame(ends: tuple[Channel[ToWorker], Channel[ToWorker]]) -> None:
    a, b = ends
    first, second = os.memfd_create("first"), os.memfd_create("second")
    frames: list[tuple[ToWorker, tuple[int, ...]]] = [
        (Cancel(turn="before"), ()),
        (LoadModel(context_tokens=1, threads=1), (first,)),
        (Cancel(turn="between" * 100_000), (second,)),
        (Cancel(turn="after"), ()),
    ]
    sender = threading.Thread(target=lambda: [a.send(frame, riding) for frame, riding in frames])
    sender.start()
    for frame, riding in frames:
        received = b.receive(10)
        assert received is not None
        assert received[0] == frame
        assert [os.fstat(descriptor).st_ino for descriptor in received[1]] == [
            os.fstat(descriptor).st_ino for descriptor in riding
        ]
        close_all(received[1])
    sender.join()
    close_all([first, second])


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


def test_a_peer_that_does_not_read_costs_the_time_given_and_no_more() -> None:
    left, right = pair()
    a: Channel[ToWorker] = Channel(left, ToWorker, send_seconds=0.2)
    with pytest.raises(TimeoutError):
        a.send(Cancel(turn="t" * 4_000_000))
    with pytest.raises(BrokenPipeError):  # half a message is out: the next one would be read as its rest
        a.send(Cancel(turn="t"))
    a.close()
    right.close()


def test_a_message_that_never_began_leaves_the_channel_whole() -> None:
    left, right = pair()
    a: Channel[ToWorker] = Channel(left, ToWorker, send_seconds=0.2)
    b: Channel[ToWorker] = Channel(right, ToWorker)
    small, sent = Cancel(turn="t" * 1000), 0
    with pytest.raises(TimeoutError):
        while True:
            a.send(small)
            sent += 1
    for _ in range(sent):
        assert b.receive(10) == (small, [])
    a.send(Cancel(turn="after"))
    assert b.receive(10) == (Cancel(turn="after"), [])
    a.close()
    b.close()


def test_a_message_that_finds_no_room_is_given_up_soon() -> None:
    left, right = pair()
    a: Channel[ToWorker] = Channel(left, ToWorker, send_seconds=3600.0)
    ended = threading.Event()

    def fill() -> None:
        with pytest.raises(TimeoutError):
            while True:
                a.send(Cancel(turn="t" * 1000))
        ended.set()

    threading.Thread(target=fill, daemon=True).start()
    assert ended.wait(30)
    a.close()
    right.close()


def test_a_cancel_does_not_queue_behind_a_prompt_that_is_not_read() -> None:
    left, right = pair()
    a: Channel[ToWorker] = Channel(left, ToWorker, send_seconds=None)
    ended: list[type[BaseException]] = []

    def prompt() -> None:
        try:
            a.send(Cancel(turn="t" * 4_000_000))
        except OSError as error:
            ended.append(type(error))

    sender = threading.Thread(target=prompt, daemon=True)
    sender.start()
    right.recv(1)  # the sender is at it
    with pytest.raises(TimeoutError):
        a.send(Cancel(turn="t"))
    a.close()  # what follows a cancel that cannot be sent
    sender.join(10)
    assert not sender.is_alive()
    assert ended
    right.close()


def test_a_trickle_of_bytes_does_not_stretch_the_time_given(
    ends: tuple[Channel[ToWorker], Channel[ToWorker]],
) -> None:
    a, b = ends
    frame = Cancel(turn="t" * 200)
    whole = wire.encode(frame)
    enough = threading.Event()

    def trickle() -> None:
        for byte in whole[:150]:
            a._socket.send(bytes([byte]))
            if enough.wait(0.05):
                break

    sender = threading.Thread(target=trickle)
    sender.start()
    with pytest.raises(TimeoutError):  # a timeout that began anew at each byte would wait for the last one
        b.receive(0.3)
    assert sender.is_alive()
    enough.set()
    sender.join()


def test_half_a_frame_is_kept_until_its_rest_comes(
    ends: tuple[Channel[ToWorker], Channel[ToWorker]],
) -> None:
    a, b = ends
    whole = wire.encode(Cancel(turn="t"))
    a._socket.send(whole[:3])
    assert b.readable(1)
    with pytest.raises(TimeoutError):
        b.receive(0.0)
    a._socket.send(whole[3:])
    assert b.receive(1) == (Cancel(turn="t"), [])


def test_closing_wakes_who_waits(ends: tuple[Channel[ToWorker], Channel[ToWorker]]) -> None:
    _, b = ends
    ended: list[object] = []

    def wait() -> None:
        try:
            ended.append(b.receive())
        except OSError as error:
            ended.append(error)

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    while not waiting.is_alive():
        pass
    b.close()
    waiting.join(10)
    assert not waiting.is_alive()
    with pytest.raises(OSError, match="closed"):
        b.receive(1)
