"""Promise: a malformed GGUF is refused in words before native code sees it, and what is let through kills no worker.

The bad cases by name are those of llama.cpp's own `tests/test-gguf.cpp` (the ideas, made anew), and more.
GOVDESK_FUZZ_EXAMPLES sets how many changed files are tried; one in twenty that passes goes to a real worker.
"""

from __future__ import annotations

import os
import random
import struct
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from govdesk import config
from govdesk.domain.frames import Loaded, LoadFailed
from govdesk.errors import ModelError
from govdesk.inference import gguf
from govdesk.inference.gguf import GgufFacts, examine
from govdesk.inference.gguf_reading import MAX_ELEMENTS, MAX_METADATA_BYTES
from tests import gguf_files
from tests.gguf_bad_files import GOOD, GOOD_CASES, HANDCRAFTED, MORE
from tests.gguf_files import (
    BOOL,
    I32,
    STRING,
    U16,
    U32,
    U64,
    File,
    Raw,
    Tensor,
    Typed,
    encode,
    head,
    string,
)
from tests.gguf_mutations import flipped, mutated
from tests.tiny_models import KINDS, tiny_bytes, tiny_model, tiny_parts
from tests.tiny_worker import TinyWorker, sealed

EXAMPLES = int(os.environ.get("GOVDESK_FUZZ_EXAMPLES", "100"))
SMALL_TOKENS = 300
Run = Callable[..., subprocess.CompletedProcess[str]]
ASK = [("user", "the user and the system say é\0<|im_end|>")]


def check(*contents: bytes) -> GgufFacts:
    """What the validator says of these files."""
    descriptors = [sealed(content) for content in contents]
    try:
        return examine(descriptors, "model.gguf")
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def code_of(*contents: bytes) -> str:
    """Why they are refused; anything but a ModelError fails the test."""
    with pytest.raises(ModelError) as caught:
        check(*contents)
    assert caught.value.code.startswith("gguf.")
    assert "model.gguf" in caught.value.what
    assert caught.value.kept and caught.value.todo
    return caught.value.code


@pytest.mark.parametrize("name", HANDCRAFTED)
def test_a_handcrafted_bad_file_is_refused(name: str) -> None:
    content, code = HANDCRAFTED[name]
    assert code_of(content) == code


@pytest.mark.parametrize("name", GOOD_CASES)
def test_a_handcrafted_good_file_is_not(name: str) -> None:
    facts = check(encode(GOOD_CASES[name]))
    assert facts.architecture == "llama"
    assert (facts.trailing_bytes == len(b"behind")) == (name == "A_TAIL")


@pytest.mark.parametrize("name", MORE)
def test_more_bad_files_are_refused(name: str) -> None:
    content, code = MORE[name]
    assert code_of(content) == code


@pytest.mark.parametrize(
    ("kind", "key", "value"),
    [
        ("llama-spm", "block_count", 0),
        ("llama-spm", "block_count", 513),
        ("llama-spm", "block_count", 2**32 - 1),
        ("llama-spm", "block_count", Typed(I32, -1)),
        ("llama-spm", "block_count", None),
        ("llama-spm", "attention.head_count", 0),
        ("llama-spm", "attention.head_count", 3),
        ("llama-spm", "attention.head_count", [4, 2]),
        ("llama-spm", "attention.head_count", [4]),
        ("llama-spm", "attention.head_count_kv", 0),
        ("llama-spm", "attention.head_count_kv", 3),
        ("llama-spm", "embedding_length", 0),
        ("llama-spm", "context_length", 0),
        ("llama-spm", "context_length", 2**31),
        ("llama-spm", "context_length", "long"),
        ("llama-spm", "rope.dimension_count", 8),
        ("llama-spm", "rope.dimension_count", 15),
        ("llama-spm", "rope.freq_base", float("nan")),
        ("llama-spm", "rope.scaling.type", "spiral"),
        ("llama-spm", "attention.layer_norm_rms_epsilon", -1.0),
        ("llama-spm", "attention.layer_norm_rms_epsilon", None),
        ("llama-spm", "attention.causal", False),
        ("llama-spm", "pooling_type", 1),
        ("llama-spm", "expert_count", 1025),
        ("llama-spm", "expert_used_count", 1),
        ("qwen3", "attention.value_length", 8),
        ("gemma3", "attention.sliding_window_pattern", Typed(BOOL, [True] * 3)),
        ("gemma3", "attention.sliding_window_pattern", 1),
        ("gemma3", "attention.sliding_window_pattern", Typed(BOOL, [False] * 2)),
        ("gemma3", "attention.sliding_window_pattern", [0, 0]),
        ("gemma3", "attention.head_count", Typed(BOOL, [True] * 2)),
        ("gpt-oss", "attention.sliding_window", 0),
        ("gpt-oss", "expert_used_count", 0),
        ("gpt-oss", "expert_used_count", 5),
        ("gpt-oss", "expert_count", 0),
        ("deepseek2", "expert_gating_func", 9),
        ("deepseek2", "expert_group_count", 3),
        ("deepseek2", "attention.key_length_mla", 8),
        ("deepseek2", "attention.value_length_mla", 0),
        ("deepseek2", "attention.kv_lora_rank", 31),
        ("phi3", "attention.key_length", 8),
    ],
)
def test_hyperparameters_that_cannot_be_are_refused(kind: str, key: str, value: object) -> None:
    file = tiny_model(kind)
    content = encode(file.with_keys({f"{file.keys['general.architecture']}.{key}": value}))
    assert code_of(content) == "gguf.hyperparameter"


@pytest.mark.parametrize(
    ("pattern", "full_layers"),
    [(0, 0), (2, 1), (3, 0), (Typed(BOOL, [True, False]), 1), ([1, 1], 0), (None, 0)],
)
def test_how_many_layers_see_everything_is_known(pattern: object, full_layers: int) -> None:
    content = encode(tiny_model("gemma3").with_keys({"gemma3.attention.sliding_window_pattern": pattern}))
    assert check(content).shape.full_layers == full_layers
    assert check(tiny_bytes("gemma3")).shape.sliding_window == 64


@pytest.mark.parametrize("architecture", ["", "bert", "mamba", "clip", "llama\n", "x" * 1000, None, 7])
def test_an_architecture_that_is_not_on_the_list_is_refused(architecture: object) -> None:
    assert code_of(encode(GOOD.with_keys({"general.architecture": architecture}))) == "gguf.architecture"


def _list(key: str) -> list[object]:
    value = GOOD.keys[key]
    assert isinstance(value, list)
    return list(value)


TOKENS, SCORES = "tokenizer.ggml.tokens", "tokenizer.ggml.scores"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({TOKENS: None}, "gguf.tokenizer"),
        ({TOKENS: Typed(I32, [1] * SMALL_TOKENS)}, "gguf.tokenizer"),
        ({TOKENS: [*_list(TOKENS)[:-1], "<s>"]}, "gguf.tokenizer"),
        ({TOKENS: [*_list(TOKENS)[:-1], "<s>\0more"]}, "gguf.tokenizer"),
        ({TOKENS: [*_list(TOKENS)[:-1], b"\xff"]}, "gguf.tokenizer"),
        ({TOKENS: ["", "[EMPTY_0]", *_list(TOKENS)[2:]]}, "gguf.tokenizer"),
        ({TOKENS: [token for token in _list(TOKENS) if token != "<0x41>"] + ["more"]}, "gguf.tokenizer"),
        ({TOKENS: _list(TOKENS)[:-1]}, "gguf.tokenizer"),
        ({SCORES: _list(SCORES)[:-1]}, "gguf.tokenizer"),
        ({SCORES: [*_list(SCORES)[:-1], float("nan")]}, "gguf.tokenizer"),
        ({SCORES: Typed(U16, [1] * len(_list(TOKENS)))}, "gguf.tokenizer"),
        ({SCORES: None}, "gguf.tokenizer"),
        ({"tokenizer.ggml.token_type": [1, 2, 3]}, "gguf.tokenizer"),
        ({"tokenizer.ggml.token_type": Typed(U32, [1] * len(_list(TOKENS)))}, "gguf.tokenizer"),
        ({"tokenizer.ggml.model": "bert"}, "gguf.tokenizer"),
        ({"tokenizer.ggml.model": None}, "gguf.tokenizer"),
        ({"tokenizer.ggml.model": "gpt2"}, "gguf.tokenizer"),
        ({"tokenizer.ggml.pre": 7}, "gguf.tokenizer"),
        ({"tokenizer.ggml.bos_token_id": len(_list(TOKENS))}, "gguf.special-token"),
        ({"tokenizer.ggml.eos_token_id": 2**32 - 1}, "gguf.special-token"),
        ({"tokenizer.ggml.eos_token_id": Typed(I32, 1)}, "gguf.special-token"),
        ({"tokenizer.ggml.add_bos_token": 1}, "gguf.special-token"),
    ],
)
def test_a_vocabulary_that_disagrees_with_itself_is_refused(changes: dict[str, object], code: str) -> None:
    assert code_of(encode(GOOD.with_keys(changes))) == code


def _parts(count: int = 2) -> list[File]:
    return gguf_files.split(GOOD, count)


def _encoded(parts: Sequence[File]) -> list[bytes]:
    return [encode(part) for part in parts]


@pytest.mark.parametrize(
    "contents",
    [
        _encoded(_parts())[:1],
        _encoded(_parts())[1:],
        _encoded(_parts())[::-1],
        [_encoded(_parts())[0]] * 2,
        [*_encoded(_parts(3))[:2], _encoded(_parts(2))[1]],
        [encode(GOOD), encode(GOOD)],
        [*_encoded(_parts(2)), _encoded(_parts(3))[2]],
        _encoded([_parts()[0].with_keys({"split.count": 2}), _parts()[1]]),
        _encoded([_parts()[0].with_keys({"split.tensors.count": Typed(I32, 5)}), _parts()[1]]),
        _encoded([_parts()[0].with_keys({"split.tensors.count": None}), _parts()[1]]),
        _encoded([_parts()[0], _parts()[1].with_keys({"split.no": None})]),
        _encoded([_parts()[0], _parts()[1].with_keys({"split.no": 1})]),
        _encoded(_parts(17)),
    ],
)
def test_parts_that_do_not_belong_together_are_refused(contents: list[bytes]) -> None:
    assert code_of(*contents) == "gguf.split"


def test_a_tensor_in_two_parts_is_refused() -> None:
    first, second = _parts()
    twice = replace(second, tensors=(*second.tensors[:-1], first.tensors[0]))
    assert code_of(encode(first), encode(twice)) == "gguf.tensor-twice"


@pytest.mark.parametrize("kind", KINDS)
def test_every_tiny_model_passes_whole_and_in_parts(kind: str) -> None:
    whole, parts = check(tiny_bytes(kind)), check(*tiny_parts(kind, 3))
    assert whole.trailing_bytes < gguf_files.ALIGNMENT
    assert (parts.parts, parts.shape, parts.parameters) == (3, whole.shape, whole.parameters)
    assert whole.parameters == sum(tensor_elements(tensor) for tensor in tiny_model(kind).tensors)
    assert whole.weights_bytes == sum(gguf_files.tensor_bytes(tensor) for tensor in tiny_model(kind).tensors)


def tensor_elements(tensor: Tensor) -> int:
    return gguf_files.tensor_bytes(Tensor("", tensor.shape)) // 4


@pytest.mark.parametrize("name", ["smollm2-135m-instruct", "gemma-3-270m"])
def test_the_real_models_pass(name: str) -> None:
    path = config.MODELS / f"{name}.gguf"
    if not path.exists():
        pytest.skip(f"{name} is not here: `make gemma` obtains it")
    descriptor = os.open(path, os.O_RDONLY)
    try:
        facts = examine([descriptor], path.name)
    finally:
        os.close(descriptor)
    assert facts.file_bytes == path.stat().st_size
    assert {"smollm2-135m-instruct": 134_515_008, "gemma-3-270m": 268_098_176}[name] == facts.parameters


def test_the_first_bytes_are_judged_whatever_follows() -> None:
    """Every cut, where a structure is read: up to the weights each one, in them each thousandth."""
    content = encode(GOOD)
    weights = len(head(GOOD))
    for length in [*range(weights), *range(weights, len(content), 997), len(content) - 1]:
        assert code_of(content[:length]) in {"gguf.cut", "gguf.magic", "gguf.counts"}


def consistent(facts: GgufFacts) -> None:
    """What facts have in common, whatever file they are of."""
    shape = facts.shape
    assert facts.architecture in gguf.ARCHITECTURES
    assert shape.heads % shape.heads_kv == 0 and 0 < shape.layers <= 512
    assert 0 <= shape.experts_used <= shape.experts and 0 <= shape.full_layers <= shape.layers
    assert 0 < facts.weights_bytes <= facts.file_bytes
    assert sum(use.bytes for use in facts.formats) == facts.weights_bytes
    assert facts.vocabulary * shape.embedding <= facts.parameters
    assert facts.name.isprintable()


def judged(content: bytes) -> GgufFacts | None:
    """Facts that agree with each other, or None when it was refused in words."""
    try:
        facts = check(content)
    except ModelError as error:
        code = error.code
    else:
        consistent(facts)
        return facts
    assert code.startswith("gguf.")
    return None


def test_every_changed_byte_before_the_weights_is_refused_or_leaves_facts_that_agree() -> None:
    file = tiny_model("qwen2", template=None)
    content = encode(file)
    start = content.index(b"tokenizer.ggml.tokens")
    end = content.index(b"tokenizer.ggml.bos_token_id")  # the lists between are sampled: they are alike
    places = [*range(start + 64), *range(start + 64, end, 41), *range(end, len(head(file)))]
    for place in places:
        for change in (0x01, 0x80, 0xFF):
            changed = bytearray(content)
            changed[place] ^= change
            judged(bytes(changed))


@settings(max_examples=EXAMPLES)
@given(st.binary(max_size=400), st.integers(0, 2**16), st.integers(0, 2**16))
def test_bytes_that_follow_a_header_are_refused(content: bytes, tensors: int, keys: int) -> None:
    code_of(b"GGUF" + struct.pack("<IQQ", 3, tensors, keys) + content)


_VALUES = st.one_of(
    st.integers(0, 2**32 - 1),
    st.floats(width=32),
    st.booleans(),
    st.text(max_size=20),
    st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=8),
    st.builds(Raw, st.binary(min_size=4, max_size=60)),
)


@settings(max_examples=EXAMPLES)
@given(
    st.dictionaries(st.one_of(st.sampled_from(sorted(GOOD.keys)), st.text(max_size=9)), _VALUES, max_size=4),
    st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=4),
    st.integers(0, 50),
    st.integers(0, 2**64 - 1),
)
def test_structures_of_any_values_are_refused_or_leave_facts_that_agree(
    keys: dict[str, object], shape: list[int], kind: int, offset: int
) -> None:
    tensors = (*GOOD.tensors, Tensor("more", tuple(shape), kind, b"", offset))
    for file in (GOOD.with_keys(keys), replace(GOOD.with_keys(keys), tensors=tensors)):
        judged(encode(file))


def test_what_is_let_through_kills_no_worker() -> None:
    """The same changed files every time; the more examples, the more of them reach a worker."""
    random_ = random.Random(20)
    plain = {kind: (tiny_bytes(kind), len(head(tiny_model(kind)))) for kind in KINDS}
    passed = refused = 0
    for number in range(EXAMPLES):
        content = mutated(random_) if number % 5 else flipped(*plain[random_.choice(KINDS)], random_)
        if judged(content) is None:
            refused += 1
            continue
        passed += 1
        if passed % 20 == 1:
            outlives(content)
    assert passed and refused
    print(f"{passed} of {EXAMPLES} changed files passed, {-(-passed // 20)} of them went to a worker")


def outlives(*contents: bytes) -> None:
    """A worker takes the model or refuses it; it does not die of it."""
    worker = TinyWorker(*contents)
    try:
        assert isinstance(worker.loaded, Loaded | LoadFailed), worker.signal()
        if isinstance(worker.loaded, Loaded):
            _, done = worker.ask(ASK, max_tokens=3)
            assert done is not None, worker.signal()
    finally:
        worker.stop()


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
def test_weights_that_are_no_numbers_kill_no_worker(number: str) -> None:
    norm = struct.pack("<f", float(number)) * 64
    outlives(encode(GOOD.with_tensor("output_norm.weight", data=norm)))


def test_an_abort_in_native_code_is_what_these_rules_prevent() -> None:
    """Without the validator this file would end the worker: the rule is not there for nothing."""
    content = encode(GOOD.with_keys({"llama.block_count": 0}))
    assert code_of(content) == "gguf.hyperparameter"
    worker = TinyWorker(content)
    try:
        assert worker.loaded is None
        worker.broker.worker_end(20)
        assert worker.signal() != 0
    finally:
        worker.stop()


_WITHIN = """
import os, resource, sys
from pathlib import Path
from govdesk.errors import ModelError
from govdesk.inference.gguf import examine
used = next(int(l.split()[1]) for l in Path("/proc/self/status").read_text().splitlines() if l.startswith("VmData:"))
resource.setrlimit(resource.RLIMIT_DATA, ((used << 10) + int(sys.argv[2]),) * 2)
try:
    examine([os.open(sys.argv[1], os.O_RDONLY)], "model.gguf")
except ModelError as error:
    print(error.code)
"""


def test_the_worst_that_a_file_can_say_takes_little_memory(tmp_path: Path, isolated: Run) -> None:
    """As many tokens as are read at all, in nearly as much description as is read at all."""
    path = tmp_path / "worst.gguf"
    key = string("tokenizer.ggml.tokens") + struct.pack("<IIQ", gguf_files.ARRAY, STRING, MAX_ELEMENTS)
    with path.open("wb") as file:
        file.write(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + key)
        file.write(b"".join(string(b"%022d" % number) for number in range(MAX_ELEMENTS)))
    assert MAX_METADATA_BYTES * 0.9 < path.stat().st_size < MAX_METADATA_BYTES
    done = isolated(_WITHIN, str(path), str(4 * MAX_METADATA_BYTES))
    assert (done.returncode, done.stdout) == (0, "gguf.counts\n"), done.stderr


def test_a_description_without_end_is_not_read_to_its_end() -> None:
    descriptor = os.memfd_create("sparse", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, b"GGUF" + struct.pack("<IQQ", 3, 0, 4000))
        piece = struct.pack("<IIQ", gguf_files.ARRAY, U64, MAX_ELEMENTS)  # 16 MiB of zeros each
        at = 24
        for number in range(8):
            key = string(f"k{number}") + piece
            os.pwrite(descriptor, key, at)
            at += len(key) + 8 * MAX_ELEMENTS
        os.ftruncate(descriptor, 2**40)
        with pytest.raises(ModelError) as caught:
            examine([descriptor], "model.gguf")
        assert caught.value.code == "gguf.too-much"
    finally:
        os.close(descriptor)
