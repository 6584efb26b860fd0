"""The converter makes ggml's own numbers, the same bytes each time, and refuses what it does not know."""

import ctypes
import hashlib
import struct
import subprocess
import sys

import numpy as np
import pytest

from installer.setup import requantize
from installer.setup.requantize import BLOCK, F32, Q4_1, Q8_0

SEED = 7


def text(value):
    return struct.pack("<Q", len(value)) + value


def key(name, kind, value):
    return text(name) + struct.pack("<I", kind) + value


def blocks(count, seed=SEED):
    """Q4_1 blocks with scales of every size that a model has, and some that it has not."""
    draw = np.random.default_rng(seed)
    made = np.zeros(count, requantize._Q4_1)
    made["scale"] = draw.normal(0, 0.02, count)
    made["least"] = draw.normal(0, 0.1, count)
    made["nibbles"] = draw.integers(0, 256, (count, BLOCK // 2))
    made["scale"][:4] = made["least"][:4] = 0
    made["scale"][4:8] = 6e-8  # the smallest half
    made["least"][4:8] = 0
    made["scale"][8:12] = 4000
    return made.tobytes()


def gguf(tensors, keys=(), alignment=32):
    """A small GGUF; tensors are (name, dimensions, type, bytes)."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(keys)) + b"".join(keys)
    data = b""
    for name, dimensions, kind, content in tensors:
        data += b"\0" * (-len(data) % alignment)
        head += text(name) + struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
        head += struct.pack("<IQ", kind, len(data))
        data += content
    data += b"\0" * (-len(data) % alignment)
    return head + b"\0" * (-len(head) % alignment) + data


WEIGHTS = [
    (b"a.norm", (5,), F32, struct.pack("<5f", *range(5))),
    (b"a.weight", (64, 40), Q4_1, blocks(80)),
    (b"b.weight", (32, 2), Q8_0, bytes(range(68))),
]
KEYS = [
    key(b"general.architecture", 8, text(b"llama")),
    key(b"general.file_type", 4, struct.pack("<I", 3)),
    key(b"tokens", 9, struct.pack("<IQ", 8, 2) + text(b"one") + text(b"two")),
    key(b"scores", 9, struct.pack("<IQ3f", 6, 3, 1, 2, 3)),
    key(b"general.alignment", 4, struct.pack("<I", 64)),
]


def read(path):
    """The tensors of a GGUF by name: type, bytes and place."""
    with path.open("rb") as file:
        head = requantize._Head(file)
        start = head.end + -head.end % head.alignment
        found = {}
        for tensor in head.tensors:
            file.seek(start + tensor.offset)
            found[tensor.name] = (tensor.type, file.read(tensor.size_bytes), start + tensor.offset)
        return found


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "source.gguf"
    path.write_bytes(gguf(WEIGHTS, KEYS, alignment=64))
    return path


@pytest.fixture(scope="module")
def ggml():
    """The library's own functions, from the environment."""
    llama_cpp = pytest.importorskip("llama_cpp")
    folder = llama_cpp.__path__[0]
    return ctypes.CDLL(f"{folder}/lib/libggml-base.so")


def test_the_numbers_are_ggmls(ggml):
    raw = blocks(4000)
    count = 4000 * BLOCK
    values = (ctypes.c_float * count)()
    ggml.dequantize_row_q4_1(raw, values, ctypes.c_int64(count))
    ours = requantize.dequantize(raw)
    theirs = np.frombuffer(values, np.float32).reshape(ours.shape)
    # a compiler may fuse product and sum, which rounds once instead of twice: at most the last place
    assert np.max(np.abs(ours - theirs) / np.maximum(np.spacing(np.abs(theirs)), 1e-45)) <= 1
    made = ctypes.create_string_buffer(4000 * 34)
    ggml.quantize_row_q8_0_ref(ours.ctypes.data_as(ctypes.c_void_p), made, ctypes.c_int64(count))
    assert requantize.quantize(ours) == made.raw


def test_halves_are_rounded_away_from_zero(ggml):
    row = np.zeros((1, BLOCK), np.float32)
    row[0, :9] = [127, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 0.49999997, -0.49999997]
    made = np.frombuffer(requantize.quantize(row), requantize._Q8_0)
    assert made["scale"][0] == 1
    assert made["values"][0, :9].tolist() == [127, 1, 2, 3, -1, -2, -3, 0, 0]


def test_a_block_of_zeros_stays_one():
    made = np.frombuffer(requantize.quantize(np.zeros((3, BLOCK), np.float32)), requantize._Q8_0)
    assert not made["scale"].any()
    assert not made["values"].any()


def test_only_q4_1_is_changed_and_everything_lies_where_it_is_said(source, tmp_path):
    target = tmp_path / "target.gguf"
    requantize.convert(source, target)
    before, after = read(source), read(target)
    assert {name: kind for name, (kind, _, _) in after.items()} == {
        b"a.norm": F32,
        b"a.weight": Q8_0,
        b"b.weight": Q8_0,
    }
    assert after[b"a.norm"][1] == before[b"a.norm"][1]
    assert after[b"b.weight"][1] == before[b"b.weight"][1]
    assert after[b"a.weight"][1] == requantize.quantize(requantize.dequantize(before[b"a.weight"][1]))
    assert all(place % 64 == 0 for _, _, place in after.values())
    assert target.stat().st_size % 64 == 0


def test_every_key_is_kept_and_one_is_changed(source, tmp_path):
    target = tmp_path / "target.gguf"
    requantize.convert(source, target)
    old, new = source.read_bytes(), target.read_bytes()
    file_type = old.index(b"general.file_type") + len(b"general.file_type") + 4
    keys = sum(len(part) for part in KEYS)
    changed = old[:file_type] + struct.pack("<I", 7) + old[file_type + 4 : 24 + keys]
    assert new[: 24 + keys] == changed


def test_the_program_makes_the_same_bytes_each_time(source, tmp_path):
    made = []
    for name in ("one", "two"):
        done = subprocess.run(
            [sys.executable, "-I", requantize.__file__, source, tmp_path / name],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines()[-1] == "[3/3]"
        made.append(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert made[0] == made[1] == "32325d48d639456e779a16c1e69d8151df8736f7eb103d2c5f0c481da76ceaff"


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"GGUF",
        gguf(WEIGHTS, KEYS, 64)[:60],
        gguf(WEIGHTS, KEYS, 64)[:-100],
        gguf([(b"a", (32,), 12, b"\0" * 200)]),
        gguf([(b"a", (33,), Q4_1, b"\0" * 200)]),
        gguf([(b"a", (2**40, 2**40), Q4_1, b"\0" * 20)]),
        gguf([(b"a", (0,), F32, b"")]),
        gguf([(b"a", (1,) * 9, F32, b"\0" * 4)]),
        gguf(WEIGHTS, [key(b"k", 99, b"")]),
        gguf(WEIGHTS, [key(b"k", 9, struct.pack("<IQ", 6, 2**62))]),
        gguf(WEIGHTS, [key(b"k", 9, struct.pack("<IQ", 9, 1))]),
        gguf(WEIGHTS, [text(b"k")[:-1]]),
        gguf(WEIGHTS, [key(b"general.alignment", 4, struct.pack("<I", 0))]),
        b"GGUF" + struct.pack("<IQQ", 2, 1, 1),
        b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60),
    ],
)
def test_what_is_not_known_is_refused_in_words(tmp_path, damaged):
    source = tmp_path / "source.gguf"
    source.write_bytes(damaged)
    with pytest.raises(requantize.NotUsableError):
        requantize.convert(source, tmp_path / "target.gguf")
    done = subprocess.run(
        [sys.executable, "-I", requantize.__file__, source, tmp_path / "target.gguf"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("requantize: the file cannot be used: ")
