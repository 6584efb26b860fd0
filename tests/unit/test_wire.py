"""Frames: whatever arrives, in whatever pieces, is a whole frame of the right type or an error."""

from __future__ import annotations

import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from govdesk import wire
from govdesk.domain.frames import AnswerPiece, Cancel, FromWorker, Shutdown, ToWorker
from govdesk.errors import FrameError


@given(
    texts=st.lists(st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs"])), max_size=5),
    cuts=st.lists(st.integers(1, 7), min_size=1),
)
def test_any_chunking_gives_the_same_frames(texts: list[str], cuts: list[int]) -> None:
    frames = [AnswerPiece(turn="t", text=text, tokens=1) for text in texts]
    whole = b"".join(wire.encode(frame) for frame in frames)
    decoder: wire.FrameDecoder[FromWorker] = wire.FrameDecoder(FromWorker)
    got: list[FromWorker] = []
    position = index = 0
    while position < len(whole):
        step = cuts[index % len(cuts)]
        got += decoder.feed(whole[position : position + step])
        position, index = position + step, index + 1
    assert got == frames
    decoder.end()


def test_a_frame_over_the_limit_is_refused_before_it_is_read() -> None:
    decoder: wire.FrameDecoder[FromWorker] = wire.FrameDecoder(FromWorker)
    with pytest.raises(FrameError) as caught:
        decoder.feed(struct.pack(">I", wire.MAX_FRAME_BYTES + 1))
    assert caught.value.code == "frame.too-large"


def test_a_frame_over_the_limit_is_not_sent() -> None:
    with pytest.raises(FrameError):
        wire.encode(AnswerPiece(turn="t", text="x" * (wire.MAX_FRAME_BYTES + 1), tokens=1))


def test_a_cut_frame_is_an_error_at_the_end() -> None:
    decoder: wire.FrameDecoder[ToWorker] = wire.FrameDecoder(ToWorker)
    assert decoder.feed(wire.encode(Cancel(turn="t"))[:-1]) == []
    with pytest.raises(FrameError) as caught:
        decoder.end()
    assert caught.value.code == "frame.cut"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        msgspec.msgpack.encode({"type": "Nobody"}),
        msgspec.msgpack.encode({"type": "Cancel"}),
        msgspec.msgpack.encode({"type": "Cancel", "turn": 7}),
        msgspec.msgpack.encode({"type": "Cancel", "turn": "t", "more": 1}),
        msgspec.msgpack.encode({"type": "WorkerHello", "probes": [], "library": ""}),
        msgspec.msgpack.encode(Shutdown()) + b"\x00",
        b"\x81" * 5000,
    ],
)
def test_what_is_no_frame_of_this_channel_is_refused(payload: bytes) -> None:
    decoder: wire.FrameDecoder[ToWorker] = wire.FrameDecoder(ToWorker)
    with pytest.raises(FrameError) as caught:
        decoder.feed(struct.pack(">I", len(payload)) + payload)
    assert caught.value.code == "frame.wrong-type"


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(untrusted_bytes: bytes) -> None:
    decoder: wire.FrameDecoder[ToWorker] = wire.FrameDecoder(ToWorker, max_bytes=100)
    try:
        decoder.feed(untrusted_bytes)
    except FrameError:
        return
